"""The steps of a session as JSON, each as what is different from the one before, and back again.

A file of them grows with what was done, and a step can be added to one without writing the others
again. Masks are named by numbers; where their bits lie is up to the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptError, UnusableError
from promptseg.formats.archive import damaged
from promptseg.formats.memory import require_memory
from promptseg.formats.promptfile import parse_prompts, prompts_to_json
from promptseg.geometry import Axis
from promptseg.image import Segment
from promptseg.prompts import ObjectPrompts, PlacedPrompt, place
from promptseg.segment.measure import Measurements
from promptseg.segment.session_content import ObjectEntry, SessionContent, StepEntry, after_names
from promptseg.segment.step import Step

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["NOTHING", "checked", "facts_of", "restored", "step_entry"]

VERSION = 3
NOTHING = Step("", {}, {}, None)
"""What is before the first step."""

Bits = Callable[[int, int], NDArray[np.uint8]]
"""Packed bits of a mask by its number, so many bytes of them."""


def facts_of(session: Session) -> dict[str, Any]:
    """Return the facts that a file of a session holds beside its steps."""
    return {
        "promptseg_session": VERSION,
        "image": {"name": session.image.name, "voxels_sha256": session.image.sha256()},
        "model": session.segmenter.predictor.card.name,
        "options": session.options.to_json(),
    }


def step_entry(
    step: Step, before: Step, axis: Axis, number_of: Callable[[Segment], int]
) -> dict[str, Any]:
    """Return a step's entry in a session file: what it has that the one before it has not.

    Args:
        step: the step.
        before: the one before it; `NOTHING` before the first.
        axis: of the session.
        number_of: names a mask by a number.
    """
    objects = {
        name: None if segment is None else {"mask": number_of(segment), **_facts(segment)}
        for name, segment in step.objects.items()
        if name not in before.objects or segment is not before.objects[name]
    }
    entry: dict[str, Any] = {"action": step.action, "current": step.current, "objects": objects}
    if list(step.objects) != list(dict.fromkeys([*before.objects, *objects])):
        entry["names"] = list(step.objects)
    entry["prompts"] = {
        name: _prompts(prompts, before.prompts.get(name, ()), axis)
        for name, prompts in step.prompts.items()
        if name not in before.prompts or prompts is not before.prompts[name]
    }
    return entry if step.spread else {**entry, "spread": False}


def checked(content: Any, path: Path, what: str = "session file") -> SessionContent:
    """Check that a file is of this version and that its parts fit together, and read its content.

    Raises:
        UnusableError: another version, or what does not fit.
    """
    if not isinstance(content, dict) or content.get("promptseg_session") != VERSION:
        raise UnusableError("a session of this version of promptseg", str(path))
    try:
        return SessionContent.checked(content)
    except InputError as error:
        raise damaged(path, what, str(error)) from None


def restored(session: Session, path: Path, content: SessionContent, bits: Bits) -> None:
    """Let a fresh session stand where the content says.

    Args:
        session: of the same image.
        path: for messages.
        content: what `checked` gave.
        bits: of the masks.

    Raises:
        UnusableError: damaged, or a session of another image.
        InputError: its masks do not fit into memory.
    """
    if content.image.voxels_sha256 != session.image.sha256():
        raise UnusableError(
            f"the image of the session, {content.image.name}",
            f"{session.image.name} with other voxels",
            "open the session with its own image",
        )
    shape, axis = session.geometry.shape, content.options.axis or "z"
    entries = [e for step in content.steps for e in step.objects.values() if e is not None]
    _require_masks(entries, shape, path)
    known: dict[int, Segment] = {}

    def segment_of(name: str, entry: ObjectEntry) -> Segment:
        if entry.mask not in known:
            segment = _segment(name, entry, bits, path)
            segment.measurements = Measurements(segment, session.geometry, axis)
            known[entry.mask] = segment
        return known[entry.mask]

    history, before = [], NOTHING
    for step in content.steps:
        objects = {
            name: None if entry is None else segment_of(name, entry)
            for name, entry in step.objects.items()
        }
        before = _next(before, step, objects, _prompts_of(session, step, path))
        history.append(before)
    session.options, session.history, session.position = content.options, history, content.position


def _next(
    before: Step,
    step: StepEntry,
    objects: Mapping[str, Segment | None],
    more: Mapping[str, tuple[PlacedPrompt, ...]],
) -> Step:
    """The step that follows one, by what is different."""
    names = after_names(step, before.objects)
    prompts = {
        name: (*before.prompts.get(name, ())[: step.prompts[name].kept], *more[name])
        if name in more
        else before.prompts[name]
        for name in names
    }
    masks = {name: objects[name] if name in objects else before.objects[name] for name in names}
    return Step(step.action, masks, prompts, step.current, step.spread is not False)


def _prompts(
    prompts: Sequence[PlacedPrompt], before: Sequence[PlacedPrompt], axis: Axis
) -> dict[str, Any]:
    kept = 0
    while kept < min(len(prompts), len(before)) and prompts[kept] is before[kept]:
        kept += 1
    return {"kept": kept, "added": [_alone(p, p.axis or axis) for p in prompts[kept:]]}


def _alone(prompt: PlacedPrompt, axis: Axis) -> dict[str, Any]:
    """A prompt file with one prompt: in one file for all, their order would be lost."""
    entry = ObjectPrompts(str(prompt.name))
    entry.add(prompt)
    return prompts_to_json([entry], axis)


def _prompts_of(
    session: Session, step: StepEntry, path: Path
) -> dict[str, tuple[PlacedPrompt, ...]]:
    try:
        return {
            name: tuple(
                place(
                    (prompt for one in entry.added for prompt in parse_prompts(one).prompts),
                    session.geometry,
                )
            )
            for name, entry in step.prompts.items()
        }
    except PromptError as error:
        raise damaged(path, "session file", str(error)) from None


def _facts(segment: Segment) -> dict[str, Any]:
    return {
        "label": segment.label,
        "region": [[r.start, r.stop] for r in segment.region],
        "quality": {str(k): v for k, v in segment.quality.items()},
        "doubtful": segment.doubtful,
        "prompted": list(segment.prompted),
        "clicked": list(segment.clicked),
        **({} if segment.words is None else {"words": segment.words.to_json()}),
    }


def _require_masks(entries: list[ObjectEntry], shape: tuple[int, ...], path: Path) -> None:
    """Refuse masks outside the image, or that do not fit into memory, before one is unpacked."""
    for entry in entries:
        inside = len(entry.region) == len(shape) and all(
            r.stop <= n for r, n in zip(entry.region, shape, strict=True)
        )
        if not inside:
            raise damaged(path, "session file", "a mask outside the image")
    sizes = {entry.mask: prod(r.stop - r.start for r in entry.region) for entry in entries}
    require_memory([sum(sizes.values())], 1, path)


def _segment(name: str, entry: ObjectEntry, bits: Bits, path: Path) -> Segment:
    size = tuple(r.stop - r.start for r in entry.region)
    count = prod(size)
    packed = bits(entry.mask, -(-count // 8))
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise damaged(path, "session file", "a mask of another size")
    crop = np.unpackbits(packed, count=count).view(np.bool_).reshape(size)
    return Segment(
        name,
        entry.label,
        crop,
        entry.region,
        entry.quality,
        doubtful=entry.doubtful,
        prompted=entry.prompted,
        clicked=entry.clicked,
        words=entry.words,
    )
