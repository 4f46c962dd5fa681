"""From a slice of 0..255 to a network's input, and from its logits back to the slice.

Preprocessing belongs to the model. LiteMedSAM: longest side to 256 (bilinear), min-max to [0, 1] of
the slice, then zeros at the right and bottom. SAM and MobileSAM: longest side to 1024, ImageNet mean
and standard deviation on 0..255, then zeros. Boxes and points are scaled by the same factor. Pixels
that are not square (slices along y or x of thick stacks) are made square on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Frame", "Preprocessing"]

_IMAGENET_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_SQUARE = 0.01  # pixels whose sides differ less than this count as square
_IMAGENET_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


@dataclass(frozen=True)
class Frame:
    """How one slice lies in the network's square input.

    Attributes:
        original: (rows, columns) of the slice.
        resized: (rows, columns) it takes in the input, from the top left.
        size: side length of the input.
        scale: factors (x, y) from pixels of the slice to pixels of the input.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    size: int
    scale: tuple[float, float]

    def scale_xy(self, xy: NDArray[np.float64]) -> NDArray[np.float32]:
        """(..., 2) x, y pixel indices of the slice -> indices of the input."""
        return (np.asarray(xy, dtype=np.float64) * self.scale).astype(np.float32)

    def restore(self, logits: Tensor) -> Tensor:
        """(N, 1, m, m) low-resolution logits -> (N, rows, columns) on the slice, bilinearly."""
        from torch.nn import functional as F

        if logits.shape[-1] != self.size:
            logits = F.interpolate(logits, size=(self.size, self.size), mode="bilinear")
        logits = logits[..., : self.resized[0], : self.resized[1]]
        return F.interpolate(logits, size=self.original, mode="bilinear")[:, 0]


@dataclass(frozen=True)
class Preprocessing:
    """The steps of one model.

    Attributes:
        size: side length of the network's square input.
        scaling: "minmax" (each slice to [0, 1]) or "imagenet" (mean and standard deviation).
    """

    size: int
    scaling: Literal["minmax", "imagenet"]

    def frame(self, rows: int, columns: int, pixel: tuple[float, float] = (1, 1)) -> Frame:
        """Where a slice of this shape lies in the input.

        Args:
            rows: of the slice.
            columns: of the slice.
            pixel: width and height of a pixel, in any unit.
        """
        x, y = pixel
        if abs(x - y) <= _SQUARE * max(x, y):
            x = y = 1.0
        factor = self.size / max(rows * y, columns * x)
        resized = (int(rows * y * factor + 0.5), int(columns * x * factor + 0.5))
        fitted = (max(1, resized[0]), max(1, resized[1]))
        return Frame((rows, columns), fitted, self.size, (x * factor, y * factor))

    def apply(
        self, slice_: NDArray[np.uint8], pixel: tuple[float, float] = (1, 1)
    ) -> tuple[NDArray[np.float32], Frame]:
        """(rows, columns[, 3]) uint8 -> (3, size, size) float32 and its frame; see `frame`."""
        from PIL import Image as PilImage

        frame = self.frame(slice_.shape[0], slice_.shape[1], pixel)
        rows, columns = frame.resized
        picture = PilImage.fromarray(slice_).resize((columns, rows), PilImage.Resampling.BILINEAR)
        values = np.asarray(picture, dtype=np.float32)
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=-1)
        if self.scaling == "minmax":
            low, high = values.min(), values.max()
            values = (values - low) / max(high - low, 1e-8)
        else:
            values = (values - _IMAGENET_MEAN) / _IMAGENET_STD
        square = np.zeros((3, self.size, self.size), dtype=np.float32)
        square[:, :rows, :columns] = values.transpose(2, 0, 1)
        return square, frame
