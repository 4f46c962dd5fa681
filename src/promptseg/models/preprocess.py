"""Preprocessing: a slice of 0..255 becomes a network's input, and its logits become ones on the slice.

Preprocessing belongs to the model:

- LiteMedSAM: longest side to 256 (bilinear), min-max to [0, 1] of the slice, then zeros at the right
  and bottom.
- SAM, MobileSAM and MedicoSAM: longest side to 1024 (bilinear), ImageNet mean and standard deviation on
  0..255, then zeros.
- MedSAM: both sides to 1024 (bicubic), whatever the shape, then min-max to [0, 1].
- SAM 2: both sides to 1024 (bilinear, not rounded), whatever the shape, then ImageNet mean and standard
  deviation; MedSAM2: to 512 (bicubic, rounded).
- SAM 3: both sides to 1008 (bilinear), whatever the shape, then [0, 255] to [-1, 1].

Boxes and points are scaled with the 2D image. Where the longest side counts, pixels that are not square
(slices along y or x of thick stacks) are made square on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Fit",
    "InputTransform",
    "Preprocessing",
    "resize_bicubic",
    "resize_bilinear",
]

Fit = Literal["longest", "squash", "stretch", "stretch-cubic", "stretch-rounded"]
"""How a slice is fitted into a square; see `Preprocessing`."""

IMAGENET_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_SQUARE = 0.01  # pixels whose sides differ less than this count as square
IMAGENET_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


@dataclass(frozen=True)
class InputTransform:
    """The resize and padding that take a slice into the network's square input, and masks back.

    Attributes:
        original: (rows, columns) of the slice.
        resized: (rows, columns) it takes in the input, from the top left.
        size: side length of the input.
        scale: factors (x, y) from pixels of the slice to pixels of the input.
        fit: of the preprocessing that made it.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    size: int
    scale: tuple[float, float]
    fit: Fit = "longest"

    def scale_xy(self, xy: NDArray[np.float64]) -> NDArray[np.float32]:
        """Map pixel indices x, y on the slice, (..., 2), to indices in the input."""
        return (np.asarray(xy, dtype=np.float64) * self.scale).astype(np.float32)

    def restore(self, logits: Tensor) -> Tensor:
        """Scale low-resolution logits bilinearly to the slice.

        Args:
            logits: (N, 1, m, m).

        Returns:
            (N, rows, columns), above 0 inside: logits, or, for "squash", probabilities less 0.5, as
            MedSAM interpolates after the sigmoid and not before it. What takes up the whole input goes
            straight onto the slice.
        """
        from torch.nn import functional as F

        if self.fit == "squash":
            return F.interpolate(logits.sigmoid(), self.original, mode="bilinear")[:, 0] - 0.5
        if self.fit == "longest":
            if logits.shape[-1] != self.size:
                logits = F.interpolate(logits, size=(self.size, self.size), mode="bilinear")
            logits = logits[..., : self.resized[0], : self.resized[1]]
        return F.interpolate(logits, size=self.original, mode="bilinear")[:, 0]

    def masks(self, logits: Tensor) -> Tensor:
        """Return the masks where `restore` is above 0, computed only within the objects' own boxes.

        Args:
            logits: (N, 1, m, m).

        Returns:
            (N, rows, columns) boolean.
        """
        import torch

        values = logits[:, 0].sigmoid() - 0.5 if self.fit == "squash" else logits[:, 0]
        rows, columns = (
            _interpolation(self, axis, logits.shape[-1]).to(logits.device) for axis in (0, 1)
        )
        out = torch.zeros(len(values), *self.original, dtype=torch.bool, device=logits.device)
        for mask, value in zip(out, values, strict=True):
            positive = value > 0
            down, across = _reach(rows, positive.any(1)), _reach(columns, positive.any(0))
            if down is None or across is None:
                continue
            (top, bottom), (high, low) = down
            (left, right), (first, last) = across
            part = rows[top:bottom, high:low] @ value[high:low, first:last]
            mask[top:bottom, left:right] = part @ columns[left:right, first:last].T > 0
        return out


@lru_cache(maxsize=8)
def _interpolation(transform: InputTransform, axis: int, side: int) -> Tensor:
    """Give `InputTransform.restore` along one axis as a matrix, (original, side)."""
    import torch
    from torch.nn import functional as F

    def resize(x: Tensor, length: int) -> Tensor:
        return F.interpolate(x, size=(length, side), mode="bilinear")

    matrix = torch.eye(side)[None, None]
    if transform.fit == "longest":
        if side != transform.size:
            matrix = resize(matrix, transform.size)
        matrix = matrix[..., : transform.resized[axis], :]
    return resize(matrix, transform.original[axis])[0, 0]


def _reach(matrix: Tensor, positive: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The outputs that positive inputs reach, and the inputs that those take in; ends excluded.

    None if there are none: what lies in the padding reaches no pixel.
    """
    outputs = (matrix[:, positive] > 0).any(1).nonzero()
    if not len(outputs):
        return None
    first, last = int(outputs[0]), int(outputs[-1]) + 1
    inputs = (matrix[first:last] > 0).any(0).nonzero()
    return (first, last), (int(inputs[0]), int(inputs[-1]) + 1)


@dataclass(frozen=True)
class Preprocessing:
    """The steps of one model.

    Attributes:
        size: side length of the network's square input.
        scaling: "minmax" (each slice to [0, 1]), "imagenet" (mean and standard deviation) or "halves"
            (0..255 to [-1, 1]).
        fit: "longest" (longest side to `size`, then padding) or both sides to `size`: "squash" as
            MedSAM does it, "stretch" as SAM 2 does with 2D images, "stretch-cubic" as MedSAM2 with
            frames, "stretch-rounded" as SAM 3.
    """

    size: int
    scaling: Literal["minmax", "imagenet", "halves"]
    fit: Fit = "longest"

    def input_transform(
        self, rows: int, columns: int, pixel: tuple[float, float] = (1, 1)
    ) -> InputTransform:
        """Return the transform that takes a slice of this shape into the input.

        Args:
            rows: of the slice.
            columns: of the slice.
            pixel: width and height of a pixel, in any unit; of matter for "longest" alone.
        """
        if self.fit != "longest":
            scale = (self.size / columns, self.size / rows)
            return InputTransform(
                (rows, columns), (self.size, self.size), self.size, scale, self.fit
            )
        x, y = pixel
        if abs(x - y) <= _SQUARE * max(x, y):
            x = y = 1.0
        factor = self.size / max(rows * y, columns * x)
        resized = (int(rows * y * factor + 0.5), int(columns * x * factor + 0.5))
        fitted = (max(1, resized[0]), max(1, resized[1]))
        scale = (x * factor, y * factor)
        if self.scaling == "imagenet":  # SAM's prompts go by the rounded size
            scale = (fitted[1] / columns, fitted[0] / rows)
        return InputTransform((rows, columns), fitted, self.size, scale)

    def apply(
        self, slice_: NDArray[np.uint8], pixel: tuple[float, float] = (1, 1)
    ) -> tuple[NDArray[np.float32], InputTransform]:
        """Turn a slice, (rows, columns[, 3]) uint8, into (3, size, size) float32; also give its
        transform.
        """
        transform = self.input_transform(slice_.shape[0], slice_.shape[1], pixel)
        rows, columns = transform.resized
        values = _RESIZE[self.fit](slice_, rows, columns).astype(np.float32)
        if values.ndim == 2:
            values = values[..., None]
        if self.scaling == "minmax":
            low, high = values.min(), values.max()
            values = (values - low) / max(high - low, 1e-8)
        elif self.scaling == "halves":
            values = values / 127.5 - 1
        else:
            values = (values - IMAGENET_MEAN) / IMAGENET_STD
        square = np.zeros((3, self.size, self.size), dtype=np.float32)
        square[:, :rows, :columns] = values.transpose(2, 0, 1)  # gray for all three
        return square, transform


def resize_bicubic(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Scale a picture with cubic splines after a Gaussian against aliasing; values are cut down to
    integers.

    What MedSAM's code does with scikit-image: `resize(order=3, anti_aliasing=True)`, then `uint8`.

    Args:
        picture: (r, c) or (r, c, channels).
        rows: wanted.
        columns: wanted.
    """
    from scipy import ndimage

    low, high = picture.min(), picture.max()
    factors = np.array(picture.shape[:2]) / (rows, columns)
    blur = np.maximum(0, (factors - 1) / 2)
    channels = []
    for channel in np.moveaxis(np.atleast_3d(picture).astype(np.float64), -1, 0):
        smooth = ndimage.gaussian_filter(channel, blur, mode="mirror")
        fine = ndimage.zoom(smooth, 1 / factors, order=3, mode="mirror", grid_mode=True)
        channels.append(fine.clip(low, high).astype(np.uint8))
    return np.stack(channels, axis=-1) if picture.ndim == 3 else channels[0]


def resize_bilinear(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Scale (r, c[, 3]) to (rows, columns[, 3]) bilinearly with Pillow, as the models were trained."""
    from PIL import Image as PilImage

    image = PilImage.fromarray(picture)
    return np.array(image.resize((columns, rows), PilImage.Resampling.BILINEAR))


def resize_pillow_cubic(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Scale (r, c[, 3]) to (rows, columns[, 3]) with Pillow's bicubic filter, as SAM 2 reads frames."""
    from PIL import Image as PilImage

    image = PilImage.fromarray(picture)
    return np.array(image.resize((columns, rows), PilImage.Resampling.BICUBIC))


def resize_unrounded(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """Scale (r, c[, 3]) to (rows, columns[, 3]): bilinear, antialiased, as torchvision with tensors."""
    from PIL import Image as PilImage

    channels = [
        np.array(
            PilImage.fromarray(channel.astype(np.float32)).resize(
                (columns, rows), PilImage.Resampling.BILINEAR
            )
        )
        for channel in np.moveaxis(np.atleast_3d(picture), -1, 0)
    ]
    return np.stack(channels, axis=-1) if picture.ndim == 3 else channels[0]


_RESIZE: dict[Fit, Callable[[NDArray[np.uint8], int, int], NDArray[Any]]] = {
    "longest": resize_bilinear,
    "squash": resize_bicubic,
    "stretch": resize_unrounded,
    "stretch-cubic": resize_pillow_cubic,
    "stretch-rounded": resize_bilinear,
}
