"""Outputs of a run that was killed while they got their names: the next run replaces them.

Files that belong together get their names one after the other. Before the first of them does, a mark,
`.promptseg-begun-KEY`, says which files they are and what is in them; it goes when all are there. What
a mark of a process that is gone names, and what still has the very content, is nobody's result: it is
a part of one. Anything else in such a place is somebody's, and stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from promptseg.leftovers import Owner, is_gone, me, part_name, remove

__all__ = ["Begun"]

_MARK = ".promptseg-begun"
_EMPTY = hashlib.sha256(b"").hexdigest()  # a place that was taken, where there are no second names


class Begun:
    """The files that an interrupted run left of some outputs, by the marks it made.

    Args:
        paths: files that belong together, whose marks are looked for.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._marks: list[Path] = []  # of runs that are gone
        self._known: dict[Path, set[str]] = {}
        self._named: set[Path] = set()  # by a mark of earlier versions, which tells no content
        for path in paths:
            self._read(_mark_of(path), paths)
            self._read(path.parent / _MARK, paths)

    def left(self, path: Path) -> bool:
        """Tell whether the file at a path was left by such a run, and may be replaced."""
        content = _content(path)
        return content is not None and (path in self._named or content in self._known.get(path, ()))

    def begin(self, temporaries: Mapping[Path, Path]) -> None:
        """Leave a mark, before the first of some files gets its name.

        Args:
            temporaries: where each file is that is to have a name, whole already.

        Raises:
            OSError: it cannot be written.
        """
        files = {}
        for path, temporary in temporaries.items():
            before = {_content(path) or _EMPTY} if path in self._named else set()
            known = {_EMPTY} | self._known.get(path, set()) | before
            files[_seen_from(path, temporaries)] = [_content(temporary), *sorted(known)]
        mark = _mark_of(next(iter(temporaries)))
        written = mark.with_name(part_name())
        try:
            written.write_text(json.dumps({"owner": str(me()), "files": files}), encoding="utf-8")
            os.replace(written, mark)
        finally:
            written.unlink(missing_ok=True)

    def end(self, paths: Sequence[Path], done: bool = True) -> None:
        """Remove what else the earlier run left, then the marks, once all files are there or none.

        Args:
            paths: of the files.
            done: whether they are there; if not, what was left in their places goes as well.
        """
        own = set(paths) if done else set()
        for path in self._known.keys() - own:
            if path.parent == paths[0].parent and self.left(path):
                with contextlib.suppress(OSError):
                    remove(path)
        for mark in (*self._marks, _mark_of(paths[0])):
            with contextlib.suppress(OSError, ValueError):
                _take_off(mark, {path.name for path in paths})

    def _read(self, mark: Path, paths: Sequence[Path]) -> None:
        """What one mark says, if a run that is gone left it."""
        try:
            text = mark.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return
        if not text.startswith("{"):  # names alone, as versions before wrote
            if set(text.splitlines()) & {path.name for path in paths}:
                self._named |= set(paths)
                self._marks.append(mark)
            return
        try:
            said = json.loads(text)
            owner = Owner.parse(said["owner"])
            contents = {str(name): [*map(str, known)] for name, known in said["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        if owner is None or not is_gone(owner):
            return
        by_name = {_seen_from(path, [mark]): path for path in paths}
        files = {
            by_name.get(name, mark.with_name(Path(name).name)): known
            for name, known in contents.items()
        }
        if all(known and _content(path) == known[0] for path, known in files.items()):
            with contextlib.suppress(OSError):  # the result is whole, and stays
                mark.unlink()
            return
        self._marks.append(mark)
        for path, known in files.items():
            self._known.setdefault(path, set()).update(known)


def _mark_of(path: Path) -> Path:
    name = path.name.encode("utf-8", "surrogatepass")
    key = hashlib.sha256(name).hexdigest()[:16]
    return path.parent / f"{_MARK}-{key}"


def _seen_from(path: Path, paths: Mapping[Path, Path] | Sequence[Path]) -> str:
    """A path as the mark of some files names it: from the folder that the mark is in."""
    folder = next(iter(paths)).parent
    return path.name if path.parent == folder else os.path.relpath(path, folder)


def _take_off(mark: Path, names: set[str]) -> None:
    """Remove a mark, or some names from one of all outputs of a folder."""
    lines = mark.read_text(encoding="utf-8").splitlines() if mark.name == _MARK else []
    if left := [name for name in lines if name not in names]:
        mark.write_text("\n".join([*left, ""]), encoding="utf-8")
    else:
        mark.unlink()


def _content(path: Path) -> str | None:
    """SHA-256 of a file, or of all files of a folder; None where there is none, or something else."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_symlink():
            return None
        if path.is_file():
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        if path.is_dir():
            digest = hashlib.sha256()
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            return digest.hexdigest()
    return None
