"""Corrections of masks that exist: prompts on some slices, spread as far as they change anything."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.models.protocol import Answer, ConditioningPrompt, Correction, Frames, SliceMasks
from promptseg.prompts import ObjectPrompts, Points
from promptseg.segment.conditioning import answer_condition, joined_points, prompt_of_clicks
from promptseg.segment.volume import PropagationRule, advance, ask, overlap

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FromNeighbours", "Means", "correct"]


class Means(Protocol):
    """Ways to answer corrected slices, and to take their masks to others."""

    def answer_condition(self, condition: ConditioningPrompt) -> Answer:
        """Answer a box or a mask on a slice, as on a fresh image."""

    def answer_clicks(
        self, slice_: int, points: Points, mask: NDArray[np.bool_], boxed: bool
    ) -> Answer:
        """Answer clicks on a slice with a mask; see `prompt_of_clicks`."""

    def begin(self, answers: dict[int, Answer]) -> None:
        """Begin to one side: the corrected slices are answered, and masks go from one of them."""

    def advance(self, answer: Answer, index: int, end: int, step: int) -> Answer | None:
        """Return the answer on slice `index`, given that of its neighbour; None where there is none."""


@dataclass(frozen=True)
class FromNeighbours:
    """Each slice is prompted with the mask of its neighbour."""

    stack: Frames
    rule: PropagationRule | None

    def answer_condition(self, condition: ConditioningPrompt) -> Answer:
        """See `Means`."""
        return answer_condition(self.stack, condition)

    def answer_clicks(
        self, slice_: int, points: Points, mask: NDArray[np.bool_], boxed: bool
    ) -> Answer:
        """See `Means`."""
        return ask(self.stack, slice_, prompt_of_clicks(points, mask, boxed))

    def begin(self, answers: dict[int, Answer]) -> None:
        """See `Means`."""

    def advance(self, answer: Answer, index: int, end: int, step: int) -> Answer | None:
        """See `Means`."""
        assert self.rule is not None
        return advance(self.stack, answer, index, end, self.rule)


def correct(
    means: Means, count: int, correction: Correction, rule: PropagationRule | None
) -> SliceMasks:
    """Correct one object by prompts on some of its slices; return its masks.

    A corrected slice is answered anew: by a drawn mask as it is, by boxes as on a fresh image, by
    clicks together with the mask of the slice, or of the nearest slice with one. The change spreads
    from there to either side, halfway to the next slice the user has settled, and ends where the new
    mask agrees with the old one, where the old one is as much like the corrected neighbour, or where
    the object ends. Past the old ends of the object it goes as far again as the corrected slice lies
    beyond them. A slice drawn empty where the user has settled slices on one side alone ends the
    object: what lay beyond it was reached through it and is gone. An object that may vanish and come
    back is propagated past where it is not, and no empty slice ends it. Every other slice keeps its
    mask.

    Args:
        means: how slices are answered; those that are not touched are never encoded.
        count: how many slices there are.
        correction: the prompts and the object so far.
        rule: where masks end; None corrects the prompted slices alone.

    Raises:
        PromptError: prompts that correct no slice (3D boxes, markers), or clicks outside the object
            alone on a slice without a mask.
    """
    entry, before, limits = correction.prompts, correction.before, correction.limits
    if entry.boxes3d or entry.markers:
        raise PromptError(
            "boxes, clicks and masks on slices as corrections",
            "a 3D box or markers",
            "segment the object anew with them",
        )
    answers = _answers(means, entry, before, correction.clicked)
    after = before.copy()
    fixed = sorted({*correction.prompted, *answers})
    for slice_, answer in answers.items():
        after.replace(slice_, answer)
    for slice_, answer in answers.items():
        if rule is None or count == 1:
            continue
        below = max((k for k in fixed if k < slice_), default=None)
        above = min((k for k in fixed if k > slice_), default=None)
        if not answer.mask.any():
            if not rule.returns:
                _end_object(after, slice_, fixed, limits)
            continue
        first, last = limits if rule.returns else _as_far_again(before, slice_, limits)
        first = first if below is None else max(first, (below + slice_) // 2 + 1)
        last = last if above is None else min(last, (slice_ + above) // 2)
        for step, end in ((1, last), (-1, first)):
            way = range(slice_ + step, end + step, step)
            means.begin(answers)
            _spread(
                means,
                answer,
                way=way,
                rule=rule,
                agreement=correction.agreement,
                before=before,
                after=after,
            )
    return after


def _as_far_again(before: SliceMasks, slice_: int, limits: tuple[int, int]) -> tuple[int, int]:
    """The slices a correction may reach: past the old masks as far again as it lies beyond them."""
    first, last = limits
    if not before.masks:
        return first, last
    room = min(abs(k - slice_) for k in before.masks)
    low, high = min(*before.masks, slice_ - room), max(*before.masks, slice_ + room)
    return max(first, low), min(last, high)


def _end_object(after: SliceMasks, slice_: int, fixed: list[int], limits: tuple[int, int]) -> None:
    """Clear what lies beyond an empty slice, where one side alone has slices the user settled."""
    held = [k for k in fixed if k in after.masks and after.masks[k].any()]
    if not held or min(held) < slice_ < max(held):
        return
    first, last = limits
    first, last = (slice_ + 1, last) if max(held) < slice_ else (first, slice_ - 1)
    for k in range(first, last + 1):
        after.clear(k)


def _spread(
    means: Means,
    answer: Answer,
    way: range,
    rule: PropagationRule,
    agreement: float,
    before: SliceMasks,
    after: SliceMasks,
) -> None:
    """Carry a corrected mask on, until the object ends or a slice's own mask fits as well."""
    first_area = int(answer.mask.sum())
    for index in way:
        following = means.advance(answer, index, way[-1], way.step)
        if following is None or not rule.continues(
            first_area, answer.mask, following.mask, following.iou
        ):
            return
        old = before.masks.get(index)
        if old is not None and _fits(old, following.mask, answer.mask, agreement):
            return
        after.replace(index, following)
        answer = following


def _fits(
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    neighbour: NDArray[np.bool_],
    agreement: float,
) -> bool:
    """Whether a slice's own mask is as good as the new one.

    Where the object is not there, on the slice or beside it, the neighbour says nothing of it.
    """
    if overlap(old, new) >= agreement:
        return True
    both = new.any() and neighbour.any()
    return bool(both) and overlap(old, neighbour) >= overlap(new, neighbour)


def _answers(
    means: Means, entry: ObjectPrompts, before: SliceMasks, clicked: Collection[int]
) -> dict[int, Answer]:
    """The new answer on every corrected slice; `clicked` are those that clicks alone have made."""
    clicks = joined_points(entry.points)
    found = SliceMasks()
    logits: dict[int, Tensor | None] = {}
    conditions = [ConditioningPrompt(m.slice or 0, mask=m) for m in entry.masks]
    conditions += [
        ConditioningPrompt(b.slice or 0, box=b, points=clicks.get(b.slice or 0))
        for b in entry.boxes
    ]
    for condition in conditions:
        answer = means.answer_condition(condition)
        logits[condition.slice] = None if condition.slice in found.masks else answer.logits
        found.add(condition.slice, answer)
    answers = {k: Answer(m, found.quality[k], logits[k]) for k, m in found.masks.items()}
    boxed = {b.slice or 0 for b in entry.boxes}
    for slice_, points in clicks.items():
        if slice_ in boxed:
            continue
        old = answers[slice_].mask if slice_ in answers else _mask_near(before, slice_)
        if old is None or not old.any() or not (slice_ in before.masks or any(points.labels)):
            if not any(points.labels):
                raise PromptError(
                    f"a click inside {entry.name!r} on slice {slice_}, where it has no mask",
                    "clicks outside it alone",
                    "click inside it, or leave the slice out",
                )
            answers[slice_] = means.answer_condition(ConditioningPrompt(slice_, points=points))
            continue
        answers[slice_] = means.answer_clicks(slice_, points, old, slice_ not in clicked)
    return answers


def _mask_near(before: SliceMasks, slice_: int) -> NDArray[np.bool_] | None:
    """The mask of a slice or, where it has none, that of the nearest slice with one."""
    nearest = min(before.masks, key=lambda k: abs(k - slice_), default=slice_)
    return before.masks.get(nearest)
