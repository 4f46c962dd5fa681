"""STOW: a DICOM object onto the server, and what the server said about it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from promptseg.errors import OutputError
from promptseg.formats.dicomweb.address import Address
from promptseg.formats.dicomweb.connection import Connection, RefusedError
from promptseg.formats.dicomweb.multipart import encode
from promptseg.formats.dicomweb.tags import items, texts
from promptseg.parsing import parse_json

__all__ = ["Stored", "check_store", "store"]

_REASONS = {
    0x0110: "processing failure",
    0x0111: "it has such an instance already",
    0x0117: "invalid object instance",
    0x0122: "it does not store objects of this class",
    0x0124: "not authorised",
    0xB000: "elements were changed",
    0xB006: "elements were left out",
    0xB007: "the object does not match its class",
    0xA700: "out of resources",
    0xA900: "the object does not match its class",
    0xC000: "it cannot understand the object",
}


@dataclass(frozen=True)
class Stored:
    """One object that the server has now.

    Attributes:
        address: `dicomweb://...` of its series.
        instance: its SOPInstanceUID.
        warnings: what the server changed or could not keep, in words.
    """

    address: str
    instance: str
    warnings: tuple[str, ...] = ()


def check_store(address: Address) -> None:
    """Refuse before any work what could not be stored after it.

    Raises:
        OutputError: the address names a series.
        PromptsegError: the server does not answer, or does not let us in.
    """
    if address.series is not None:
        raise OutputError(
            "a server or study to store into",
            address.text,
            "leave /series/... out: the segmentation gets a series of its own",
        )
    with Connection(address) as connection:
        try:
            connection.json("/studies", {"limit": "1"})
        except RefusedError as refused:
            if refused.status in (403, 405):  # it may store and not list
                return
            raise


def store(path: Path, address: Address) -> Stored:
    """Store one DICOM file.

    Args:
        path: the file.
        address: the server, or the study that the file belongs to.

    Raises:
        OutputError: the file belongs to another study, or the server did not store it.
        PromptsegError: no answer, or refused.
    """
    header = pydicom.dcmread(path, stop_before_pixels=True)
    study, series, instance = (
        str(header.get(k)) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    if address.study not in (None, study):
        raise OutputError(
            "the study that the image belongs to",
            address.text,
            f"store into /studies/{study}, or leave the study out",
        )
    resource = "/studies" if address.study is None else f"/studies/{address.study}"
    kind, body = encode([path.read_bytes()])
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    with Connection(address) as connection, connection.post(resource, headers, body) as answer:
        status = answer.status_code
        content = b"".join(connection.content(answer))
    said: Any = None
    with contextlib.suppress(ValueError):  # 200 alone says that all is stored
        said = parse_json(content)
    failed, kept = items(said, "00081198"), items(said, "00081199")
    ours = [item for item in kept if instance in texts(item, "00081155")]
    if failed or (not ours and status != 200) or (kept and not ours):
        reasons = [reason for item in failed for reason in texts(item, "00081197")]
        raise OutputError(
            f"the server to store the segmentation ({address.text})",
            "; ".join(map(_in_words, reasons)) or f"HTTP {status} without a reason",
            "see the server's log",
        )
    warnings = [reason for item in ours for reason in texts(item, "00081196")]
    return Stored(address.at(study, series), instance, tuple(map(_in_words, warnings)))


def _in_words(reason: str) -> str:
    """`272` -> `0x0110, processing failure`."""
    if not reason.isdecimal():
        return reason or "no reason"
    code = int(reason)
    group = code & 0xF000 if code >= 0xC000 else code & 0xFF00 if code >= 0xA000 else code
    words = _REASONS.get(code) or _REASONS.get(group)
    return f"0x{code:04X}" + (f", {words}" if words else "")
