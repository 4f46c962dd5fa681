"""The tracker of models that remember: each frame is seen in the light of those before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.memory import available_bytes
from promptseg.models.protocol import (
    ConditioningPrompt,
    Correction,
    Frames,
    Remembering,
    Resumable,
    SliceMasks,
)
from promptseg.segment.correct import correct
from promptseg.segment.from_memory import FromMemory
from promptseg.segment.propagated import PropagatedObject
from promptseg.segment.volume import PropagationRule
from promptseg.segment.ways import Ways

__all__ = ["WithMemory"]


@dataclass(frozen=True)
class WithMemory(Resumable):
    """Propagates objects with the memory of the frames' own model, one for each object.

    All frames that somebody said something of are answered first, and condition all others. Then the
    objects are propagated up from the lowest of these, and down from it; where an object ended before
    another such frame, also down from that one. Every way begins with these frames alone in memory, so
    that it does not matter what was propagated before.

    Attributes:
        model: what remembers.
        rule: where an object ends; None where it may vanish and come back, as in videos.
    """

    model: Remembering
    rule: PropagationRule | None

    def begin(
        self,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
        since: Mapping[str, NDArray[Any]] | None = None,
    ) -> Ways:
        """See `Resumable`.

        Raises:
            InputError: more objects than memory has room for.
        """
        of_object: dict[int, list[ConditioningPrompt]] = defaultdict(list)
        for condition in conditions:
            of_object[condition.object].append(condition)
        _require_room(len(of_object), self.model.object_bytes)
        propagated = [
            PropagatedObject(number, said, frames, self.model.memory(frames), self.rule)
            for number, said in sorted(of_object.items())
        ]
        return Ways(propagated, frames, at_work, since)

    def correct(self, frames: Frames, correction: Correction) -> SliceMasks:
        """See `Tracker` and `promptseg.segment.correct`.

        Corrected frames condition the model, and so do the nearest frames that were settled before.
        """
        rule = self.rule or PropagationRule(returns=True)
        means = FromMemory(frames, self.model.memory(frames), correction, rule.returns)
        return correct(means, len(frames), correction, rule)


def _require_room(objects: int, each: int) -> None:
    """Refuse more objects than can be remembered at once."""
    available = available_bytes()
    if available is not None and objects * each > available:
        raise InputError(
            f"objects whose memory fits into the {available / 2**30:.1f} GiB that are free",
            f"{objects} objects of about {each / 2**20:.0f} MiB each",
            "propagate fewer at a time, or take a model of fewer pixels, such as medsam2",
        )
