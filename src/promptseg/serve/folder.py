"""The folder that is served: what lies in it, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

from promptseg.errors import InputError, OutputError
from promptseg.formats import format_by_suffix, is_dicom_file
from promptseg.formats.detached import belonging_to
from promptseg.formats.files import atomic_path, files_below, provenance_path
from promptseg.formats.whole_slide import is_dicom_slide, is_tiff_slide
from promptseg.serve.refusals import AbsentError

__all__ = ["STATES", "Folder", "Remembered", "State"]

State = Literal["to do", "begun", "done", "flagged"]
STATES: tuple[State, ...] = get_args(State)

_OWN = ".promptseg"
_LONGEST_NOTE = 10_000
_FRAMES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_SESSION = re.compile(r"session(-[0-9a-f]{12})?\.jsonl")  # that nobody has put aside
_LOOKED_AT = 8  # files of a folder that are looked at to tell whether it is a series


@dataclass(frozen=True)
class Remembered:
    """The state of the work on an image and what the user noted, kept beside its session.

    Attributes:
        path: below the root.
        state: of the work on it.
        note: what the user wrote.
        model: that was used last.
        colours: of objects by name.
    """

    path: str
    state: State = "to do"
    note: str = ""
    model: str = ""
    colours: tuple[tuple[str, int, int, int], ...] = ()


class Folder:
    """A folder of images, their results and, in `.promptseg`, what is known of the work on them.

    Args:
        root: the folder.

    Raises:
        InputError: it is no folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._writing = root.resolve(), Lock()
        if not self.root.is_dir():
            raise InputError("a folder with images", str(root), "name one with --root")

    def inside(self, name: str, expected: str = "an image") -> Path:
        """Return the place below the root that a client names, with every link resolved.

        Raises:
            AbsentError: it leads out of the root, or into what is ours.
        """
        refusal = AbsentError(f"{expected} in the folder that is served", repr(name[:200]))
        if not isinstance(name, str) or "\0" in name or "\\" in name or name.startswith("/"):
            raise refusal
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or any(part.startswith(".") for part in parts):
            raise refusal
        try:
            path = self.root.joinpath(*parts).resolve()
            path.exists()  # which a name that is too long cannot be asked for
        except (OSError, RuntimeError, ValueError):
            raise refusal from None
        if not self._holds(path) or ".promptseg" in path.parts[len(self.root.parts) :]:
            raise refusal
        return path

    def image(self, name: str) -> Path:
        """Return the file or folder of an image; what belongs to it must lie below the root, too.

        Raises:
            AbsentError: there is none, or a part of it lies elsewhere.
        """
        path = self.inside(name)
        if not path.exists():
            raise AbsentError("an image in the folder that is served", repr(name[:200]))
        parts = files_below(path) if path.is_dir() else list(belonging_to(path))
        if not all(self._leads_inside(part) for part in parts):
            raise AbsentError(
                "an image whose files lie in the folder that is served", repr(name[:200])
            )
        return path

    def name_of(self, path: Path) -> str:
        """Return the name that clients use for a place below the root: its path from there."""
        return path.relative_to(self.root).as_posix()

    def output(self, name: str) -> Path:
        """Return the path that a result may be written to.

        Raises:
            OutputError: no file name, or one outside the root.
        """
        try:
            path = self.inside(name, "a place")
        except AbsentError as error:
            raise OutputError(error.expected, error.got, "choose another name") from None
        if path == self.root or path.is_dir():
            raise OutputError("a file name", repr(name[:200]), "choose another name")
        return path

    def listing(self, name: str = "") -> list[dict[str, Any]]:
        """List a folder's folders, series, images and videos, with the state of the work on them.

        Raises:
            AbsentError: no such folder.
        """
        folder = self.inside(name, "a folder")
        if not folder.is_dir():
            raise AbsentError("a folder in the folder that is served", repr(name[:200]))
        entries = []
        for path in sorted(folder.iterdir(), key=lambda p: p.name.lower()):
            if path.name.startswith(".") or not self._leads_inside(path):
                continue
            kind = _kind(path)
            if kind is None:
                continue
            shown = f"{name.strip('/')}/{path.name}".lstrip("/")
            entry: dict[str, Any] = {"name": path.name, "path": shown, "kind": kind}
            if kind == "folder":
                entry["frames"] = _holds_frames(path)
            else:
                known = self.remembered(shown)
                entry |= {"state": known.state, "note": known.note}
                entry["session"] = self.has_session(shown)
                entry["result"] = provenance_path(path).is_file()
                entry["bytes"] = path.stat().st_size if path.is_file() else None
            entries.append(entry)
        return entries

    def session_file(self, name: str, part: str = "") -> Path:
        """Return the path of the session on an image, or on a part of it, such as one frame."""
        of = hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:12]
        return self._place(name) / (f"session-{of}.jsonl" if part else "session.jsonl")

    def proposal_file(self, name: str) -> Path:
        """Return the path of a proposal for an image, from which every user's session begins."""
        return self._place(name) / "proposal.jsonl"

    def session_files(self, name: str) -> list[Path]:
        """Return the files of all sessions on an image, whoever's they are and on whatever part."""
        found = self._place(name).glob("session*.jsonl")
        return sorted(path for path in found if _SESSION.fullmatch(path.name))

    def has_session(self, name: str) -> bool:
        """Tell whether something was done on an image, or on a part of it, or is proposed for it."""
        place = self._place(name)
        ours = ("session*.jsonl", "proposal.jsonl", "video-*/journal.jsonl")
        return any(any(place.glob(pattern)) for pattern in ours)

    def video_folder(self, name: str, part: str) -> Path:
        """Return the folder of the session on a choice of a video's frames."""
        of = hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:12]
        return self._place(name) / f"video-{of}"

    def video_folders(self, name: str) -> list[Path]:
        """Return the folders of the sessions on a video, the one that was worked on last first."""
        found = self._place(name).glob("video-*/journal.jsonl")
        return [path.parent for path in sorted(found, key=_changed, reverse=True)]

    @property
    def own(self) -> Path:
        """Return the folder below the root in which the server keeps its own files."""
        return self.root / _OWN

    @property
    def times_file(self) -> Path:
        """Return the path of the log of annotation times, where somebody asks for one."""
        return self.own / "times.jsonl"

    @property
    def audit_file(self) -> Path:
        """Return the path of the audit log, unless another place is named."""
        return self.own / "audit.jsonl"

    def id_of(self, name: str) -> str:
        """Return a hash that stands for an image where its own name must not be read."""
        return self._place(name).name

    def remembered(self, name: str) -> Remembered:
        """Read the state of the work on an image, as it was kept; the defaults where nothing was."""
        try:
            content = json.loads((self._place(name) / "image.json").read_text(encoding="utf-8"))
            state, note = content.get("state"), content.get("note")
            return Remembered(
                name,
                state if state in STATES else "to do",
                note if isinstance(note, str) else "",
                str(content.get("model") or ""),
                tuple((str(n), int(r), int(g), int(b)) for n, r, g, b in content["colours"]),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return Remembered(name)

    def remember(self, name: str, **changes: Any) -> Remembered:
        """Write down what is known of an image.

        Raises:
            InputError: no such state, or a note that is too long.
            OutputError: it cannot be written.
        """
        if changes.get("state", "to do") not in STATES:
            raise InputError(f"a state out of {', '.join(STATES)}", repr(changes["state"])[:100])
        if len(changes.get("note", "")) > _LONGEST_NOTE:
            raise InputError(f"a note of at most {_LONGEST_NOTE} characters", "a longer one")
        with self._writing:  # a state and a note may come at the same time
            return self._keep(name, **changes)

    def paint(self, name: str, object: str, colour: tuple[int, int, int]) -> None:
        """Write down the colour of an object of an image; those of others stay.

        Raises:
            OutputError: it cannot be written.
        """
        with self._writing:
            known = {own: rgb for own, *rgb in self.remembered(name).colours}
            known[object] = [*colour]
            self._keep(name, colours=tuple((own, *rgb) for own, rgb in known.items()))

    def _keep(self, name: str, **changes: Any) -> Remembered:
        """What is known of an image with changes, written down; with the lock held."""
        known = replace(self.remembered(name), **changes)
        with atomic_path(self._place(name) / "image.json") as temporary:
            temporary.write_text(json.dumps(asdict(known)), encoding="utf-8")
        return known

    def _place(self, name: str) -> Path:
        """The folder of ours for an image: its name there tells nobody what it is called."""
        clean = "/".join(part for part in name.split("/") if part not in ("", "."))
        return self.root / _OWN / hashlib.sha256(clean.encode("utf-8", "replace")).hexdigest()[:24]

    def _leads_inside(self, path: Path) -> bool:
        """Whether a path leads to a place below the root; a link to itself leads nowhere."""
        try:
            return self._holds(path.resolve())
        except (OSError, RuntimeError):  # the latter for loops, up to Python 3.12
            return False

    def _holds(self, path: Path) -> bool:
        return path == self.root or self.root in path.parents


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _holds_frames(path: Path) -> bool:
    """Whether a folder begins with 2D images that differ in numbers alone, as frames of a video do."""
    with os.scandir(path) as found:
        names = sorted(e.name for _, e in zip(range(_LOOKED_AT), found, strict=False))
    pictures = [name for name in names if Path(name).suffix.lower() in _FRAMES]
    texts = {re.sub(r"\d+", "0", name) for name in pictures}
    return len(pictures) > 1 and len(texts) == 1 and any(c.isdigit() for c in pictures[0])


def _kind(path: Path) -> Literal["folder", "series", "image", "video", "slide"] | None:
    """What a list shows of a path: nothing of files that are no images."""
    try:
        if path.is_dir():
            with os.scandir(path) as found:
                first = [Path(e.path) for _, e in zip(range(_LOOKED_AT), found, strict=False)]
            dicom = next(filter(is_dicom_file, first), None)
            if dicom is None:
                return "folder"
            return "slide" if is_dicom_slide(dicom) else "series"
        if not path.is_file():
            return None
    except OSError:
        return None
    if path.name.endswith(".overlay.png"):
        return None
    known = format_by_suffix(path)
    if known is not None and known.module == "video":
        return "video"
    if known is not None and known.outlines:
        return None
    if known is not None and known.module in ("image_2d", "slide") and is_tiff_slide(path):
        return "slide"
    if known is not None and known.module != "dicom":
        return "image"
    if not is_dicom_file(path):
        return "image" if known else None
    return "slide" if is_dicom_slide(path) else "image"
