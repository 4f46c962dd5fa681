"""Steps of a session on a video: objects with prompts and packed masks, one step after every action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from promptseg.prompts import PlacedPrompt
from promptseg.segment.video.masks import Packed

__all__ = [
    "NOTHING",
    "ClipObject",
    "Found",
    "Ranges",
    "Step",
    "changed_places",
    "place_of",
    "ranges_of",
]

Found = Mapping[int, Packed]
"""Masks by place of their frame among the chosen ones; never changed, so that steps share them."""

Ranges = tuple[tuple[int, int], ...]
"""First and last place of stretches of frames."""

NOTHING: Found = MappingProxyType({})


@dataclass(frozen=True)
class ClipObject:
    """One object after a step.

    Attributes:
        name: of the object.
        prompts: all of them, placed, in the order they were given.
        settled: how many of the first ones have been propagated through the frames.
        propagated: whether it was propagated to the end, so that further prompts correct it.
        masks: what propagation has found.
        answers: on frames with prompts that have not been propagated yet.
    """

    name: str
    prompts: tuple[PlacedPrompt, ...] = ()
    settled: int = 0
    propagated: bool = False
    masks: Found = field(default_factory=lambda: NOTHING)
    answers: Found = field(default_factory=lambda: NOTHING)

    @property
    def pending(self) -> tuple[PlacedPrompt, ...]:
        """Return prompts that have not been propagated yet: all of them if the object never was."""
        return self.prompts[self.settled if self.propagated else 0 :]

    @property
    def is_waiting(self) -> bool:
        """Tell whether there is something to propagate."""
        return bool(self.pending)

    @property
    def prompted(self) -> set[int]:
        """Return the places of the prompts that have been propagated."""
        done = self.prompts[: self.settled] if self.propagated else ()
        return set(map(place_of, done))

    def on(self, place: int) -> Packed | None:
        """Return its mask on a frame: the answer to its prompts there, or what was propagated."""
        return self.answers.get(place) or self.masks.get(place)

    @property
    def shown(self) -> Found:
        """Return its masks on all frames: answers to prompts, and elsewhere what was propagated."""
        return {**self.masks, **self.answers} if self.answers else self.masks


@dataclass(frozen=True)
class Step:
    """The objects after one action.

    Attributes:
        action: in words.
        objects: in their order.
        current: the object that prompts without a name go to.
        changed: frames whose masks the action changed, where it was a correction that was propagated.
    """

    action: str
    objects: tuple[ClipObject, ...] = ()
    current: str | None = None
    changed: Ranges = field(default=())

    @property
    def names(self) -> list[str]:
        """Return the names of the objects."""
        return [one.name for one in self.objects]

    def object(self, name: str) -> ClipObject | None:
        """Return the object of this name; None if there is none."""
        return next((one for one in self.objects if one.name == name), None)

    def with_object(self, new: ClipObject) -> tuple[ClipObject, ...]:
        """Return the objects with one of them changed, or added at the end."""
        if new.name not in self.names:
            return (*self.objects, new)
        return tuple(new if one.name == new.name else one for one in self.objects)


def place_of(prompt: PlacedPrompt) -> int:
    """Return the place of the frame that a prompt lies on."""
    return int(getattr(prompt, "slice", None) or 0)


def changed_places(before: Found, after: Found) -> list[int]:
    """Return the places whose masks differ, ascending."""

    def mask(found: Found, place: int) -> object:
        known = found.get(place)
        return None if known is None or known.is_empty else (known.box, known.bits)

    there = sorted({*before, *after})
    return [place for place in there if mask(before, place) != mask(after, place)]


def ranges_of(places: list[int]) -> Ranges:
    """Join ascending places into stretches without a gap."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return tuple(found)
