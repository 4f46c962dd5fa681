"""The one DICOMweb archive of a server: viewers read it through us, and masks go there."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import SegmentationStorage

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import read
from promptseg.formats.dicomweb import Address, store
from promptseg.formats.dicomweb.address import is_uid
from promptseg.formats.dicomweb.connection import Connection
from promptseg.formats.dicomweb.tags import texts
from promptseg.formats.own_temporary import private_folder
from promptseg.image import Image, Segmentation
from promptseg.jobs.remote import send
from promptseg.serve.refusals import AbsentError, RefusedError

__all__ = ["Archive", "ArchiveError", "Relayed"]

_RESOURCE = re.compile(r"(studies|series|instances)(/[A-Za-z0-9._,-]+)*")
_LONGEST = 1024
_MOST_BYTES = 1 << 30
_PASSED_ON = ("accept", "accept-language")


class ArchiveError(RefusedError):
    """The archive is down, slow, or does not let us in."""

    status = 502


@dataclass(frozen=True)
class Relayed:
    """Answer of the archive.

    Attributes:
        status: of HTTP.
        kind: Content-Type.
        content: the body.
    """

    status: int
    kind: str
    content: bytes


class Archive:
    """An archive, at a fixed address; credentials come from the environment (docs/dicomweb.md).

    Args:
        address: `dicomweb://HOST/PATH`.

    Raises:
        InputError: no such address, or one of a study.
    """

    def __init__(self, address: str) -> None:
        self.address = Address.parse(address)
        if self.address.study is not None:
            raise InputError("the address of an archive", address, "leave /studies/... out")

    def get(self, resource: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Relayed:
        """Answer a viewer's GET with what the archive says to it.

        Args:
            resource: below the archive's root: studies, series, instances and what they hold.
            query: of the request.
            headers: of the request; no credentials of the viewer's are passed on.

        Raises:
            AbsentError: another resource.
            ArchiveError: no answer, or one that is too large.
        """
        if not _RESOURCE.fullmatch(resource) or len(resource) > _LONGEST or ".." in resource:
            raise AbsentError("studies, series or instances", repr(resource)[:100])
        passed = {k: v for k, v in headers.items() if k.lower() in _PASSED_ON}
        try:
            with (
                Connection(self.address) as connection,
                connection.relay(f"/{resource}", passed, dict(query)) as answer,
            ):
                content = bytearray()
                for chunk in connection.content(answer):
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise ArchiveError("an answer of at most 1 GiB", "a larger one")
                kind = answer.headers.get("Content-Type", "application/octet-stream")
                return Relayed(answer.status_code, kind, bytes(content))
        except RefusedError:
            raise
        except PromptsegError as error:
            raise ArchiveError(error.expected, error.got, error.do) from None

    def image(self, series: str, modality: str | None = None) -> Image:
        """Download a series, its slices in the order of their positions.

        Args:
            series: SeriesInstanceUID.
            modality: over what the series says.

        Raises:
            AbsentError: the archive has none of that UID.
            ArchiveError: it cannot be asked.
            InputError: it cannot be read as an image.
        """
        if not is_uid(series):
            raise AbsentError("a series of the archive", repr(series)[:100])
        try:
            with Connection(self.address) as connection:
                found = connection.json(
                    "/series", {"SeriesInstanceUID": series, "includefield": "0020000D"}
                )
        except PromptsegError as error:
            raise ArchiveError(error.expected, error.got, error.do) from None
        studies = {uid for one in found or [] for uid in texts(one, "0020000D") if is_uid(uid)}
        if len(studies) != 1:
            raise AbsentError("a series of the archive", f"{len(studies)} of UID {series}")
        return read(Path(self.address.at(studies.pop(), series)), modality=modality)

    def store_file(self, content: bytes, series: Collection[str]) -> str:
        """Store a DICOM SEG that a viewer has made of our masks; returns where it is.

        Args:
            content: the file.
            series: UIDs of those that were opened here: a SEG of another one is refused.

        Raises:
            AbsentError: it is no DICOM SEG, or of another series.
            OutputError: the archive did not take it.
        """
        try:
            header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            about = {str(one.SeriesInstanceUID) for one in header.ReferencedSeriesSequence}
            kind = str(header.SOPClassUID)
        except Exception:  # whatever pydicom makes of bytes that are none
            about, kind = set(), ""
        if kind != SegmentationStorage or not about or not about <= set(series):
            raise AbsentError(
                "a DICOM SEG of a series that is open here", "something else", "store it elsewhere"
            )
        with private_folder() as folder:
            path = folder / "segmentation.dcm"
            path.write_bytes(content)
            return store(path, self.address).address

    def store(self, segmentation: Segmentation) -> str:
        """Store masks as a DICOM SEG in the study of their image; returns where they are.

        Raises:
            OutputError: the archive did not take them; they are kept (docs/dicomweb.md).
            InputError: they are not of a DICOM image.
        """
        scheme = self.address.text.partition("://")[0]
        root = f"{scheme}://{self.address.root.partition('://')[2]}"
        return send(segmentation, Path(root)).address
