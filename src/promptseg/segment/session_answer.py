"""Answers to the prompts of one step of a session: what these make of an object.

Words begin an object, as a box does, on every slice; what is there already is corrected by prompts that
point at something.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptseg.errors import PromptError
from promptseg.geometry import Axis
from promptseg.image import Segment
from promptseg.prompts import Marker, PlacedPrompt, Text
from promptseg.segment.asked_words import nothing_found, words_asked
from promptseg.segment.options import parse_slices
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

__all__ = ["answer", "notes_on", "prompted_at", "stays"]


def answer(
    session: Session,
    name: str,
    new: Sequence[PlacedPrompt],
    before: Step,
    spread: bool,
    at: int | None = None,
) -> Segment | None:
    """Answer new prompts of an object, added to those of a step, with its masks.

    Args:
        session: the image, the model and the options.
        name: of the object.
        new: its new prompts, on slices along one axis.
        before: the step they follow.
        spread: whether their answers reach the other slices.
        at: of words that are not to spread: the slice that is looked at; the middle one if None.

    Returns:
        The object; None where it waits for marker lines on a second slice.

    Raises:
        PromptError: prompts that cannot follow those there are, or that the model does not take.
    """
    old = before.objects.get(name)
    earlier = before.prompts.get(name, ())
    axis = axis_of(new, session.axis)
    texts = [p for p in new if isinstance(p, Text)]
    if texts:
        _require_new(session, name, texts, before)
        return _found(session, name, texts, before, None if spread else _slice(session, axis, at))
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
    words = any(isinstance(p, Text) for p in placed)
    return count == 1 or (session.options.propagate == "none" and not words)


def notes_on(session: Session, name: str) -> list[str]:
    """Return what is to be said of an object that words were given for; nothing of any other.

    Where it is found on no slice, and none is left to look at, that is said, too.
    """
    prompts, segment = session.step.prompts.get(name, ()), session.step.objects.get(name)
    if not prompts or not isinstance(text := prompts[-1], Text):
        return []
    image = session.embedded_along(text.axis or session.axis)
    _, notes = words_asked(image, [text], session.options.force)
    if segment is not None and segment.words and segment.is_empty and session.step.spread:
        notes.append(nothing_found(name, segment.words.score, session.options.min_score))
    return notes


def _require_new(session: Session, name: str, texts: Sequence[Text], before: Step) -> None:
    """Refuse words for what is there already, before a slice is encoded.

    Raises:
        PromptError: an object that has a mask or marker lines, another one of the same word, an unknown
            word, or options for objects of their own.
        UnsupportedPromptError: a model that takes no words.
    """
    old, earlier = before.objects.get(name), before.prompts.get(name, ())
    if session.options.instances:
        raise PromptError(
            "one object for all that a phrase names, in a session",
            "options with instances",
            "leave them out",
        )
    if old is not None and not old.is_empty:
        raise PromptError(
            "words for an object that has no mask yet",
            f"{name!r}, which has one",
            "correct it, remove it first, or give another name",
        )
    if old is None and earlier:
        only_markers(name, texts, "mark another slice first, or undo the marker lines")
    session.segmenter.predictor.require({"text"}, session.options.force)
    image = session.embedded_along(axis_of(texts, session.axis))
    others = [p for key, given in before.prompts.items() if key != name for p in given]
    words_asked(image, texts, session.options.force, [p for p in others if isinstance(p, Text)])


def _found(
    session: Session, name: str, texts: Sequence[Text], before: Step, at: int | None
) -> Segment:
    """All that words name, on one slice or on all."""
    run = _run(session, texts, True, None if at is None else f"{at}:{at}")
    return replace(segmented(run)[0], label=label_for(name, before))


def _slice(session: Session, axis: Axis, at: int | None) -> int:
    """The slice that words are answered on first.

    Raises:
        PromptError: there is no such slice.
    """
    count = session.geometry.slice_count(axis)
    if at is None:
        asked = session.options.slices if axis == session.axis else None
        return sum(parse_slices(asked, count)) // 2
    if not 0 <= at < count:
        raise PromptError(f"a slice from 0 to {count - 1}", str(at), "choose another one")
    return at


def _run(
    session: Session, prompts: Sequence[PlacedPrompt], spread: bool, slices: str | None = None
) -> Run:
    """A request for these prompts; what made the masks is written down when there is a result."""
    clock, axis = time.perf_counter(), axis_of(prompts, session.axis)
    options = session.options if spread else replace(session.options, propagate="none")
    if axis != session.axis:  # the range of slices is one along the session's own axis
        options = replace(options, axis=axis, slices=None)
    if slices is not None:
        options = replace(options, slices=slices)
    return Run.prepare(session.embedded_along(axis), prompts, options, session.progress, clock)
