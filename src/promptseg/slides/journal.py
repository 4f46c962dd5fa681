"""A slide's session on disk: every change is a line, so that a kill loses the step at work and no more.

The first line says which slide and which options; every other one what was done at a time: steps by
number, each whole but for its layers, which are named by numbers, new layers, how many steps there
are, and at which the session stands.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from promptseg.errors import PromptError, UnusableError
from promptseg.formats.archive import damaged
from promptseg.formats.exclusive import put_aside
from promptseg.formats.files import atomic_path
from promptseg.formats.lines import append_line, read_lines
from promptseg.slides.layer import Layer
from promptseg.slides.session import SlideObject, SlideSession, SlideStep

__all__ = ["SlideJournal"]

_WHAT = "journal of a slide's session"
_VERSION = 1
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError)
_LEAST_ANEW = 1 << 20  # bytes: so short a file is never written anew


class SlideJournal:
    """The file that keeps the session on one slide.

    Args:
        path: the file; what is in it is taken up by `resume`, or put aside by the first `write`.
        slide: what tells the slide from others.
    """

    def __init__(self, path: Path, slide: str) -> None:
        self.path, self.slide = path, slide
        self._steps: list[SlideStep] = []  # as they are on disk
        self._position = -1
        self._numbers: dict[int, tuple[Layer, int]] = {}
        self._next = 0
        self._bytes = self._anew = 0

    def write(self, session: SlideSession) -> Path | None:
        """Add what has changed since the last time; on the disk when this returns.

        Returns:
            What somebody else has written there, under its new name; None where nobody has.

        Raises:
            OutputError: it cannot be written; all of it is tried again next time.
        """
        if not self._is_there() or self._bytes > 2 * self._anew + _LEAST_ANEW:
            aside = put_aside(self.path) if self._size() not in (0, self._bytes) else None
            numbers: dict[int, tuple[Layer, int]] = {}
            line, following = self._change(session, [], numbers, 0)
            head = {"promptseg_slide_session": _VERSION, "slide": self.slide}
            with atomic_path(self.path) as temporary:
                text = "".join(f"{json.dumps(part)}\n" for part in (head, line))
                temporary.write_text(text, encoding="utf-8")
            self._bytes = self._anew = self._size()
            self._remember(session, numbers, following)
            return aside
        numbers = dict(self._numbers)
        line, following = self._change(session, self._steps, numbers, self._next)
        stands = (line["length"], line["position"])
        if not line["steps"] and stands == (len(self._steps), self._position):
            return None
        try:
            append_line(self.path, line)
        finally:
            self._bytes = self._size()
        self._remember(session, numbers, following)
        return None

    def resume(self, session: SlideSession) -> None:
        """Let a fresh session of the same slide stand where this one stood.

        Raises:
            UnusableError: damaged, or of another slide.
            InputError: not readable now.
        """
        steps: dict[int, Any] = {}
        layers: dict[int, Layer] = {}
        position = length = -1
        head: dict[str, Any] | None = None
        try:
            for _, line in read_lines(self.path):
                if head is None:
                    head = line
                    self._require_slide(head)
                    continue
                position, length = int(line["position"]), int(line["length"])
                steps.update({int(k): entry for k, entry in line["steps"].items()})
                for number, content in line["layers"].items():
                    layers[int(number)] = Layer.from_json(content, session.slide.size)
            if not 0 <= position < length:
                raise ValueError("a step to stand at")
            history = [_step(steps[k], layers) for k in range(length)]
        except (*_DAMAGE, PromptError, zlib.error) as error:
            raise damaged(self.path, _WHAT, f"a line without {error}") from None
        session.history, session.position = history, position
        numbers = {id(layer): (layer, number) for number, layer in layers.items()}
        self._remember(session, numbers, max(layers, default=-1) + 1)
        self._bytes = self._anew = self._size()

    def _require_slide(self, head: dict[str, Any]) -> None:
        if head.get("promptseg_slide_session") != _VERSION:
            raise UnusableError("a slide's session of this version of promptseg", self.path.name)
        if head.get("slide") != self.slide:
            raise UnusableError(
                "the slide of the session", "another file of that name", "put back the first one"
            )

    def _is_there(self) -> bool:
        """Whether what this journal wrote or read is on disk, and nothing else."""
        return bool(self._steps) and self._size() == self._bytes > 0

    def _size(self) -> int:
        """Bytes on disk; 0 where the file is gone, so that it is written anew."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _change(
        self,
        session: SlideSession,
        old: list[SlideStep],
        numbers: dict[int, tuple[Layer, int]],
        following: int,
    ) -> tuple[dict[str, Any], int]:
        """The line that makes what is on disk the session as it is, and the next free number."""
        layers: dict[str, Any] = {}
        steps: dict[str, Any] = {}
        for k, step in enumerate(session.history):
            if k < len(old) and old[k] is step:
                continue
            objects = {}
            for name, known in step.objects.items():
                for layer in known.layers:
                    if id(layer) not in numbers:
                        numbers[id(layer)] = (layer, following)
                        layers[str(following)] = layer.to_json()
                        following += 1
                objects[name] = [known.label, *(numbers[id(layer)][1] for layer in known.layers)]
            steps[str(k)] = {"action": step.action, "current": step.current, "objects": objects}
        return {
            "position": session.position,
            "length": len(session.history),
            "steps": steps,
            "layers": layers,
        }, following

    def _remember(
        self, session: SlideSession, numbers: dict[int, tuple[Layer, int]], following: int
    ) -> None:
        self._steps, self._position = list(session.history), session.position
        objects = (known for step in self._steps for known in step.objects.values())
        held = {id(layer) for known in objects for layer in known.layers}
        self._numbers = {key: kept for key, kept in numbers.items() if key in held}
        self._next = following


def _step(entry: dict[str, Any], layers: dict[int, Layer]) -> SlideStep:
    objects = {
        str(name): SlideObject(int(label), tuple(layers[number] for number in numbers))
        for name, (label, *numbers) in entry["objects"].items()
    }
    current = entry["current"]
    if current is not None and current not in objects:
        raise ValueError("an object that is current")
    return SlideStep(str(entry["action"]), objects, current)
