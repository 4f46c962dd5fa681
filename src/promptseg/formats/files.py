"""Paths: what can be read, and writing so that nothing is half-written or lost."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, NoSpaceError, OutputError
from promptseg.formats.begun import Begun
from promptseg.formats.location import require_local
from promptseg.formats.systems import is_device, replace
from promptseg.formats.table import FORMATS, format_by_suffix
from promptseg.formats.text import read_text
from promptseg.leftovers import clean, part_name, remove
from promptseg.names import for_csv

__all__ = [
    "atomic_path",
    "atomic_paths",
    "beside",
    "check_output",
    "files_below",
    "is_file",
    "overlay_path",
    "provenance_path",
    "read_provenance_beside",
    "require_file",
    "write_csv",
]

_DOUBLE_ENDINGS = (
    *(ending for one in FORMATS for ending in one.suffixes if ending.count(".") > 1),
    *(".seg.nrrd", ".seg.dcm"),  # as people call them
)


def beside(path: Path, ending: str) -> Path:
    """Return another name on the same stem: `mask.nii.gz` becomes `mask` + `ending`."""
    name = path.name
    for double in _DOUBLE_ENDINGS:
        if name.lower().endswith(double):
            return path.with_name(name[: -len(double)] + ending)
    return path.with_name(path.stem + ending)


def provenance_path(output: Path) -> Path:
    """Return the path of an output's provenance: `mask.nii.gz` has `mask.nii.gz.json`."""
    return output.parent / f"{output.name}.json"


def overlay_path(output: Path) -> Path:
    """Return the path of an output's overlay: `mask.nii.gz` has `mask.nii.gz.overlay.png`."""
    return output.parent / f"{output.name}.overlay.png"


def read_provenance_beside(output: Path) -> dict[str, Any]:
    """Read the provenance beside an output of ours; empty where there is none that belongs to it.

    Earlier versions called it after the stem, `mask.json`; such a file is read where it names the
    output as its own, because several outputs may have the stem.
    """
    for path, shared in ((provenance_path(output), False), (beside(output, ".json"), True)):
        try:
            content = json.loads(read_text(path))
        except (OSError, ValueError, RecursionError):
            continue
        named = content.get("output") if isinstance(content, dict) else None
        if isinstance(named, str) and (named == output.name or not shared):
            found: dict[str, Any] = content
            return found
    return {}


def is_file(path: Path) -> bool:
    """Tell whether a path is a file with bytes to read: no folder, device, socket or pipe.

    Raises:
        OSError: it is not there or cannot be looked at (permissions, a loop of links).
        ValueError: no path at all (a NUL character).
    """
    return stat.S_ISREG(path.stat().st_mode)


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, in order; links are followed wherever they lead.

    A folder or file that several links lead to is met once, by the first of its names in order, and a
    loop of links ends. A link to nothing is among the files: it names what is missing.

    Raises:
        InputError: a folder that cannot be listed, whose files would be missing without a word.
    """
    found: dict[tuple[int, int], Path] = {}
    lost: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for at, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        folders.sort()
        facts = os.stat(at)
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for name in names:
            path = Path(at) / name
            try:
                facts = path.stat()
            except OSError:
                lost.append(path)
                continue
            key = (facts.st_dev, facts.st_ino)
            if key not in found or (found[key].is_symlink() and not path.is_symlink()):
                found[key] = path
    return sorted([*found.values(), *lost])


def _raise(error: OSError) -> None:
    raise InputError(
        "a folder that can be read",
        f"{error.filename} ({error.strerror})",
        "give yourself the right to read it",
    )


def require_file(path: Path, expected: str) -> None:
    """Refuse what cannot be opened and read as a file; a pipe would block for ever.

    Args:
        path: what is to be opened.
        expected: for the message.

    Raises:
        InputError: it is missing, no file, empty or not readable.
    """
    try:
        if not is_file(path):
            raise InputError(expected, f"{path}: not a file (a folder, device, socket or pipe)")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(expected, f"{path}: an empty file", "get it again")
    except FileNotFoundError:
        raise InputError(expected, f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(expected, f"{path!s} ({reason})") from error


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse early what could not be written later.

    Raises:
        OutputError: the file exists and `overwrite` is not set, or its folder cannot be written.
    """
    require_local(path)
    if sys.platform == "win32" and is_device(path.name):
        raise OutputError(
            "an output file", f"{path.name}: a device of Windows, whatever its ending", "rename it"
        )
    exists = os.path.lexists(path)  # a link that leads nowhere is the user's too
    try:
        special = not is_file(path)
    except (FileNotFoundError, NotADirectoryError):
        special = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("an output that can be written", f"{path} ({reason})") from None
    if exists and path.is_dir() and not _is_replaceable(path):
        raise OutputError("an output file", f"{path}: a folder", "name a file in it")
    if special and not path.is_dir():
        raise OutputError("an output file", f"{path}: a device, socket or pipe", "name a file")
    if exists and not overwrite:
        raise OutputError("a new output file", f"{path}: exists", "choose another or --overwrite")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            "a folder that can be written", f"{folder} ({error.strerror})", "choose another one"
        ) from None


def _is_replaceable(path: Path) -> bool:
    """Whether a folder is masks of ours in a format whose files are folders."""
    known = format_by_suffix(path)
    return known is not None and known.folder and bool(known.load().is_ours(path))


@contextlib.contextmanager
def atomic_path(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Provide a temporary name for one file, see `atomic_paths`."""
    with atomic_paths(path, overwrite=overwrite) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_paths(*paths: Path, overwrite: bool = True) -> Iterator[tuple[Path, ...]]:
    """Provide temporary names beside `paths`, with their endings; they are renamed if all goes well.

    Args:
        paths: files that appear together, in this order, or not at all.
        overwrite: whether what is there by then is replaced. Otherwise only what a run that was
            killed left of these files is (`promptseg.formats.begun`).

    Raises:
        OutputError: the folder cannot be made or written, the disk is full, or, without `overwrite`,
            something has appeared at one of the places; it stays.
    """
    names = [path.with_name(part_name(_ending(path))) for path in paths]
    current, placing = paths[0], None
    try:
        for current in paths:
            current.parent.mkdir(parents=True, exist_ok=True)
            clean(current.parent)
        yield tuple(names)
        placing = _Placing(dict(zip(paths, names, strict=True)), overwrite)
        for current in paths:
            placing.place(current)
        placing.done = True
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise OutputError(
                "a new output file",
                f"{current}, which has appeared in the meantime",
                "choose another or --overwrite",
            ) from error
        if NoSpaceError.is_meant(error):
            raise NoSpaceError.at(current) from error
        raise OutputError(
            "an output that can be written",
            f"{current} ({error.strerror or error})",
            "choose another folder",
        ) from error
    finally:
        if placing:
            placing.end()
        for left in names:
            with contextlib.suppress(OSError):
                remove(left)


class _Placing:
    """Files that get their names: all, or none where it can be helped.

    A kill at any moment leaves what the next run knows as ours: a mark where nothing is to be replaced
    (`Begun`); where it is, new masks without facts, never with those of the masks before.

    Args:
        temporaries: where the file for each name is.
        overwrite: whether what is there is replaced.
    """

    def __init__(self, temporaries: dict[Path, Path], overwrite: bool) -> None:
        self.temporaries, self.overwrite = temporaries, overwrite
        self.done = False
        self._paths = list(temporaries)
        self._placed: list[Path] = []
        self._aside: dict[Path, Path] = {}
        self._begun = Begun([] if overwrite else self._paths)

    def place(self, path: Path) -> None:
        """Give one file its name.

        Raises:
            OSError: it is in use, say; `FileExistsError`: something else has it.
        """
        if not self._placed:
            self._prepare()
        self._placed.append(path)
        if self.overwrite or self._begun.left(path):
            if path.is_dir() and not path.is_symlink():  # a folder is not replaced, but moved aside
                self._move_aside(path)
            replace(self.temporaries[path], path)
            return
        try:
            _place(self.temporaries[path], path)
        except FileExistsError:
            self._placed.remove(path)  # it is not ours
            raise

    def end(self) -> None:
        """Clear up; unless all are `done`, what was there before comes back."""
        if not self.done:
            for path in self._placed:
                if not self.overwrite or path.is_dir():
                    with contextlib.suppress(OSError):
                        remove(path)
            for path, moved in self._aside.items():
                with contextlib.suppress(OSError):
                    os.replace(moved, path)
        for moved in self._aside.values():
            with contextlib.suppress(OSError):
                remove(moved)
        if not self.overwrite:
            self._begun.end(self._paths, self.done)

    def _prepare(self) -> None:
        if not self.overwrite:
            self._begun.begin(self.temporaries)
            return
        first, *others = self._paths
        if not others:
            return
        with contextlib.suppress(OSError):  # no second names here, or nothing there
            second = first.with_name(part_name())
            os.link(first, second)
            self._aside[first] = second
        for path in others:
            if os.path.lexists(path):
                self._move_aside(path)

    def _move_aside(self, path: Path) -> None:
        moved = path.with_name(part_name())
        replace(path, moved)
        self._aside[path] = moved


def _ending(path: Path) -> str:
    return path.name[len(beside(path, "").name) :]


def _place(temporary: Path, path: Path) -> None:
    """Give a file its name, unless something has it already.

    Raises:
        FileExistsError: something has.
    """
    if temporary.is_dir():
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names: the place is taken first
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, path)


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a table, whole or not at all; no cell of it is a formula to a spreadsheet (`for_csv`).

    Args:
        path: of the table; what is there is replaced.
        head: names of columns.
        rows: cells of each line.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(map(for_csv, head))
        writer.writerows(map(for_csv, row) for row in rows)
