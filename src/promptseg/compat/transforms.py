"""Transforms of images and coordinates into the network's frame, as SAM and as MedSAM do it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.models.preprocess import resize_bicubic, resize_bilinear

__all__ = ["ResizeLongestSide", "ResizeSquare"]


class ResizeLongestSide:
    """SAM: the longest side to `target_length`, the other with it, bilinearly.

    Args:
        target_length: in pixels.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map (H, W, 3) uint8 to (h, w, 3) uint8."""
        return resize_bilinear(image, *self._size(image.shape[:2]))

    def apply_coords(
        self, coords: NDArray[np.generic], original_size: Sequence[int]
    ) -> NDArray[np.float64]:
        """Map (..., 2) x, y of an image of H, W to those of the resized one."""
        return np.asarray(coords, dtype=np.float64) * self._factors(original_size)

    def apply_boxes(
        self, boxes: NDArray[np.generic], original_size: Sequence[int]
    ) -> NDArray[np.float64]:
        """Map (B, 4) XYXY of an image of H, W to those of the resized one."""
        return self.apply_coords(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) float to (B, 3, h, w), nearly as `apply_image`, which the networks expect.

        The official method takes the size from the first two axes, B and 3; this one from H and W.
        """
        size = self._size(image.shape[-2:])
        return F.interpolate(image, size, mode="bilinear", antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Sequence[int]) -> Tensor:
        """Map (..., 2) x, y of an image of H, W to those of the resized one, float32."""
        coords = coords.float()
        return coords * coords.new_tensor(self._factors(original_size))

    def apply_boxes_torch(self, boxes: Tensor, original_size: Sequence[int]) -> Tensor:
        """Map (B, 4) XYXY of an image of H, W to those of the resized one, float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Return the rows and columns of the resized image."""
        scale = long_side_length / max(oldh, oldw)
        return int(oldh * scale + 0.5), int(oldw * scale + 0.5)

    def _size(self, original: Sequence[int]) -> tuple[int, int]:
        return self.get_preprocess_shape(original[0], original[1], self.target_length)

    def _factors(self, original: Sequence[int]) -> tuple[float, float]:
        """What x and y are multiplied by."""
        rows, columns = self._size(original)
        return columns / original[1], rows / original[0]


class ResizeSquare(ResizeLongestSide):
    """MedSAM: both sides to `target_length`, whatever the shape, bicubically."""

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map (H, W, 3) uint8 to (target_length, target_length, 3) uint8."""
        return resize_bicubic(image, *self._size(image.shape[:2]))

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) float to (B, 3, target_length, target_length), nearly as `apply_image`."""
        size = self._size(image.shape[-2:])
        return F.interpolate(image, size, mode="bicubic", antialias=True)

    def _size(self, original: Sequence[int]) -> tuple[int, int]:
        return self.target_length, self.target_length
