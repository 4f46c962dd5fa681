"""Choice of the tracker that propagates the objects of a run."""

from __future__ import annotations

from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.protocol import Remembering, Resumable
from promptseg.segment.choices import propagation_rule
from promptseg.segment.options import SegmentOptions
from promptseg.segment.projection import MEMORY
from promptseg.segment.slice_to_slice import SliceToSlice
from promptseg.segment.with_memory import WithMemory

__all__ = ["tracker_for"]


def tracker_for(
    predictor: Predictor, options: SegmentOptions, several: bool, video: bool
) -> Resumable:
    """Return the tracker that resolved options ask for.

    Args:
        predictor: the model.
        options: with the model's own choices where the user made none.
        several: whether there is more than one slice.
        video: whether the slices are frames, in which an object may vanish and come back.

    Raises:
        InputError: memory, of a model without.
    """
    rule = propagation_rule(options) if several else None
    if rule is None or options.propagate != MEMORY:
        return SliceToSlice(rule)
    if not isinstance(predictor.model, Remembering):
        able = [card.name for card in CARDS.values() if card.propagate == MEMORY]
        raise InputError(
            f"a model with memory, such as {', '.join(able)}",
            f"--propagate {MEMORY} for {predictor.card.name}",
            "name such a model, or leave out --propagate",
        )
    return WithMemory(predictor.model, None if video else rule)
