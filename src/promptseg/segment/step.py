"""One step of an interactive session."""

from __future__ import annotations

from dataclasses import dataclass

from promptseg.image import Segment
from promptseg.prompts import PlacedPrompt

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """What one action left.

    Attributes:
        action: what was done, in words.
        objects: every object by name, in order; None where there is no mask yet.
        prompts: every object's prompts by name, placed, in the order they were given.
        current: the object that prompts without a name go to.
    """

    action: str
    objects: dict[str, Segment | None]
    prompts: dict[str, tuple[PlacedPrompt, ...]]
    current: str | None
