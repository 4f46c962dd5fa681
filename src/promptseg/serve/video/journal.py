"""A session on a video on disk: a line for every action, and a file of masks for every tracking.

JSON lines. The first says of which clip, frames and options the session is; every other one holds the
steps that an action added, how many there are, and at which the session stands; or that tracking
began, which a kill may cut off. Answers on single frames are in the lines; masks of many frames are in
files beside them, each with what is different from the file it builds on, and are there before the line
that names them.
"""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, OutputError, PromptError
from promptseg.formats.archive import damaged
from promptseg.formats.exclusive import put_aside
from promptseg.formats.files import atomic_path
from promptseg.formats.lines import append_line, read_lines
from promptseg.prompts import Box, Mask, PlacedPrompt, Points
from promptseg.segment.options import SegmentOptions
from promptseg.segment.video.masks import FrameMasks, Packed
from promptseg.serve.video.steps import NOTHING, ClipObject, Found, Step

__all__ = ["FIRST", "VideoJournal"]

FIRST = "journal.jsonl"
_WHAT = "video session"
_VERSION = 1
_DAMAGE = (
    *(KeyError, TypeError, ValueError, AttributeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)
_KEPT = ("modality", "window", "propagate")


class VideoJournal:
    """The files that keep one session on a video while it is worked on.

    Args:
        folder: of ours; made by the first `write`.
        size: (rows, columns) of the frames.
    """

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.folder, self.size = folder, size
        self.path = folder / FIRST
        self._steps: list[Step] = []  # as they are on disk
        self._position = -1
        self._numbers: dict[int, tuple[Found, int]] = {}  # masks on disk, by identity
        self._next = 0
        self._bytes, self._headed = 0, False

    @staticmethod
    def head(folder: Path) -> dict[str, Any] | None:
        """Read the first line, `identity`, `frames`, `options`; None where there is no session.

        Raises:
            InputError: damaged.
        """
        for _, line in read_lines(folder / FIRST):
            fits = line.get(_WHAT) == _VERSION and isinstance(line.get("frames"), list)
            if not fits or not isinstance(line.get("options"), dict):
                raise damaged(folder / FIRST, _WHAT, "another first line")
            return line
        return None

    def begin(self, identity: str, frames: range, options: SegmentOptions) -> Path | None:
        """Write the first line, if there is none.

        Returns:
            What somebody else has written there, under its new name; None where nobody has.

        Raises:
            OutputError: it cannot be written.
        """
        aside = None
        if self._size() not in (0, self._bytes):
            aside = put_aside(self.folder)
        if self._headed and self._size():
            return None
        self._remember([], -1, {}, 0)  # all of it is written anew
        kept = {name: getattr(options, name) for name in _KEPT}
        numbers = [frames.start, frames.stop, frames.step]
        head = {_WHAT: _VERSION, "identity": identity, "frames": numbers, "options": kept}
        self._append(head)
        self._headed = True
        return aside

    def write(self, history: list[Step], position: int) -> None:
        """Add what has changed since the last time; on the disk when this returns.

        Raises:
            OutputError: it cannot be written; all of it is tried again next time.
        """
        numbers, following = dict(self._numbers), self._next
        entries: dict[str, Any] = {}
        for k, step in enumerate(history):
            if k < len(self._steps) and step is self._steps[k]:
                continue
            before = history[k - 1] if k else Step("")
            objects: dict[str, Any] = {}
            for one in step.objects:
                old = before.object(one.name)
                if one is old:
                    continue
                number = None
                if one.masks:
                    if id(one.masks) not in numbers:
                        self._save(following, one.masks, old.masks if old else NOTHING, numbers)
                        numbers[id(one.masks)] = (one.masks, following)
                        following += 1
                    number = numbers[id(one.masks)][1]
                objects[one.name] = _object_entry(one, number)
            entries[str(k)] = {
                "action": step.action,
                "current": step.current,
                "changed": [list(pair) for pair in step.changed],
                "order": step.names,
                "objects": objects,
            }
        if not entries and (len(history), position) == (len(self._steps), self._position):
            return
        self._append({"position": position, "length": len(history), "steps": entries})
        self._remember(history, position, numbers, following)

    def note_tracking(self, direction: str) -> None:
        """Write down that tracking begins, so that after a kill it can be gone on with.

        Raises:
            OutputError: it cannot be written, or somebody else has written there.
        """
        if self._size() != self._bytes:
            raise OutputError("the session as it was left", f"{self.path.name} changed by others")
        self._append({"tracking": direction})

    def resume(self) -> tuple[list[Step], int, str | None]:
        """Read the steps, the one it stands at, and the direction of tracking that was cut off.

        Raises:
            UnusableError: damaged.
            InputError: not readable now.
        """
        entries: dict[int, Any] = {}
        position = length = 0
        tracking: str | None = None
        try:
            for _, line in read_lines(self.path):
                if _WHAT in line:
                    continue
                if "tracking" in line:
                    tracking = str(line["tracking"])
                    continue
                tracking = None
                position, length = int(line["position"]), int(line["length"])
                entries.update({int(k): entry for k, entry in line["steps"].items()})
            files: dict[int, Found] = {}
            history: list[Step] = []
            for k in range(length):
                before = history[-1] if history else Step("")
                history.append(self._step(entries[k], before, files))
            if history and not 0 <= position < length:
                raise ValueError("no such position")
        except (*_DAMAGE, PromptError) as error:
            raise damaged(self.path, _WHAT, f"a line without {error}") from None
        except FileNotFoundError:
            raise damaged(self.path, _WHAT, "masks that are gone") from None
        except OSError as error:
            raise InputError(
                "masks of a video session that can be read", error.strerror or "an error"
            ) from None
        numbers = {id(found): (found, number) for number, found in files.items()}
        known = [int(path.stem.rpartition("-")[2]) for path in self.folder.glob("masks-*.npz")]
        self._remember(history, position, numbers, max(known, default=-1) + 1)
        self._bytes, self._headed = self._size(), True
        return history, position, tracking

    def options(self) -> SegmentOptions:
        """Return the options that the session began with, as far as they are kept.

        Raises:
            InputError: damaged.
        """
        head = self.head(self.folder) or {}
        given = {name: head["options"].get(name) for name in _KEPT}
        names = {f.name for f in fields(SegmentOptions)}
        return SegmentOptions(**{k: v for k, v in given.items() if k in names and v is not None})

    def _append(self, line: dict[str, Any]) -> None:
        try:
            append_line(self.path, line)
        finally:
            self._bytes = self._size()

    def _size(self) -> int:
        """Bytes on disk; 0 where the file is gone, so that it is written anew."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _remember(
        self,
        history: list[Step],
        position: int,
        numbers: dict[int, tuple[Found, int]],
        following: int,
    ) -> None:
        self._steps, self._position, self._next = list(history), position, following
        held = {id(one.masks) for step in history for one in step.objects}
        self._numbers = {key: kept for key, kept in numbers.items() if key in held}

    def _save(
        self,
        number: int,
        found: Found,
        before: Found,
        numbers: Mapping[int, tuple[Found, int]],
    ) -> None:
        """A file with what is different from the masks before, if these are in a file."""
        _, parent = numbers.get(id(before), (NOTHING, -1))
        base = before if parent >= 0 else NOTHING
        changed = [(0, k) for k, packed in found.items() if base.get(k) is not packed]
        masks = FrameMasks(self.size, 1)
        masks.found[0] = dict(found)
        about = {
            "parent": np.array(parent),
            "removed": np.array(sorted(base.keys() - found.keys()), np.int64),
        }
        content = io.BytesIO()
        arrays: dict[str, Any] = {**masks.as_arrays(changed), **about}
        np.savez(content, allow_pickle=False, **arrays)
        with atomic_path(self._file(number)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def _load(self, number: int, files: dict[int, Found]) -> Found:
        """The masks of a file, with those it builds on; each is read once."""
        chain: list[tuple[int, dict[str, NDArray[Any]]]] = []
        while number >= 0 and number not in files:
            with np.load(self._file(number), allow_pickle=False) as archive:
                arrays: dict[str, NDArray[Any]] = {k: archive[k] for k in archive.files}
            if int(arrays["parent"]) >= number:
                raise ValueError("an order of its masks")
            chain.append((number, arrays))
            number = int(arrays["parent"])
        found = files[number] if number >= 0 else NOTHING
        for at, arrays in reversed(chain):
            masks = FrameMasks(self.size, 1)
            masks.found[0] = dict(found)
            masks.put(arrays)
            for place in arrays["removed"].tolist():
                masks.found[0].pop(place, None)
            found = files[at] = masks.found[0]
        return found

    def _file(self, number: int) -> Path:
        return self.folder / f"masks-{number:06d}.npz"

    def _step(self, entry: Mapping[str, Any], before: Step, files: dict[int, Found]) -> Step:
        objects = []
        for name in entry["order"]:
            told = entry["objects"].get(name)
            if told is None:
                old = before.object(name)
                if old is None:
                    raise ValueError("an object of the step before")
                objects.append(old)
            else:
                objects.append(self._object(name, told, files))
        changed = tuple((int(a), int(b)) for a, b in entry["changed"])
        return Step(str(entry["action"]), tuple(objects), entry["current"], changed)

    def _object(self, name: str, told: Mapping[str, Any], files: dict[int, Found]) -> ClipObject:
        number = told["masks"]
        answers = {int(k): _packed(value, self.size) for k, value in told["answers"].items()}
        return ClipObject(
            name,
            tuple(_prompt(entry, name, self.size) for entry in told["prompts"]),
            int(told["settled"]),
            bool(told["followed"]),
            NOTHING if number is None else self._load(int(number), files),
            answers,
        )


def _object_entry(one: ClipObject, number: int | None) -> dict[str, Any]:
    return {
        "prompts": [_prompt_entry(prompt) for prompt in one.prompts],
        "settled": one.settled,
        "followed": one.propagated,
        "masks": number,
        "answers": {str(k): _packed_entry(packed) for k, packed in one.answers.items()},
    }


def _prompt_entry(prompt: PlacedPrompt) -> dict[str, Any]:
    place = getattr(prompt, "slice", None)
    if isinstance(prompt, Box):
        return {"slice": place, "box": list(prompt.xyxy)}
    if isinstance(prompt, Points):
        return {"slice": place, "xy": [list(xy) for xy in prompt.xy], "labels": list(prompt.labels)}
    if isinstance(prompt, Mask) and not prompt.pixels.any():
        return {"slice": place, "absent": True}
    raise InputError("a box, clicks or an empty mask", type(prompt).__name__)


def _prompt(entry: Mapping[str, Any], name: str, size: tuple[int, int]) -> PlacedPrompt:
    place = int(entry["slice"])
    if "box" in entry:
        box = cast("tuple[float, float, float, float]", tuple(entry["box"]))
        return Box(box, place, name, "z")
    if "absent" in entry:
        return Mask(np.zeros(size, dtype=bool), place, name, "z", as_drawn=True)
    xy = tuple((float(x), float(y)) for x, y in entry["xy"])
    return Points(xy, tuple(int(v) for v in entry["labels"]), place, name, "z")


def _packed_entry(packed: Packed) -> dict[str, Any]:
    told = asdict(packed)
    return {**told, "box": list(packed.box), "bits": base64.b64encode(packed.bits).decode("ascii")}


def _packed(told: Mapping[str, Any], size: tuple[int, int]) -> Packed:
    top, bottom, left, right = (int(v) for v in told["box"])
    if not (0 <= top <= bottom <= size[0] and 0 <= left <= right <= size[1]):
        raise ValueError("a box inside the frame")
    bits = base64.b64decode(told["bits"], validate=True)
    iou, presence = (None if told[k] is None else float(told[k]) for k in ("iou", "presence"))
    return Packed((top, bottom, left, right), bits, iou, presence)
