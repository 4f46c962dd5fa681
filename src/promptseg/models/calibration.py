"""Calibration of predicted IoU to the IoU it has turned out to mean, by model and kind of prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from promptseg.models.protocol.prompt import SlicePrompt

__all__ = ["Asked", "IouMap", "asked_with"]

Asked = Literal["click", "box", "more"]
"""What a mask was asked for with: a single point, a box alone, or anything else."""


def asked_with(prompt: SlicePrompt) -> Asked:
    """Classify the prompts of one object: a single click, a box, or more."""
    if prompt.is_single_point:
        return "click"
    return "box" if prompt.kinds == {"box"} else "more"


@dataclass(frozen=True)
class IouMap:
    """Beta calibration with a = b, which is logistic in the log-odds (Kull et al., AISTATS 2017).

    odds of the IoU = e^shift * (odds of what the network says)^slope. It rises strictly and leaves 0
    and 1 where they are, so that the order of masks, and the best of them, stay what they were.

    Attributes:
        asked: the kind of prompt it is for.
        slope: above 0; 1 with a shift of 0 changes nothing.
        shift: below 0 where the network is too sure.

    Example:
        >>> IouMap("click", slope=1.0, shift=-1.0)(np.array([0.5])).round(3)
        array([0.269], dtype=float32)
    """

    asked: Asked
    slope: float
    shift: float

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"expected a slope above 0, got {self.slope}")

    def __call__(self, iou: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map predicted IoU of any shape, within 0..1, to calibrated IoU of the same shape."""
        said = np.asarray(iou, dtype=np.float64).clip(0, 1)
        inside, outside = np.exp(self.shift) * said**self.slope, (1 - said) ** self.slope
        mapped: NDArray[np.float32] = (inside / (inside + outside)).astype(np.float32)
        return mapped
