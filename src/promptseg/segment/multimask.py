"""The multimask output of a single point: a part, the whole, or something between (SAM, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.geometry import Axis
from promptseg.inference.embedded import EmbeddedImage
from promptseg.metrics.overlap import count
from promptseg.models.protocol import SlicePrompt
from promptseg.prompts import PlacedPrompt, Points

__all__ = ["MaskCandidate", "multimask_output"]

_ALIKE = 0.95
"""IoU above which two masks are one to a person."""


@dataclass(frozen=True)
class MaskCandidate:
    """One of the masks that a click may mean.

    Attributes:
        mask: (rows, columns) boolean, on the slice.
        predicted_iou: the model's own estimate.
        slice: index of the slice; 0 in a 2D image.
        axis: along which slices are counted.
    """

    mask: NDArray[np.bool_]
    predicted_iou: float
    slice: int
    axis: Axis = "z"

    @property
    def pixels(self) -> int:
        """Return the number of its pixels."""
        return int(self.mask.sum())


def multimask_output(embedded: EmbeddedImage, click: PlacedPrompt) -> list[MaskCandidate]:
    """Return the masks that a click may mean, the likeliest first; those that look alike are one.

    Args:
        embedded: the image.
        click: one click inside an object, placed on a slice.

    Raises:
        PromptError: anything but one click inside, or a model that was not trained for clicks.
    """
    single = isinstance(click, Points) and len(click.xy) == 1 and click.labels == (1,)
    if not single:
        raise PromptError("one click inside an object", "other prompts", "they have one meaning")
    assert isinstance(click, Points)
    embedded.predictor.require({"point"})
    k = click.slice or 0
    prediction = embedded.predictor.decode(embedded.embedding(k), [SlicePrompt.of(points=click)])
    several = prediction.candidates
    if several is None:
        masks, scores = prediction.masks, prediction.iou
    else:
        masks, scores = several.masks()[0], several.iou[0]
    found: list[MaskCandidate] = []
    for number in np.argsort(-scores, kind="stable"):
        mask = masks[number]
        if mask.any() and all(count(mask, other.mask).iou < _ALIKE for other in found):
            found.append(MaskCandidate(mask, float(scores[number]), k, embedded.axis))
    return found
