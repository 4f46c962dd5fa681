"""Answers to the prompts of one step of a session: what these make of an object."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptseg.image import Segment
from promptseg.prompts import Marker, PlacedPrompt
from promptseg.segment.run import Run
from promptseg.segment.segmenter import corrected, segmented
from promptseg.segment.session_prompts import (
    along,
    axis_of,
    clicks_again,
    drawn_empty,
    only_markers,
)
from promptseg.segment.step import Step, label_for

if TYPE_CHECKING:
    from promptseg.segment.session import Session

__all__ = ["answer", "prompted_at", "stays"]


def answer(
    session: Session, name: str, new: Sequence[PlacedPrompt], before: Step, spread: bool
) -> Segment | None:
    """Answer new prompts of an object, added to those of a step, with its masks.

    Args:
        session: the image, the model and the options.
        name: of the object.
        new: its new prompts, on slices along one axis.
        before: the step they follow.
        spread: whether their answers reach the other slices.

    Returns:
        The object; None where it waits for marker lines on a second slice.

    Raises:
        PromptError: prompts that cannot follow those there are, or that the model does not take.
    """
    old = before.objects.get(name)
    earlier = before.prompts.get(name, ())
    axis = axis_of(new, session.axis)
    if any(isinstance(p, Marker) for p in new):
        only_markers(name, earlier, "mark a new object, or undo the other prompts")
        first = [*earlier, *new]
        if len({p.slice for p in first if isinstance(p, Marker)}) < 2:
            return None
    elif old is None or old.is_empty:
        if old is None and earlier:
            only_markers(name, new, "mark another slice first, or undo the marker lines")
        first = [*drawn_empty(along(earlier, axis, session.axis), new), *new]
    else:
        if axis != axis_of(earlier, session.axis):  # slices along another: nothing is known of them
            old = replace(old, prompted=(), clicked=(), quality={})
        prompts = [*clicks_again(along(earlier, axis, session.axis), new), *new]
        return corrected(_run(session, prompts, spread), [old])[0]
    return replace(segmented(_run(session, first, spread))[0], label=label_for(name, before))


def prompted_at(history: Sequence[Step], number: int) -> tuple[str, Sequence[PlacedPrompt]]:
    """Return the object that a step prompted, and the prompts it added."""
    earlier, step = history[number - 1].prompts, history[number]
    return next(
        (name, new)
        for name, prompts in step.prompts.items()
        if (new := prompts[len(earlier.get(name, ())) :])
    )


def stays(session: Session, placed: Sequence[PlacedPrompt]) -> bool:
    """Tell whether there is nothing to spread: one slice, or masks that stay on their slices."""
    count = session.geometry.slice_count(axis_of(placed, session.axis))
    return count == 1 or session.options.propagate == "none"


def _run(session: Session, prompts: Sequence[PlacedPrompt], spread: bool) -> Run:
    """A request for these prompts; what made the masks is written down when there is a result."""
    clock, axis = time.perf_counter(), axis_of(prompts, session.axis)
    options = session.options if spread else replace(session.options, propagate="none")
    if axis != session.axis:  # the range of slices is one along the session's own axis
        options = replace(options, axis=axis, slices=None)
    return Run.prepare(session.embedded_along(axis), prompts, options, session.progress, clock)
