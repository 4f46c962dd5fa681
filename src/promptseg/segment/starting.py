"""Objects that one model starts and another propagates: the mask of the first stands for its prompts.

A mask of a model that is good on single slices, propagated with the memory of another: the recipe of
SAM 2 in medical images (Ma et al., arXiv:2408.03322, table 3), there with MedSAM and SAM 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from promptseg.errors import InputError, PromptError
from promptseg.models.protocol import ConditioningPrompt, Frames
from promptseg.prompts import Mask, ObjectPrompts
from promptseg.segment.conditioning import answer_condition

__all__ = ["require_startable", "started"]


def require_startable(
    objects: Iterable[ObjectPrompts], starter: str, slices: int, remembers: bool
) -> None:
    """Refuse what one model cannot start for another: words without a memory that joins what they
    find, or objects on an image of one slice.

    Args:
        objects: with all their prompts.
        starter: name of the model, for messages.
        slices: of the image.
        remembers: whether the model that is started propagates with memory.

    Raises:
        InputError: an image of one slice, on which there is nothing to propagate.
        PromptError: words, for a model without memory.
    """
    if slices < 2:
        raise InputError(
            "a volume or video, for a model that starts what another propagates",
            f"one slice, and {starter} to start",
            f"name {starter} as the model itself",
        )
    for entry in objects:
        if entry.texts and not remembers:
            raise PromptError(
                f"boxes, clicks or masks for {starter} to start from, or a model with memory to start",
                f"words for {entry.name!r}",
                "propagate by a model with memory, such as sam3-tracker or medsam2, or leave out the "
                "model that starts",
            )


def started(conditions: Iterable[ConditioningPrompt], frames: Frames) -> list[ConditioningPrompt]:
    """Give each start the mask that a model makes of its prompts.

    Args:
        conditions: where objects start.
        frames: the slices as the starting model sees them.

    Returns:
        Starts with a drawn mask alone. One on which nothing is found is an empty mask there.
    """
    found = []
    for start in conditions:
        mask = Mask(answer_condition(frames, start).mask, start.slice, as_drawn=True)
        found.append(replace(start, box=None, points=None, mask=mask))
    return found
