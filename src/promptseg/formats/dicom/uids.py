"""A copy of a DICOM series that lost its UIDs, with others made up, so that objects can refer to it."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from promptseg.errors import InputError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.leftovers import is_part

__all__ = ["copy_with_uids"]

_OF_SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_COMMENT = "Copied by promptseg, which made up the UIDs that the original lacks"


def copy_with_uids(source: Path, folder: Path) -> list[Path]:
    """Copy the files of one series; UIDs that are there stay, others are made up from the files' names.

    The same series gets the same UIDs again. Pixels and all other elements are copied as they are, but
    for a comment that says so.

    Args:
        source: folder with the files of one series and nothing else.
        folder: for the copies, `slice-001.dcm` and so on; copies of an earlier call are replaced.

    Raises:
        InputError: a file that is not DICOM.
        OutputError: the folder holds other files, or cannot be written.
    """
    files = sorted(path for path in source.iterdir() if path.is_file())
    copies = [folder / f"slice-{number:03d}.dcm" for number in range(1, len(files) + 1)]
    others = set(folder.iterdir()) - set(copies) if folder.is_dir() else set()
    others = {path for path in others if not is_part(path.name)}  # of an earlier copy, killed
    if others or (folder.exists() and not folder.is_dir()):
        raise OutputError(
            "a folder for the series alone",
            f"{folder} with {min(others).name if others else 'a file in its place'}",
            "choose another folder",
        )
    headers = [_read(file) for file in files]
    for file, header, copy in zip(files, headers, copies, strict=True):
        meta = header.file_meta
        made_up = {
            "SOPClassUID": meta.get("MediaStorageSOPClassUID"),
            "SOPInstanceUID": generate_uid(entropy_srcs=[file.name]),
            **{name: generate_uid(entropy_srcs=[files[0].name, name]) for name in _OF_SERIES},
        }
        for name, uid in made_up.items():
            if not header.get(name):
                setattr(header, name, uid)
        meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.ImageComments = _COMMENT
        with atomic_path(copy) as temporary:
            header.save_as(temporary, enforce_file_format=True)
    return copies


def _read(file: Path) -> pydicom.FileDataset:
    try:
        return pydicom.dcmread(file)
    except Exception as error:
        raise InputError("a folder of DICOM files", f"{file} ({error})") from None
