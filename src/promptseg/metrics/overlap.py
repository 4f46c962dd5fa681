"""Metrics of shared pixels or voxels: DSC, IoU and the difference in volume."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "count"]


class Counts(NamedTuple):
    """Pixels or voxels of two masks, of which at least one has some where a ratio is asked for.

    Attributes:
        truth: in the truth.
        found: in the found mask.
        common: in both.
    """

    truth: int
    found: int
    common: int

    @property
    def dsc(self) -> float:
        """Return the Dice similarity coefficient, 2 |G n S| / (|G| + |S|) (MedSAM, Methods)."""
        return 2 * self.common / (self.truth + self.found)

    @property
    def iou(self) -> float:
        """Return the intersection over union, |G n S| / |G u S|."""
        return self.common / (self.truth + self.found - self.common)

    @property
    def volume_difference(self) -> float:
        """Return the volume error (|S| - |G|) / |G|: -1 for nothing found, 0.1 for 10 % more."""
        return (self.found - self.truth) / self.truth


def count(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Counts:
    """Count the pixels or voxels of two masks of one shape."""
    common = int(np.count_nonzero(truth & found))
    return Counts(int(np.count_nonzero(truth)), int(np.count_nonzero(found)), common)
