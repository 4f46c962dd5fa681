"""One step of an interactive session."""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptseg.image import Segment
from promptseg.prompts import PlacedPrompt

__all__ = ["Step", "label_for", "put_in"]


@dataclass(frozen=True)
class Step:
    """State of a session after one action.

    Attributes:
        action: what was done, in words.
        objects: every object by name, in order; None where there is no mask yet.
        prompts: every object's prompts by name, placed, in the order they were given.
        current: the object that prompts without a name go to.
        spread: whether the prompts it added have reached the other slices.
    """

    action: str
    objects: dict[str, Segment | None]
    prompts: dict[str, tuple[PlacedPrompt, ...]]
    current: str | None
    spread: bool = True


def label_for(name: str, before: Step) -> int:
    """Return the label an object gets: its own if it has one, else the lowest free one."""
    if (own := before.objects.get(name)) is not None:
        return own.label
    others = {s.label for s in before.objects.values() if s is not None}
    return next(k for k in range(1, len(others) + 2) if k not in others)


def put_in(history: list[Step], number: int, name: str, segment: Segment | None) -> None:
    """Put the masks of an object after a step that was spread into that step and wherever they stay."""
    old = history[number].objects[name]
    history[number] = replace(history[number], spread=True)
    for k in range(number, len(history)):
        if history[k].objects.get(name) is old:
            history[k] = replace(history[k], objects={**history[k].objects, name: segment})
