"""The name of a trained model."""

from __future__ import annotations

import re

from promptseg.models.cards import AUTO, CARDS
from promptseg.train.options import TrainOptions

__all__ = ["model_name"]


def model_name(options: TrainOptions, base: str) -> str:
    """Return the name of the output folder, where that can be one; else that of base and preset.

    Args:
        options: of the training; its output folder.
        base: name of the model that it begins from.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", options.output.resolve().name).strip("-._")[:64]
    return name if name and name not in (*CARDS, AUTO) else f"{base}-{options.preset}"
