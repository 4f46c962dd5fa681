"""The options of a training of classes, defined once; see `promptseg.train.options`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from promptseg.train.objectives.settings import ClassWeights

__all__ = ["OF_CLASSES", "SemanticOptions"]

OF_CLASSES = (
    *("depth", "halo", "side", "adapters", "zero_adapters", "features", "doublings"),
    *("classes", "class_weights", "faithful"),
)
"""Those that are fields of a `SemanticObjective`."""

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class SemanticOptions:
    """Options that say what classes are learnt, and by what network (semantic-2d, semantic-3d)."""

    classes: _Names = ()
    """Classes to be learnt, all others being background; may be repeated (default: all there are)."""

    class_weights: ClassWeights | None = None
    """Weights of the cross-entropy: none, or balanced: the more, the fewer pixels a class takes."""

    faithful: bool | None = None
    """Train on sigmoids of the logits, as the published code of MedicoSAM does."""

    decoder: Path | None = None
    """File with a pretrained decoder under torch-em's names, such as decoder_state of micro-sam."""

    depth: int | None = None
    """Slices of a patch (semantic-3d: 16)."""

    halo: int | None = None
    """Slices at either end of a patch that are given up where patches are joined (semantic-3d: 4)."""

    side: int | None = None
    """Pixels along each side of the network's input (semantic-3d: 512; else that of the model)."""

    adapters: bool | None = None
    """Adapters along depth in the encoder of slices (semantic-3d)."""

    zero_adapters: bool | None = None
    """Adapters that change nothing at the start (the published code's do)."""

    features: int | None = None
    """Features of the decoder's finest level (64); with fewer it is quicker."""

    doublings: int | None = None
    """How often the decoder doubles the embedding's resolution (until the input's)."""
