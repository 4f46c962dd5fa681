"""A path, or an address: of a DICOMweb server, or of storage that fsspec knows.

All stand where the user names an input, and that of a server where an output is named.

Options hold a `Path`, and a path has only one slash where an address has two; this is the one place
that knows.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from promptseg.errors import InputError, OutputError

__all__ = [
    "STORAGES",
    "address_in",
    "is_query",
    "refuse_web_address",
    "require_local",
    "shown",
    "storage_in",
    "written",
]

STORAGES = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "hdfs", "webhdfs"),
    *("sftp", "ssh", "smb", "memory"),
)
"""What the address of a storage begins with, as fsspec calls it."""

_ADDRESS = re.compile(r"(dicomweb(?:\+https?)?):(?:/+(.*))?", re.IGNORECASE | re.DOTALL)
_STORAGE = re.compile(rf"({'|'.join(STORAGES)}):/+(.+)", re.IGNORECASE | re.DOTALL)
_WEB = re.compile(r"(https?):/+", re.IGNORECASE)


def address_in(path: str | PurePath) -> str | None:
    """Return the address `dicomweb://...` that a path stands for; None for a file or folder."""
    match = _ADDRESS.fullmatch(path.as_posix() if isinstance(path, PurePath) else path)
    return f"{match[1].lower()}://{match[2] or ''}" if match else None


def storage_in(path: str | PurePath) -> str | None:
    """Return the address, such as `s3://BUCKET/KEY`, that a path stands for; None for a file or folder.

    Examples:
        >>> storage_in(Path("s3://bucket/scan.nii.gz")), storage_in(Path("scan.nii.gz"))
        ('s3://bucket/scan.nii.gz', None)
    """
    match = _STORAGE.fullmatch(path.as_posix() if isinstance(path, PurePath) else path)
    return f"{match[1].lower()}://{match[2]}" if match else None


def is_query(path: str | PurePath) -> bool:
    """Tell whether an address asks for studies or series: dicomweb://.../studies?... or .../series?....

    Examples:
        >>> is_query("dicomweb://pacs/dicom-web/studies?ModalitiesInStudy=CT")
        True
    """
    place = (address_in(path) or "").partition("?")[0].rstrip("/")
    return place.endswith(("/studies", "/series"))


def require_local(path: Path) -> None:
    """Refuse an address where only this machine's files or folders can be written.

    Raises:
        OutputError: it is one; taken for a path, it would make a folder called `dicomweb:`.
    """
    if address := storage_in(path):
        raise OutputError(
            "a file or folder of this machine, or of a disk that is mounted",
            address,
            "write to a folder and copy it there",
        )
    if address := address_in(path):
        raise OutputError(
            "a file or folder of this machine",
            address,
            "only promptseg segment -o writes to a DICOMweb server",
        )


def refuse_web_address(path: Path) -> None:
    """Refuse `http://...`, and say how a DICOMweb server is written.

    Raises:
        InputError: it is one.
    """
    match = _WEB.match(path.as_posix())
    if match:
        scheme, rest = match[1].lower(), path.as_posix()[match.end() :]
        say = "dicomweb" if scheme == "https" else "dicomweb+http"
        raise InputError(
            "a file, a folder, or the address of a DICOMweb server",
            f"{scheme}://{rest}",
            f"if it is such a server, write {say}://{rest}",
        )


def shown(path: Path) -> str:
    """Return a path as its user wrote it: an address has its two slashes again."""
    return address_in(path) or storage_in(path) or str(path)


def written(path: Path) -> str:
    """Return a path as it can be found from anywhere: absolute, or the address it stands for."""
    return address_in(path) or storage_in(path) or str(path.absolute())
