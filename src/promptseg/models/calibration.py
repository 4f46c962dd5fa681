"""Scores that mean what they say: predicted IoU -> what answers with such a score were worth.

Networks are too sure of themselves on images they were not trained on (docs/quality.md). A curve for
each kind of question, found on images that are not those of the test, puts that right on the average;
the order of scores stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol.prompt import SlicePrompt

__all__ = ["Calibration", "calibrated", "question"]

Calibration = Mapping[str, tuple[tuple[float, float], ...]]
"""Kind of question (see `question`) -> points (predicted, observed) of a rising curve."""


def question(prompt: SlicePrompt) -> str:
    """What is asked: "correction" where a mask is given, else "box", "click", or "clicks".

    Example:
        >>> question(SlicePrompt(box=(1, 2, 3, 4)))
        'box'
    """
    if prompt.hinted:
        return "correction"
    if prompt.box is not None:
        return "box"
    return "click" if prompt.is_lone_click else "clicks"


def calibrated(
    iou: NDArray[np.float32], prompt: SlicePrompt, curves: Calibration
) -> NDArray[np.float32]:
    """Scores on the curve of their kind of question; as they are where there is none.

    Args:
        iou: any shape, within 0 and 1.
        prompt: what was asked.
        curves: of the model.
    """
    points = curves.get(question(prompt))
    if points is None:
        return iou
    predicted, observed = zip(*points, strict=True)
    scores: NDArray[np.float32] = np.interp(iou, predicted, observed).astype(np.float32)
    return scores
