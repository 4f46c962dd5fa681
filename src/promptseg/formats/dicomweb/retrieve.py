"""WADO: a series as it is stored, into a private folder, and from there into an image."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import dicom
from promptseg.formats.dicomweb.address import Address
from promptseg.formats.dicomweb.connection import Connection
from promptseg.formats.dicomweb.multipart import boundary_of, parts
from promptseg.formats.dicomweb.query import RemoteSeries, choose_series
from promptseg.formats.options import ReadOptions
from promptseg.formats.own_temporary import private_folder
from promptseg.image import Image
from promptseg.progress import step_progress

__all__ = ["read"]

_ORIGINAL = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_LARGEST_SERIES = 1 << 35


def read(path: str | Path, options: ReadOptions | None = None) -> Image:
    """Read the series at an address `dicomweb://...`; nothing of it stays on the disk.

    Args:
        path: address of a series, or of a study with one series of images.
        options: `series` chooses where there are several; the others as for DICOM files.

    Raises:
        PromptsegError: no such series, several, no answer, refused, or what a reader of DICOM files
            refuses.
    """
    address = Address.parse(path)
    options = options or ReadOptions()
    with Connection(address) as connection, private_folder() as folder:
        series, among = choose_series(address, options.series, connection)
        assert address.study is not None
        quiet = bool(getattr(options, "quiet", False))  # a job says so
        with step_progress("fetching slices", series.count, quiet) as update:
            count = _save(connection, address.study, series, folder, update)
        try:
            image = dicom.read(folder, options)
        except PromptsegError as error:  # the user never saw the folder
            for part in ("expected", "got", "do"):
                setattr(error, part, getattr(error, part).replace(str(folder), address.text))
            raise
    place = address.at(address.study, series.uid)
    image.source.path = Path(place)
    if among > 1:
        image.source.notes.append(f"series {series.uid} chosen out of {among}")
    if series.count is not None and count > series.count:
        image.source.notes.append(f"{count} instances came where {series.count} were listed")
    if address.is_open:
        image.source.notes.append(f"{place} was read without encryption")
    return image


def _save(
    connection: Connection,
    study: str,
    series: RemoteSeries,
    folder: Path,
    update: Callable[[int, str], None],
) -> int:
    """Save every instance of a series as a file; returns how many there are."""
    text = connection.address.text
    path = f"/studies/{study}/series/{series.uid}"
    headers = {"Accept": _ORIGINAL, "Accept-Encoding": "identity"}
    count = 0
    with connection.get(path, headers) as answer:
        boundary = boundary_of(answer.headers.get("Content-Type", ""))
        if boundary is None:
            kind = answer.headers.get("Content-Type", "no type")
            raise InputError(f"DICOM objects in multipart/related ({text})", kind)
        chunks = _limited(connection.content(answer), folder, text)
        try:
            for part in parts(chunks, boundary):
                with (folder / f"{count + 1:06d}.dcm").open("wb") as file:
                    for piece in part:
                        file.write(piece)
                count += 1
                update(count, "")
        except (EOFError, ValueError) as error:
            raise InputError(
                f"a complete answer ({text})", f"one where {error}", "try again"
            ) from None
    if count < (series.count or 1):
        raise InputError(
            f"{series.count or 'some'} instances, as the server lists them ({text})",
            f"{count}",
            "try again: slices would be missing",
        )
    return count


def _limited(chunks: Iterator[bytes], folder: Path, text: str) -> Iterator[bytes]:
    """The chunks, as long as they fit onto the disk."""
    room = min(_LARGEST_SERIES, int(0.9 * shutil.disk_usage(folder).free))
    for chunk in chunks:
        room -= len(chunk)
        if room < 0:
            raise InputError(
                "a series that fits into the folder for temporary files and into 32 GiB",
                f"a larger one ({text})",
                "free some space or name another folder in TMPDIR",
            )
        yield chunk
