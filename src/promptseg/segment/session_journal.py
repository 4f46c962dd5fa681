"""A session on disk to which every change is added, so that a step costs what it changed and no more.

A file of JSON lines. The first says which session it is; every other one is what was done at a time:
steps by number, each as what is different from the one before it, masks by number, how many steps
there are, and at which the session stands. A line counts when it is whole, so that a kill loses the
step at work and nothing else. Steps that are no more make the file longer than it need be: it is
written anew when half of it is of no use.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptseg.formats.archive import damaged
from promptseg.formats.exclusive import put_aside
from promptseg.formats.files import atomic_path
from promptseg.formats.lines import append_line, read_lines
from promptseg.image import Segment
from promptseg.segment.options import SegmentOptions
from promptseg.segment.session_content import SessionContent
from promptseg.segment.session_steps import NOTHING, checked, facts_of, restored, step_entry
from promptseg.segment.step import Step

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["Journal"]

_WHAT = "session journal"
_LEAST_ANEW = 1 << 20  # bytes: so short a file is never written anew


class Journal:
    """File in which one session is kept while it is worked on.

    Args:
        path: the file; what is in it is taken up by `resume`, or put aside by the first `write`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: list[Step] = []  # as they are on disk
        self._position = -1
        self._numbers: dict[int, tuple[Segment, int]] = {}  # masks on disk, by identity
        self._next = 0
        self._bytes = self._anew = 0

    def write(self, session: Session) -> Path | None:
        """Add what has changed since the last time; on the disk when this returns.

        Returns:
            What somebody else has written there, under its new name; None where nobody has.

        Raises:
            OutputError: it cannot be written; all of it is tried again next time.
        """
        if not self._is_there() or self._bytes > 2 * self._anew + _LEAST_ANEW:
            others = self._size() not in (0, self._bytes)
            aside = put_aside(self.path) if others else None
            self._write_anew(session)
            return aside
        numbers = dict(self._numbers)
        line, next_number = self._change(session, self._steps, numbers, self._next)
        if not line["steps"] and (line["length"], line["position"]) == (
            len(self._steps),
            self._position,
        ):
            return None
        try:
            append_line(self.path, line)
        finally:
            self._bytes = self._size()
        self._remember(session, numbers, next_number)
        return None

    def resume(self, session: Session) -> None:
        """Let a fresh session of the same image stand where this one stood.

        Raises:
            UnusableError: damaged, or of another image.
            InputError: not readable now, or masks that do not fit into memory.
        """
        content, masks = self._read()
        restored(session, self.path, content, lambda n, size: _unpacked(masks, n, size, self.path))
        entries = [step.objects for step in content.steps]
        numbers = {
            id(segment): (segment, entry.mask)
            for step, objects in zip(session.history, entries, strict=True)
            for name, entry in objects.items()
            if entry is not None and (segment := step.objects[name]) is not None
        }
        self._remember(session, numbers, max(masks, default=-1) + 1)
        self._bytes = self._anew = self._size()

    def options(self) -> SegmentOptions:
        """Return the options of the session that is kept here.

        Raises:
            UnusableError: damaged.
            InputError: not readable now.
        """
        return self._read()[0].options

    def _is_there(self) -> bool:
        """Whether what this journal wrote or read is on disk, and nothing else."""
        return bool(self._steps) and self._size() == self._bytes > 0

    def _size(self) -> int:
        """Bytes on disk; 0 where the file is gone, so that it is written anew."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _read(self) -> tuple[SessionContent, dict[int, str]]:
        """What the lines come to: the last word on every step."""
        facts: dict[str, Any] = {}
        steps: dict[int, Any] = {}
        masks: dict[int, str] = {}
        position, length = 0, 0
        try:
            for _, line in read_lines(self.path):
                if not facts:
                    facts = line
                    continue
                position, length = line["position"], line["length"]
                steps.update({int(k): entry for k, entry in line["steps"].items()})
                masks.update({int(k): bits for k, bits in line["masks"].items()})
            content = {**facts, "position": position, "steps": [steps[k] for k in range(length)]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self.path, _WHAT, f"a line without {error}") from None
        return checked(content, self.path, _WHAT), masks

    def _change(
        self,
        session: Session,
        old: list[Step],
        numbers: dict[int, tuple[Segment, int]],
        next_number: int,
    ) -> tuple[dict[str, Any], int]:
        """The line that makes what is on disk the session as it is, and the next free number."""
        masks: dict[str, str] = {}

        def number_of(segment: Segment) -> int:
            nonlocal next_number
            if id(segment) not in numbers:
                numbers[id(segment)] = (segment, next_number)
                masks[str(next_number)] = _packed(segment)
                next_number += 1
            return numbers[id(segment)][1]

        history = session.history
        steps = {
            str(k): step_entry(step, history[k - 1] if k else NOTHING, session.axis, number_of)
            for k, step in enumerate(history)
            if k >= len(old) or step is not old[k]
        }
        line = {
            "position": session.position,
            "length": len(history),
            "steps": steps,
            "masks": masks,
        }
        return line, next_number

    def _write_anew(self, session: Session) -> None:
        numbers: dict[int, tuple[Segment, int]] = {}
        line, next_number = self._change(session, [], numbers, 0)
        with atomic_path(self.path) as temporary:
            content = "".join(f"{json.dumps(part)}\n" for part in (facts_of(session), line))
            temporary.write_text(content, encoding="utf-8")
        self._bytes = self._anew = self._size()
        self._remember(session, numbers, next_number)

    def _remember(
        self, session: Session, numbers: dict[int, tuple[Segment, int]], next_number: int
    ) -> None:
        self._steps, self._position = list(session.history), session.position
        held = {id(s) for step in self._steps for s in step.objects.values()}
        self._numbers = {key: kept for key, kept in numbers.items() if key in held}
        self._next = next_number


def _packed(segment: Segment) -> str:
    return base64.b64encode(zlib.compress(np.packbits(segment.crop).tobytes(), 1)).decode("ascii")


def _unpacked(masks: dict[int, str], number: int, size: int, path: Path) -> NDArray[np.uint8]:
    """Packed bits, never more than the mask has."""
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(base64.b64decode(masks[number], validate=True), size + 1)
    except (KeyError, ValueError, TypeError, zlib.error):
        raise damaged(path, _WHAT, f"no mask {number}") from None
    if len(plain) != size:
        raise damaged(path, _WHAT, "a mask of another size")
    return np.frombuffer(plain, np.uint8)
