"""Files in storage that is not mounted, such as S3: read through fsspec, each into a private folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from promptseg.errors import InputError, MissingPackageError, PromptsegError
from promptseg.formats.location import storage_in
from promptseg.formats.options import ReadOptions
from promptseg.formats.own_temporary import private_folder
from promptseg.formats.table import format_by_suffix
from promptseg.image import Image

__all__ = ["files_at", "is_there", "open_text", "opened", "read", "stamp"]

_WITH_OTHERS = {"nifti pair", "nhdr", "mhd", "afni"}  # files that need a second one beside them
_STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read the image at an address; nothing of it stays on the disk.

    Args:
        path: address of one file, or of a folder with one DICOM series.
        options: as for files.

    Raises:
        PromptsegError: not there, no access, or what the reader of its format refuses.
    """
    import promptseg.formats as formats

    address = _address(path)
    chosen = format_by_suffix(path)
    if chosen is not None and chosen.name in _WITH_OTHERS:
        raise InputError(
            "a format of one file in storage", f"{address}, {chosen.name}", "convert it first"
        )
    with private_folder() as folder, _failing(address) as files:
        place = _place(address)
        local = folder / PurePosixPath(place).name
        if chosen is None and files.isdir(place):
            local.mkdir(exist_ok=True)
            for one in files.ls(place, detail=False):
                files.get_file(one, str(local / PurePosixPath(one).name))
        else:
            files.get_file(place, str(local))
        try:
            image = formats.read(local, options)
        except PromptsegError as error:  # the user never saw the folder
            for part in ("expected", "got", "do"):
                setattr(error, part, getattr(error, part).replace(str(local), address))
            raise
    image.source.path = path
    return image


def stamp(path: Path) -> list[Any]:
    """Return size and version of a file at an address: another content has another stamp.

    Raises:
        InputError: it is not there, or may not be looked at.
    """
    address = _address(path)
    with _failing(address) as files:
        facts = files.info(_place(address))
    version = next((str(facts[key]) for key in _STAMPS if facts.get(key)), "")
    return [facts.get("size"), version]


def is_there(path: Path) -> bool:
    """Tell whether there is a file or folder at an address.

    Raises:
        InputError: the storage does not answer.
    """
    address = _address(path)
    with _failing(address) as files:
        return bool(files.exists(_place(address)))


def files_at(path: Path) -> Iterator[Path]:
    """Yield the addresses of all files below one, folder by folder, as they are listed.

    Raises:
        InputError: no such folder, or no access.
    """
    address = _address(path)
    scheme = address.partition("://")[0]
    with _failing(address) as files:
        if not files.isdir(_place(address)):
            raise InputError("a folder in storage", f"{address}: none", "check the address")
        for folder, _, names in files.walk(_place(address)):
            for name in sorted(names):
                yield Path(f"{scheme}://{folder.strip('/')}/{name}")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Provide a file at an address, open for reading; what goes wrong later is an `OSError`, as of a
    file.

    Raises:
        InputError: not there, or no access.
    """
    address = _address(path)
    with _failing(address) as files:
        stream = files.open(_place(address), "rb")
    with stream:
        yield stream


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Provide a text in UTF-8, in a file of this machine or at an address.

    Raises:
        InputError: at an address, not there, or no access.
        OSError: a file that cannot be read.
    """
    if storage_in(path) is None:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
        return
    import io

    with opened(path) as content, io.TextIOWrapper(content, "utf-8-sig", newline="") as text:
        yield text


def _address(path: Path) -> str:
    address = storage_in(path)
    assert address is not None, "only asked of addresses"
    return address


def _place(address: str) -> str:
    """An address as its file system names it."""
    scheme, _, rest = address.partition("://")
    return f"/{rest}" if scheme in ("sftp", "ssh", "hdfs", "webhdfs", "memory") else rest


@contextmanager
def _failing(address: str) -> Iterator[Any]:
    """The file system of an address; its errors as ours."""
    scheme = address.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise MissingPackageError("fsspec", "for addresses of storage", "remote") from None
    try:
        files = fsspec.filesystem(scheme)
    except ImportError as error:  # says which package reads this kind
        raise InputError(
            f"a package that reads {scheme}://", f"none ({error})", "install it"
        ) from None
    except ValueError as error:
        raise InputError("a storage that fsspec knows", f"{address} ({error})") from None
    try:
        yield files
    except PromptsegError:
        raise
    except FileNotFoundError:
        raise InputError(
            "a file in storage", f"{address}: not there", "check the address"
        ) from None
    except PermissionError:
        raise InputError(
            "storage that may be read", f"{address}: no access", "check your credentials"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            "storage that answers", f"{address} ({reason})", "the same command goes on"
        ) from None
