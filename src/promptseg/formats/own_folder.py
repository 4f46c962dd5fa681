"""Folders that a job fills: a list of its own files, and nothing else in them is ever removed.

The list, `.promptseg-files`, stands in the folder: one JSON string a line, the path of a file below it.
A file is listed before it appears, so that a kill leaves nothing unlisted; a line is appended whole. A
name that starts with `*` stands for all names with that ending, for files that a library names. A mark
says which verb fills the folder: no other one does, as some of its files would have the same names.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path, check_output
from promptseg.formats.folder_verbs import Verb, mark_of, marked, verbs_by_files
from promptseg.formats.location import require_local
from promptseg.leftovers import is_part

__all__ = ["LIST", "OwnFolder", "claim", "remove"]

LIST = ".promptseg-files"
_NAMED = 5  # foreign files that a message names
_LOOKS = (0.2, 1.0)  # seconds until a list that others append to is looked at again


class OwnFolder:
    """A folder with a list of the files that we have put there.

    Args:
        root: the folder; it need not be there.

    Raises:
        OutputError: it is a file, or its list cannot be read.
    """

    def __init__(self, root: Path) -> None:
        require_local(root)
        self.root = root
        if os.path.lexists(root) and not root.is_dir():
            raise OutputError("a folder for the results", f"{root}: a file", "name a folder")
        if os.path.islink(root / LIST):
            raise _link(root / LIST)
        self.known: dict[str, None] = {}
        self._endings: dict[str, set[str]] = {}  # that stand for all names in a folder
        self._mark: str | None = None  # the verb that the list names
        self._taken: Verb | None = None
        self._learn(_read(root / LIST))

    @property
    def is_ours(self) -> bool:
        """Tell whether there is our list of files: a job of ours has begun here."""
        return (self.root / LIST).exists()

    def owns(self, path: Path) -> bool:
        """Tell whether a path below the root is listed, or was on its way to a listed one."""
        return is_part(path.name) or self._is_listed(path.relative_to(self.root).as_posix())

    def _is_listed(self, name: str) -> bool:
        """Whether a name is in the list, or one that stands for it."""
        if name in self.known:
            return True
        folder, _, last = name.rpartition("/")
        return any(map(last.endswith, self._endings.get(folder, ())))

    def _learn(self, lines: Iterable[Any]) -> None:
        for name in lines:
            if not isinstance(name, str):
                self._mark = mark_of(name)
                continue
            self.known[name] = None
            folder, _, last = name.rpartition("/")
            if last.startswith("*"):
                self._endings.setdefault(folder, set()).add(last[1:])

    def take(self, verb: Verb, *names: str) -> None:
        """Begin or go on with a verb's work here; its next `claim` writes down whose the folder is.

        A folder of another verb is not taken, whatever the user has typed: files of both have the same
        names, and would be removed or replaced for each other. One of which nothing is left is free.

        Args:
            verb: that is going to write.
            names: its files, and folders that hold its files alone.

        Raises:
            OutputError: files that another verb has listed are there.
        """
        verbs = {self._mark} if self._mark else verbs_by_files(self.root, self.known)
        others = sorted(verbs - {verb})
        inside = tuple(f"{name}/" for name in names)
        kept = (
            name
            for name in self.known
            if (others or not (verbs or name in names or name.startswith(inside)))
            and self._is_there(name)
        )
        if (first := next(kept, None)) is not None:
            of = " and ".join(f"promptseg {other}" for other in others) or "another command"
            raise OutputError(
                f"a new folder, or one of promptseg {verb}",
                f"{self.root} of {of}, which wrote {first}",
                "it is left alone: name another folder",
            )
        self._taken = verb

    def _is_there(self, name: str) -> bool:
        """Whether a listed file is there, or one that its name stands for."""
        path = self.root / name
        if not path.name.startswith("*"):
            return os.path.lexists(path)
        with contextlib.suppress(OSError):
            return any(entry.name.endswith(path.name[1:]) for entry in path.parent.iterdir())
        return False

    def check(self, *names: str) -> None:
        """Refuse what is not ours in the place of files or folders of ours.

        Args:
            names: paths below the root: files, or folders that hold files of ours alone.

        Raises:
            OutputError: files that are not listed, or links; their names are said.
        """
        foreign = self._all_foreign(names)
        if foreign:  # or of another process, that has listed it since
            self._learn(_read(self.root / LIST))
            foreign = self._all_foreign(names)
        if foreign:
            some = ", ".join(str(p.relative_to(self.root)) for p in foreign[:_NAMED])
            more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
            raise OutputError(
                "a folder without other files in the place of ours",
                f"{self.root} with others: {some}{more}",
                "they are left alone: move them away, or name another folder",
            )

    def claim(self, *names: str, taken: bool = False) -> None:
        """List files that are about to be written.

        Args:
            names: paths below the root.
            taken: files of others may be replaced: the user has typed so.

        Raises:
            OutputError: a file of others in their place, a link, or a list that cannot be written.
        """
        for name in names:
            for place in filter(os.path.islink, self._ways(self.root / name)):
                raise _link(place)
        if not taken:
            self.check(*(name for name in names if "*" not in name))
        new: list[Any] = [name for name in names if not self._is_listed(name)]
        if self._taken and self._taken != self._mark:
            new.insert(0, marked(self._taken))
        if new or not self.is_ours:
            _append(self.root / LIST, new)
            self._learn(new)

    def claim_ahead(self, *names: str) -> None:
        """List all files that processes of this job are about to write, where other machines work too.

        Two machines that append to one list at once may each lose what the other wrote, on network
        storage: so it is done once, before the work, and looked at again a little later.

        Args:
            names: paths below the root.

        Raises:
            OutputError: as `claim`.
        """
        self.claim(*names)
        for wait in _LOOKS:
            time.sleep(wait)
            there = {said for said in _read(self.root / LIST) if isinstance(said, str)}
            if lost := [name for name in names if name not in there]:
                _append(self.root / LIST, lost)

    def remove(self, *names: str, forget: bool = True) -> None:
        """Remove files of ours: listed ones at or below some paths, and folders that are empty then.

        Anything else stays, and so do links.

        Args:
            names: paths below the root.
            forget: take them off the list too, which no other process may write to meanwhile; it is
                in the order of names then, whoever wrote to it.

        Raises:
            OutputError: a file that cannot be removed.
        """
        self._learn(_read(self.root / LIST))  # others may have listed files since
        below = (path for name in names for path in _files_below(self.root / name))
        going = [
            path
            for path in below
            if self.owns(path) and not any(map(os.path.islink, self._ways(path)))
        ]
        try:
            for path in going:
                path.unlink()
            emptied = {parent for path in going for parent in self._ways(path.parent)}
            for folder in sorted(emptied, reverse=True):  # the deepest first
                with contextlib.suppress(OSError):  # not empty: something else of ours is in it
                    folder.rmdir()
        except OSError as error:
            raise OutputError(
                "a file that can be removed", f"{error.filename} ({error.strerror})"
            ) from error
        gone = tuple(f"{name}/" for name in names)
        kept = [k for k in self.known if k not in names and not k.startswith(gone)]
        if forget and self.is_ours:
            self.known, self._endings = {}, {}
            self._learn(sorted(kept))
            lines = [*([marked(self._mark)] if self._mark else []), *self.known]
            with atomic_path(self.root / LIST) as temporary:
                temporary.write_text("".join(map(_line, lines)), encoding="utf-8")

    def _all_foreign(self, names: Iterable[str]) -> list[Path]:
        return [path for name in names for path in self._foreign(self.root / name)]

    def _foreign(self, path: Path) -> Iterator[Path]:
        """What is not ours at a path, or below it."""
        if os.path.islink(path):
            yield path
        elif path.is_dir():
            if self.owns(path):  # a folder in the place of a file
                yield path
            for entry in sorted(path.iterdir()):
                yield from self._foreign(entry)
        elif os.path.lexists(path) and not self.owns(path):
            yield path

    def _ways(self, path: Path) -> Iterator[Path]:
        """A path and the folders that lead to it, below the root; deepest first."""
        while path not in (self.root, path.parent):
            yield path
            path = path.parent


def claim(*paths: Path) -> None:
    """List files that are about to be written in the nearest folder above them that has a list.

    Raises:
        OutputError: as `OwnFolder.claim`.
    """
    if own := _around(paths):
        own.claim(*(path.relative_to(own.root).as_posix() for path in paths))


def remove(*paths: Path) -> None:
    """Remove what is ours at or below some paths of one such folder, where others may work as well."""
    if own := _around(paths):
        own.remove(*(path.relative_to(own.root).as_posix() for path in paths), forget=False)


_seen: dict[Path, tuple[int, int, OwnFolder]] = {}  # number and size of the list, what it said


def _around(paths: tuple[Path, ...]) -> OwnFolder | None:
    """The nearest folder above some paths that has a list; it is not read for every new file."""
    for folder in paths[0].parents:
        with contextlib.suppress(OSError):
            facts = (folder / LIST).stat()
            number, size, own = _seen.get(folder, (0, 0, None))
            anew = any(map(os.path.lexists, paths))  # only a fresh list tells whose they are
            if own is None or anew or facts.st_ino != number or facts.st_size < size:
                own = OwnFolder(folder)
            _seen[folder] = (facts.st_ino, facts.st_size, own)
            return own
    return None


def _files_below(path: Path) -> list[Path]:
    if path.is_dir() and not os.path.islink(path):
        return [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    return [path] if path.is_file() else []


def _read(path: Path) -> Iterator[Any]:
    """The names in a list, and its mark; half a line, and what leads out of the folder, are neither."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise OutputError(
            "a list of our files", f"{path} ({reason})", "name another folder"
        ) from None
    for line in lines:
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if _is_inside(said) if isinstance(said, str) else mark_of(said):
                yield said


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts


def _line(said: Any) -> str:
    return json.dumps(said) + "\n"


def _append(path: Path, names: Iterable[Any]) -> None:
    check_output(path, overwrite=True)
    content = "\n" + "".join(map(_line, names))  # ends a line that was cut off
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, content.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(
            "a folder that can be written", f"{path.parent} ({error.strerror})", "name another one"
        ) from error


def _link(path: Path) -> OutputError:
    return OutputError(
        "a file or folder of our own", f"{path}: a link", "it is not followed: move it away"
    )
