"""Addresses that a user may write: dicomweb://HOST[:PORT]/PATH[/studies/STUDY[/series/SERIES]]."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from promptseg.errors import InputError
from promptseg.formats.location import address_in

__all__ = ["Address", "is_uid"]

_SHAPE = "dicomweb://HOST[:PORT]/PATH[/studies/STUDY[/series/SERIES]]"
_RESOURCE = re.compile(r"(?P<path>.*?)(?:/studies/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+))?)?")


def is_uid(text: str) -> bool:
    """Tell whether a text can be a DICOM UID: up to 64 digits and dots."""
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None


@dataclass(frozen=True)
class Address:
    """A DICOMweb server, and what on it.

    Attributes:
        text: as the user wrote it.
        root: where the server's DICOMweb begins, as http(s)://HOST[:PORT]/PATH.
        study: StudyInstanceUID, if it names one.
        series: SeriesInstanceUID, if it names one.
        loopback: whether the server is this machine.
    """

    text: str
    root: str
    study: str | None
    series: str | None
    loopback: bool

    @classmethod
    def parse(cls, path: str | Path) -> Address:
        """Take apart what `formats.location` knows for an address.

        `dicomweb://` is https, and http on this machine itself; `dicomweb+http://` and
        `dicomweb+https://` say it.

        Raises:
            InputError: no such address, or one with a user name and password in it.
        """
        text = address_in(path)
        if text is None:
            raise InputError(f"an address {_SHAPE}", str(path))
        if "@" in text:  # never repeated: it may hold a password
            raise InputError(
                "an address without user name and password",
                "one with '@'",
                "set PROMPTSEG_DICOMWEB_USER and PROMPTSEG_DICOMWEB_PASSWORD instead",
            )
        try:
            parts = urlsplit(text)
            host = parts.hostname
            parts.port  # noqa: B018 - raises where it is no number
        except ValueError as error:
            raise InputError(f"an address {_SHAPE}", f"{text} ({error})") from None
        match = _RESOURCE.fullmatch(parts.path.rstrip("/"))
        if not host or match is None or parts.query or parts.fragment:
            raise InputError(f"an address {_SHAPE}", text)
        path_, study, series = match["path"], match["study"], match["series"]
        if re.search(r"/(studies|series|instances)(/|$)", path_) or not all(
            is_uid(uid) for uid in (study, series) if uid is not None
        ):
            raise InputError(f"an address {_SHAPE}", text, "name a study or series by its UID")
        loopback = _is_loopback(host)
        scheme = parts.scheme.partition("+")[2] or ("http" if loopback else "https")
        return cls(text, f"{scheme}://{parts.netloc}{path_}", study, series, loopback)

    @property
    def is_open(self) -> bool:
        """Tell whether the data can be read on their way: they go to another machine by plain http."""
        return self.root.startswith("http:") and not self.loopback

    def at(self, study: str, series: str | None = None) -> str:
        """Return the address of a study or series on the same server, as a user would write it."""
        scheme = self.text.partition("://")[0]
        place = f"{scheme}://{self.root.partition('://')[2]}/studies/{study}"
        return place if series is None else f"{place}/series/{series}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
