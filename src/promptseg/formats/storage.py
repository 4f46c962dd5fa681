"""Files in storage that is not mounted, such as S3: read through fsspec, each into a private folder.

What fails is tried again a few times, later and later: storage has bad moments, and may show a file
some seconds after it was written.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from promptseg.errors import InputError, MissingPackageError, NoSpaceError, PromptsegError
from promptseg.formats.location import storage_in
from promptseg.formats.options import ReadOptions
from promptseg.formats.own_temporary import private_folder
from promptseg.formats.table import format_by_suffix
from promptseg.image import Image

__all__ = ["files_at", "is_there", "open_text", "opened", "parts_of", "read", "stamp"]

T = TypeVar("T")

log = logging.getLogger("promptseg")

_WAITS = (0.5, 2.0, 6.0)  # seconds before what has failed is tried again
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
    with private_folder() as folder:
        place = _place(address)
        local = folder / PurePosixPath(place).name
        if chosen is None and _tried(address, partial(_is_folder, place=place)):
            local.mkdir(exist_ok=True)
            inside = _tried(address, lambda files: files.ls(place, detail=False))
            for one in inside:
                _get(address, one, local / PurePosixPath(one).name)
        else:
            _get(address, place, local)
        try:
            image = formats.read(local, options)
        except PromptsegError as error:  # the user never saw the folder
            for part in ("expected", "got", "do"):
                setattr(error, part, getattr(error, part).replace(str(local), address))
            raise
    image.source.path = path
    return image


def stamp(path: Path) -> list[Any]:
    """Return the size and version of a file at an address: other content has another stamp.

    Raises:
        InputError: it is not there, or may not be looked at.
    """
    address = _address(path)
    facts = _tried(address, lambda files: files.info(_place(address)))
    version = next((str(facts[key]) for key in _STAMPS if facts.get(key)), "")
    return [facts.get("size"), version]


def is_there(path: Path) -> bool:
    """Tell whether there is a file or folder at an address.

    Raises:
        InputError: the storage does not answer.
    """
    address = _address(path)
    return bool(_tried(address, lambda files: files.exists(_place(address))))


def files_at(path: Path) -> Iterator[Path]:
    """Yield the addresses of all files below a folder, folder by folder, as they are listed.

    Raises:
        InputError: no such folder, or no access.
    """
    address = _address(path)
    scheme = address.partition("://")[0]
    if not _tried(address, partial(_is_folder, place=_place(address))):
        raise InputError("a folder in storage", f"{address}: none", "check the address")
    folders = [_place(address)]
    while folders:
        inside = _tried(address, partial(_listed, folder=folders.pop()))
        for place, kind in inside:
            if kind != "directory":
                yield Path(f"{scheme}://{place.strip('/')}")
        folders += [place for place, kind in reversed(inside) if kind == "directory"]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file at an address for reading; what goes wrong later is an `OSError`, as with any file.

    Raises:
        InputError: not there, or no access.
    """
    address = _address(path)
    stream = _tried(address, lambda files: files.open(_place(address), "rb"))
    with stream:
        yield stream


def parts_of(path: Path, places: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read parts of a file at an address, and nothing else; shorter where the file ends before.

    Args:
        path: the address.
        places: where each part begins and how many bytes it has.

    Raises:
        InputError: not there, or no access.
    """
    address = _address(path)
    place = _place(address)

    return _tried(
        address,
        lambda files: [bytes(files.cat_file(place, start=at, end=at + n)) for at, n in places],
    )


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text in UTF-8, a file of this machine or at an address.

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


def _is_folder(files: Any, place: str) -> bool:
    """Whether a place is a folder; `isdir` would take a bad moment for a no."""
    return bool(files.info(place)["type"] == "directory")


def _listed(files: Any, folder: str) -> list[tuple[str, str]]:
    """What is right below a folder, in order of name: its place, and file or directory.

    Some storages name the folder itself among what is in it.
    """
    entries = files.ls(folder, detail=True)
    own = folder.rstrip("/")
    found = {str(one["name"]).rstrip("/"): str(one["type"]) for one in entries}
    return sorted((place, kind) for place, kind in found.items() if place != own)


def _get(address: str, place: str, local: Path) -> None:
    """Bring one file here, whole."""

    def get(files: Any) -> None:
        files.get_file(place, str(local))
        size = files.info(place).get("size")
        if size is not None and local.stat().st_size != size:
            raise OSError(f"{local.stat().st_size:,} of {size:,} bytes")

    _tried(address, get)


def _tried(address: str, action: Callable[[Any], T]) -> T:
    """What an action on the file system of an address gives, tried again where storage fails.

    Raises:
        InputError: it has failed every time, or for a reason that does not pass.
    """
    for wait in _WAITS:
        try:
            with _failing(address) as files:
                return action(files)
        except _FailedError as error:
            log.warning("%s: tried again in %.1f s", error.got, wait)
            _forget_listing(address)
            time.sleep(wait)
    try:
        with _failing(address) as files:
            return action(files)
    except _FailedError as error:
        raise InputError(error.expected, error.got, error.do) from None


def _forget_listing(address: str) -> None:
    """Let a file system look again, where it keeps what it has seen."""
    with suppress(_FailedError), _failing(address) as files:
        files.invalidate_cache()


class _FailedError(InputError):
    """Failure of a storage that may pass."""


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
        raise _FailedError(
            "a file or a folder in storage", f"{address}: not there", "check the address"
        ) from None
    except PermissionError:
        raise InputError(
            "storage that may be read", f"{address}: no access", "check your credentials"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and NoSpaceError.is_meant(error):  # of the copy here
            raise NoSpaceError.at(tempfile.gettempdir()) from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _FailedError(
            "storage that answers", f"{address} ({reason})", "the same command goes on"
        ) from None
