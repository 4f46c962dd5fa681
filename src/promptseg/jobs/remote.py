"""A result that goes onto a DICOMweb server instead of into files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.formats.location import address_in
from promptseg.formats.saving import save
from promptseg.image import Segmentation

if TYPE_CHECKING:
    from promptseg.formats.dicomweb import Stored

__all__ = ["check_remote", "file_for", "is_remote", "send"]

log = logging.getLogger("promptseg")

_SENT_AS = Path("segmentation.dcm")


def is_remote(output: Path) -> bool:
    """Whether an output is an address `dicomweb://...`."""
    return address_in(output) is not None


def file_for(output: Path) -> Path:
    """The file that masks are written to: the output itself, or what is sent in its place."""
    return _SENT_AS if is_remote(output) else output


def check_remote(output: Path) -> None:
    """Refuse before any work what the server could not be asked to store after it.

    Raises:
        PromptsegError: no such address, no answer, or not let in.
    """
    from promptseg.formats.dicomweb import Address, check_store

    check_store(Address.parse(output))


def send(segmentation: Segmentation, output: Path, overlap: str = "keep") -> Stored:
    """Store a segmentation as DICOM SEG.

    Args:
        segmentation: the result, of an image read from DICOM.
        output: the address of a server or study.
        overlap: as in `promptseg.formats.saving.save`.

    Raises:
        OutputError: it cannot be a DICOM SEG, or the server did not store it.
    """
    from promptseg.formats.dicomweb import Address, store
    from promptseg.formats.dicomweb.retrieve import private_folder

    with private_folder() as folder:
        path = save(segmentation, folder / _SENT_AS, overlap=overlap)
        stored = store(path, Address.parse(output))
    for warning in stored.warnings:
        log.warning("%s: the server warns: %s", stored.address, warning)
    return stored
