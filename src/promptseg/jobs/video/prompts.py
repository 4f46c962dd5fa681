"""Prompts on frames of a video, and on their places among the frames that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from promptseg.errors import InputError, PromptError
from promptseg.formats.promptfile import prompts_to_json
from promptseg.formats.video import Selection
from promptseg.geometry import Geometry
from promptseg.prompts import Box, Box3D, Mask, Millimetres, Prompt, Text, group_by_object
from promptseg.segment.options import parse_slices

__all__ = ["as_given", "on_frames", "places_of"]


def on_frames(prompt: Prompt, frames: Selection) -> Prompt:
    """Move a prompt from its frame of the video to its place among the chosen ones."""
    if isinstance(prompt, Millimetres):
        raise PromptError("prompts in pixels", "millimetres on a video", "give pixels of a frame")
    if prompt.axis not in (None, "z"):
        raise PromptError("prompts on frames", f"one along {prompt.axis}", "leave the axis out")
    if isinstance(prompt, Text):

        def examples(boxes: Sequence[Box]) -> tuple[Box, ...]:
            moved = (on_frames(box, frames) for box in boxes)
            return tuple(box for box in moved if isinstance(box, Box))

        return replace(prompt, boxes=examples(prompt.boxes), outside=examples(prompt.outside))
    if isinstance(prompt, Box3D):
        x0, y0, first, x1, y1, last = prompt.bounds
        there = [k for k, number in enumerate(frames.numbers) if first <= number <= last]
        if not there:
            raise PromptError(
                f"a 3D box on the frames {frames.numbers[0]} to {frames.numbers[-1]}",
                f"one from {first:g} to {last:g}",
                "widen --frames",
            )
        return replace(prompt, bounds=(x0, y0, there[0], x1, y1, there[-1]))
    if prompt.slice is None:
        if len(frames) == 1:
            return prompt
        raise PromptError(
            f"a frame for a {prompt.kind} in a video of {len(frames.video)} frames",
            "none",
            f"write it as @N with N from {frames.numbers[0]} to {frames.numbers[-1]}",
        )
    return replace(prompt, slice=frames.place(prompt.slice, f"a {prompt.kind}"))


def places_of(slices: str | None, frames: Selection) -> str | None:
    """Turn `--slices` in frames of the video into places among the chosen ones."""
    if slices is None:
        return None
    first, last = parse_slices(slices, len(frames.video))
    there = [k for k, number in enumerate(frames.numbers) if first <= number <= last]
    if not there:
        raise InputError("--slices within --frames", slices, "correct one of them")
    return f"{there[0]}:{there[-1]}"


def as_given(
    given: Sequence[Prompt], placed: Sequence[Prompt], frames: Selection
) -> dict[str, Any]:
    """Return prompts as a prompt file has them, by frames of the video.

    Args:
        given: as they were given.
        placed: the same by place among the chosen frames, and after them masks that were read from a
            file on those.
        frames: the video.
    """
    drawn = [
        replace(p, slice=frames.numbers[p.slice or 0])
        for p in placed[len(given) :]
        if isinstance(p, Mask)
    ]
    whole = Geometry.pixels((len(frames.video), *frames.video.facts.size))
    objects = group_by_object([*given, *drawn], whole, "z")
    return prompts_to_json(objects, "z", frames.video.name)
