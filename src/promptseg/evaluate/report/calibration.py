"""Calibration of a model's own estimate of its quality: predicted IoU against true DSC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Row

__all__ = ["Bin", "Calibration", "calibrate"]

_DSC, _IOU = NAMES.index("dsc"), NAMES.index("iou")


class Bin(NamedTuple):
    """Masks whose predicted IoU lies in one tenth of 0..1: number, means, deviation of the DSC."""

    n: int
    predicted: float
    true: float
    spread: float


class Calibration(NamedTuple):
    """Agreement of estimate and truth.

    Attributes:
        predicted, true: (n,) predicted IoU and true DSC of masks that have both.
        bins: those with a mask, by rising estimate.
        bias: mean of predicted IoU minus true IoU; above 0 the model is too sure. NaN without true IoU.
        correlation: Spearman's, of predicted IoU and true DSC; NaN where one of them is constant.
    """

    predicted: NDArray[np.float64]
    true: NDArray[np.float64]
    bins: list[Bin]
    bias: float
    correlation: float


def calibrate(rows: Sequence[Row], bins: int = 10) -> Calibration | None:
    """Compare predicted IoU and true DSC of one model's masks; None if no mask has both."""
    table = np.array([(r.predicted, r.scores[_DSC], r.scores[_IOU]) for r in rows]).reshape(-1, 3)
    predicted, true, iou = table[np.isfinite(table[:, :2]).all(axis=1)].T
    if not len(predicted):
        return None
    tenth = np.clip((predicted * bins).astype(int), 0, bins - 1)
    found = [
        Bin(int(k.sum()), float(predicted[k].mean()), float(true[k].mean()), float(true[k].std()))
        for k in (tenth == i for i in range(bins))
        if k.any()
    ]
    both = np.isfinite(iou)
    bias = float((predicted - iou)[both].mean()) if both.any() else np.nan
    return Calibration(predicted, true, found, bias, _spearman(predicted, true))


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
