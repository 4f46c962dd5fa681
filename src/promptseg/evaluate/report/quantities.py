"""Quantities that are measured on every mask: how each is called, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAIN", "NAMES", "QUANTITIES", "Quantity"]


@dataclass(frozen=True)
class Quantity:
    """A score of one mask.

    Attributes:
        name: its column in rows.csv.
        label: as the papers write it.
        goal: "high" or "low" where more or less is better, "zero" for signed quantities.
        unit: appended to the label; empty for shares.
    """

    name: str
    label: str
    goal: str
    unit: str = ""

    @property
    def title(self) -> str:
        """Return the label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def share(self) -> bool:
        """Tell whether values lie between 0 and 1, and are shown in percent."""
        return self.goal == "high"

    def worth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values turned so that more is better, to compare and rank by."""
        if self.goal == "high":
            return values
        return -(np.abs(values) if self.goal == "zero" else values)


QUANTITIES = {
    q.name: q
    for q in (
        Quantity("dsc", "DSC", "high"),
        Quantity("nsd", "NSD", "high"),
        Quantity("iou", "IoU", "high"),
        Quantity("hd95", "HD95", "low", "mm or pixels"),
        Quantity("asd", "ASD", "low", "mm or pixels"),
        Quantity("volume_difference", "Volume difference", "zero", "relative"),
    )
}
NAMES = tuple(QUANTITIES)
MAIN = (QUANTITIES["dsc"], QUANTITIES["nsd"])
"""The two that the papers report, and that pages and printed tables show."""
