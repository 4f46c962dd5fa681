"""A result that goes onto a DICOMweb server instead of into files."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.assets import cache_folder
from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path, provenance_path
from promptseg.formats.location import address_in
from promptseg.formats.saving import save
from promptseg.image import Segmentation

if TYPE_CHECKING:
    from promptseg.formats.dicomweb import Stored

__all__ = ["check_remote", "file_for", "is_remote", "send"]

log = logging.getLogger("promptseg")

_SENT_AS = Path("segmentation.dcm")
_UNSENT = "unsent"  # in the cache folder


def is_remote(output: Path) -> bool:
    """Tell whether an output is an address `dicomweb://...`."""
    return address_in(output) is not None


def file_for(output: Path) -> Path:
    """Return the file that masks are written to: the output itself, or what is sent in its place."""
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
        OutputError: it cannot be a DICOM SEG, or the server did not store it; what was not stored is
            kept in the cache folder, under `unsent`.
    """
    from promptseg.formats.dicomweb import Address, store
    from promptseg.formats.own_temporary import private_folder

    with private_folder() as folder:
        path = save(segmentation, folder / _SENT_AS, overlap=overlap)
        try:
            stored = store(path, Address.parse(output))
        except BaseException:  # the user's patience included: the work is not to be lost
            _keep(path)
            raise
    for warning in stored.warnings:
        log.warning("%s: the server warns: %s", stored.address, warning)
    return stored


def _keep(path: Path) -> None:
    """Put a result that could not be stored where its user alone finds it, and say so."""
    folder = cache_folder() / _UNSENT
    kept = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}{path.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for own, place in ((path, kept), (provenance_path(path), provenance_path(kept))):
            if own.exists():
                with atomic_path(place) as temporary:
                    shutil.copyfile(own, temporary)
                    temporary.chmod(0o600)
    except (OSError, OutputError) as error:
        log.warning("the result could not be kept either: %s", error)
        return
    log.warning("the result is kept in %s: store it with your server's tools", kept)
