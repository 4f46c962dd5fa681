"""QIDO: which series a study on the server has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from promptseg.errors import InputError
from promptseg.formats.dicomweb.address import Address, is_uid
from promptseg.formats.dicomweb.connection import Connection
from promptseg.formats.dicomweb.tags import texts
from promptseg.formats.location import address_in

__all__ = ["RemoteSeries", "choose_series", "series_at", "series_matching"]

_PAGE = 100
_MOST = 10_000
_NO_IMAGES = {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG", "DOC"}


@dataclass(frozen=True)
class RemoteSeries:
    """One series as the server lists it.

    Attributes:
        uid: SeriesInstanceUID.
        modality: as DICOM writes it, "CT", "PT", ...; empty if the server does not say.
        description: SeriesDescription; empty if absent.
        count: its number of instances; None if the server does not say.
    """

    uid: str
    modality: str
    description: str
    count: int | None

    def __str__(self) -> str:
        size = "? instances" if self.count is None else f"{self.count} instances"
        return f"{self.uid}: {self.modality or '?'}, {size}, {self.description or 'no description'}"


def series_at(address: Address, connection: Connection | None = None) -> list[RemoteSeries]:
    """Return the series of the study that `address` names; only the one that it names, if it does.

    Raises:
        InputError: the address names no study, or the server has none of its series.
        PromptsegError: no answer, refused, or not DICOMweb.
    """
    if address.study is None:
        raise InputError(
            "an address that names a study or series",
            address.text,
            "add /studies/STUDY or /studies/STUDY/series/SERIES",
        )
    if connection is None:
        with Connection(address) as connection:
            return series_at(address, connection)
    found: dict[str, RemoteSeries] = {}
    while len(found) < _MOST:
        page = _page(address, connection, len(found))
        new = {s.uid: s for s in page if s.uid not in found}
        found |= new
        if len(page) < _PAGE or not new:
            break
    if address.series is not None:  # some servers ignore what is asked for
        found = {uid: s for uid, s in found.items() if uid == address.series}
    if not found:
        what = "study" if address.series is None else "series"
        raise InputError(f"a {what} on the server", f"none such: {address.text}", "check its UID")
    return list(found.values())


def series_matching(path: str | Path) -> Iterator[tuple[str, RemoteSeries]]:
    """Yield the series of images that a query finds: the address, and what the server says of each.

    They are asked for page by page, as they are taken.

    Args:
        path: `dicomweb://HOST/PATH/studies?ATTRIBUTE=VALUE&...`, or `.../series?...`.

    Raises:
        InputError: no such query, or an answer that is no list.
        PromptsegError: no answer, refused, or not DICOMweb.
    """
    text = address_in(path) or str(path)
    place, _, asked = text.partition("?")
    root, _, level = place.rstrip("/").rpartition("/")
    address = Address.parse(root)
    query = dict(parse_qsl(asked, keep_blank_values=True))
    if any(key in ("limit", "offset") for key in query):
        raise InputError("a query without limit and offset", text, "leave them out")
    with Connection(address) as connection:
        for entry in _matching(connection, level, query):
            study = next(iter(texts(entry, "0020000D")), "")
            if not is_uid(study):
                continue
            if level == "series":
                found = [] if (one := _series(entry)) is None else [one]
            else:
                found = series_at(Address.parse(address.at(study)), connection)
            for series in found:
                if series.modality not in _NO_IMAGES:
                    yield address.at(study, series.uid), series


def _matching(
    connection: Connection, level: str, query: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Entries of a query, page by page; a server that knows no pages is asked once."""
    seen: set[str] = set()
    uid = "0020000E" if level == "series" else "0020000D"
    offset = 0
    while True:
        asked = {**query, "limit": str(_PAGE), "offset": str(offset)}
        asked.setdefault("includefield", "00080060,0008103E,00201209")
        listed = connection.json(f"/{level}", asked) or []
        if not isinstance(listed, list):
            raise InputError(f"a list of {level}", "something else in JSON")
        new = [one for one in listed if (next(iter(texts(one, uid)), "")) not in seen]
        seen |= {next(iter(texts(one, uid)), "") for one in new}
        yield from new
        offset += len(listed)
        if len(listed) < _PAGE or not new:
            return


def choose_series(
    address: Address, wanted: str | None, connection: Connection
) -> tuple[RemoteSeries, int]:
    """Choose the one series to be read; returns it and the number of series there were.

    Args:
        address: of a study or series.
        wanted: SeriesInstanceUID or its ending; None if there should be only one.
        connection: to the server.

    Raises:
        InputError: not exactly one fits.
    """
    found = series_at(address, connection)
    if wanted is not None:
        fitting = [s for s in found if s.uid.endswith(wanted)]
    else:
        fitting = [s for s in found if s.modality not in _NO_IMAGES] or found
    if len(fitting) == 1:
        return fitting[0], len(found)
    lines = "\n".join(f"  {s}" for s in found)
    raise InputError(
        "one DICOM series" if wanted is None else f"one series ending in {wanted}",
        f"{len(fitting) or 'none'} of {len(found)} at {address.text}:\n{lines}",
        "choose one with --series UID, or add /series/UID to the address",
    )


def _page(address: Address, connection: Connection, offset: int) -> list[RemoteSeries]:
    query = {
        "limit": str(_PAGE),
        "offset": str(offset),
        "includefield": "00080060,0008103E,00201209",
    }
    if address.series is not None:
        query["SeriesInstanceUID"] = address.series
    listed = connection.json(f"/studies/{address.study}/series", query)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise InputError(f"a list of series ({address.text})", "something else in JSON")
    return [series for entry in listed if (series := _series(entry)) is not None]


def _series(entry: Any) -> RemoteSeries | None:
    uid, modality, description, count = (
        next(iter(texts(entry, tag)), "")
        for tag in ("0020000E", "00080060", "0008103E", "00201209")
    )
    if not is_uid(uid):
        return None
    return RemoteSeries(uid, modality, description, int(count) if count.isdecimal() else None)
