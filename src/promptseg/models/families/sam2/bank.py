"""Memory bank of one object: which frames a frame looks back at, and what can be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from promptseg.models.families.sam2.network import MAPS, POINTERS, Memory, Seen

__all__ = ["CONDITIONING", "Bank", "Remembered", "nearest"]

CONDITIONING = 4
"""Frames that somebody said something of, of which a frame looks at the maps; the nearest."""


@dataclass(frozen=True)
class Remembered:
    """An object on one frame.

    Attributes:
        seen: what was decided there.
        map: (1, M, h, w) memory map; None where it is not made yet, or forgotten.
        prompted: whether somebody said something there.
    """

    seen: Seen
    map: Tensor | None
    prompted: bool


@dataclass
class Bank:
    """Memory of one object.

    A frame looks at the `limit` nearest conditioning frames, at the maps of the 6 frames before it on
    the way, and at the pointers of the 15 before it. Everything else of propagated frames can be
    forgotten without any change.

    Attributes:
        limit: of conditioning frames looked at; None looks at all.
        conditioning: by frame, those that somebody said something of.
        propagated: by frame, all others that are remembered.
        forgetful: whether what no later frame looks at is forgotten.
        sure: where not None, propagated frames count only where presence (twice its probability less 1)
            times predicted IoU is above it; those that do not are passed over for earlier ones, but for
            the one just before (Ding et al., SAM2Long, 2024, as SAM 3 has it).
        clears: propagated frames around one that is conditioned on, up to so far, are forgotten.
    """

    limit: int | None = CONDITIONING
    conditioning: dict[int, Remembered] = field(default_factory=dict)
    propagated: dict[int, Remembered] = field(default_factory=dict)
    forgetful: bool = True
    sure: float | None = None
    clears: int = 0

    def condition(self, frame: int, remembered: Remembered) -> None:
        """Remember a frame that others are conditioned on from now on."""
        self.conditioning[frame] = remembered
        for other in [at for at in self.propagated if abs(at - frame) <= self.clears]:
            del self.propagated[other]

    def propagate(self, frame: int, remembered: Remembered, back: int) -> None:
        """Remember a propagated frame; forget what no frame after it will look at.

        Args:
            frame: which.
            remembered: what is known of it.
            back: -1 on the way up through frames, 1 on the way down.
        """
        self.propagated[frame] = remembered
        if not self.forgetful:
            return
        if self.sure is not None:
            self._keep_sure(frame, back)
            return
        for other in list(self.propagated):
            age = (other - frame) * back
            if not 0 <= age < POINTERS - 1:
                del self.propagated[other]
            elif age >= MAPS - 1:
                self.propagated[other] = replace(self.propagated[other], map=None)

    def for_frame(
        self, frame: int, count: int, back: int, map_of: Callable[[int, Remembered], Tensor]
    ) -> Memory:
        """Return the memory that a frame looks at.

        Args:
            frame: which.
            count: how many frames there are.
            back: -1 on the way up through frames, 1 on the way down.
            map_of: makes the map of a conditioning frame that has none.
        """
        chosen, others = nearest(self.conditioning, frame, self.limit)
        maps = [(map_of(at, one), 0) for at, one in chosen.items()]
        most = min(count, POINTERS)
        before = self._before(frame, back, count, most - 1)
        for age in range(min(MAPS - 1, len(before)), 0, -1):
            at = before[age - 1]
            if at in self.propagated and (map_ := self.propagated[at].map) is not None:
                maps.append((map_, age))
            elif at in others:
                maps.append((map_of(at, others[at]), age))
        if self.forgetful:
            near = set(before[: MAPS - 1])
            for at in others.keys() - near:
                self.conditioning[at] = replace(self.conditioning[at], map=None)
        pointers = [
            (one.seen.pointer, (at - frame) * back)
            for at, one in chosen.items()
            if (at - frame) * back >= 0
        ]
        # of chosen frames, the official code leaves out the pointer of the last
        pointed = before if self.sure is None else before[:-1]
        for ago, at in enumerate(pointed[: most - 1], 1):
            if one := self.propagated.get(at, others.get(at)):
                pointers.append((one.seen.pointer, ago))
        return Memory(maps, pointers, max(1, most - 1))

    def _before(self, frame: int, back: int, count: int, most: int) -> list[int]:
        """The frames that one looks back at, the nearest first; they may hold nothing."""
        last = frame + back
        if self.sure is None:
            return [frame + ago * back for ago in range(1, max(MAPS, most + 1))]
        if not 0 <= last < count:
            return []
        found = self._sure_before(frame, back)[:most]
        return found if last in found else [last, *found]

    def _sure_before(self, frame: int, back: int) -> list[int]:
        """Propagated frames on which the object is surely there, the nearest first; never frame 0."""
        assert self.sure is not None
        passed = [at for at in self.propagated if (at - frame) * back > 0 and (at or back > 0)]
        passed = [at for at in passed if sureness(self.propagated[at].seen) > self.sure]
        return sorted(passed, key=lambda at: abs(at - frame))

    def _keep_sure(self, frame: int, back: int) -> None:
        """Forget what no frame after one will look at."""
        kept = dict.fromkeys([frame, *self._sure_before(frame + back * -1, back)])
        ranks = {at: rank for rank, at in enumerate(list(kept)[:POINTERS])}
        for at in list(self.propagated):
            if at not in ranks:
                del self.propagated[at]
            elif ranks[at] >= MAPS:
                self.propagated[at] = replace(self.propagated[at], map=None)


def sureness(seen: Seen) -> float:
    """Score, 0..1, how sure it is that the object is on a frame, and how good its mask is there."""
    presence = 2 * float(seen.presence.sigmoid()) - 1
    return max(0.0, presence) * float(seen.iou)


def nearest(
    frames: Mapping[int, Remembered], frame: int, limit: int | None
) -> tuple[dict[int, Remembered], dict[int, Remembered]]:
    """Split frames into the nearest to one and the others; the next before and after are always in.

    Args:
        frames: to choose from.
        frame: to be near to; it counts as after itself.
        limit: how many at most, 2 or more; None takes all.
    """
    if limit is None or len(frames) <= limit:
        return dict(frames), {}
    before = max((at for at in frames if at < frame), default=None)
    after = min((at for at in frames if at >= frame), default=None)
    first = [at for at in (before, after) if at is not None]
    rest = sorted((at for at in frames if at not in first), key=lambda at: abs(at - frame))
    chosen = [*first, *rest[: limit - len(first)]]
    return {at: frames[at] for at in chosen}, {at: frames[at] for at in frames if at not in chosen}
