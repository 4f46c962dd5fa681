"""Classification-gated F1 of phrases (cgF1; Carion et al., SAM 3, 2025) as the official code has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["THRESHOLDS", "Asked", "GatedF1", "gated_f1"]

THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""IoU from which on an instance is the object that it was matched with: 0.5, 0.55, ... 0.95."""

_LEAST, _SMALL = 1e-4, 1e-6  # what the official code adds to its denominators


class Asked(NamedTuple):
    """Findings of one phrase on one image, slice, volume or video, in numbers.

    Attributes:
        ious: IoU of each object with the instance that was matched with it, one to one, so that their
            sum is the largest; 0 or left out where there is none.
        objects: how many the phrase means.
        found: instances with a score above the threshold.
    """

    ious: tuple[float, ...]
    objects: int
    found: int


class GatedF1(NamedTuple):
    """Localisation where there is something, and knowledge of where there is.

    Attributes:
        f1: at each of `THRESHOLDS`, of all instances of phrases that mean something, together.
        mcc: Matthews' correlation, over phrases, of there being something with something being found;
            0 where all of them mean something, or none does.
        there, absent: phrases that mean something, and that mean nothing.
    """

    f1: tuple[float, ...]
    mcc: float
    there: int
    absent: int

    @property
    def localisation(self) -> float:
        """Return the mean F1 over the thresholds, 0..1 (pmF1)."""
        return float(np.mean(self.f1))

    @property
    def score(self) -> float:
        """Return cgF1, the mean F1 times Matthews' correlation, -1..1; papers write it in percent."""
        return self.localisation * self.mcc

    def at(self, threshold: float) -> float:
        """Return cgF1 at one of the thresholds."""
        return self.f1[THRESHOLDS.index(threshold)] * self.mcc


def gated_f1(asked: Iterable[Asked]) -> GatedF1:
    """Compute cgF1 over phrases.

    Args:
        asked: every phrase on every image, those that mean nothing there among them.

    Example:
        >>> found = gated_f1([Asked((1.0, 0.72), 2, 3), Asked((), 0, 0)])
        >>> round(found.mcc, 3), [round(value, 2) for value in (found.f1[0], found.f1[-1])]
        (1.0, [0.8, 0.4])
    """
    asked = list(asked)
    there = [one for one in asked if one.objects]
    absent = [one for one in asked if not one.objects]
    right = np.array([[iou >= t for t in THRESHOLDS] for one in there for iou in one.ious])
    hits = right.reshape(-1, len(THRESHOLDS)).sum(axis=0)
    precision = hits / (sum(one.found for one in there) + _LEAST)
    recall = hits / (sum(one.objects for one in there) + _LEAST)
    f1 = 2 * precision * recall / (precision + recall + _LEAST)
    seen, invented = (sum(one.found > 0 for one in each) for each in (there, absent))
    missed, quiet = len(there) - seen, len(absent) - invented
    spread = (seen + invented) * len(there) * len(absent) * (quiet + missed)
    mcc = (seen * quiet - invented * missed) / (spread**0.5 + _SMALL)
    return GatedF1(tuple(f1.tolist()), float(mcc), len(there), len(absent))
