"""Choices that the user left to the model."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal, cast

from promptseg.models.cards import ModelCard
from promptseg.segment.options import SegmentOptions
from promptseg.segment.projection import Mode
from promptseg.segment.volume import PropagationRule

__all__ = ["propagation_rule", "resolved"]


def resolved(options: SegmentOptions, card: ModelCard) -> SegmentOptions:
    """Return the options with the model's own choices where the user made none."""
    pixels = options.margin_pixels
    return replace(
        options,
        propagate=options.propagate or cast(Mode | Literal["memory"], card.propagate),
        margin=card.margin if options.margin is None else options.margin,
        margin_pixels=card.margin_pixels if pixels is None else pixels,
    )


def propagation_rule(options: SegmentOptions) -> PropagationRule | None:
    """Return the rule by which resolved options carry a mask to the next slice; None if they do not."""
    if options.propagate == "none":
        return None
    names = (f.name for f in fields(PropagationRule) if f.name not in ("mode", "returns"))
    values = {name: getattr(options, name) for name in names}
    return PropagationRule(mode=options.propagate or "box", **values)
