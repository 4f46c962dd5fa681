"""Masks, boxes and crops in automatic mask generation: small functions, no network."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = [
    "CropBox",
    "coco_rle",
    "crop_boxes",
    "mask_boxes",
    "mask_of_rle",
    "non_maximum_suppression",
    "point_grid",
    "rle_of_mask",
    "stability",
    "without_small_regions",
]

CropBox = tuple[int, int, int, int]


def point_grid(side: int) -> NDArray[np.float64]:
    """Return (side * side, 2) x, y in [0, 1]: the centres of equal cells, row by row."""
    centres = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def crop_boxes(
    size: tuple[int, int], layers: int, overlap_ratio: float
) -> list[tuple[CropBox, int]]:
    """Return the whole image, then 2 x 2 crops, 4 x 4 and so on, each layer overlapping less.

    Args:
        size: (H, W).
        layers: of crops, beside the whole image.
        overlap_ratio: overlap in the first layer, as a fraction of the shorter side.

    Returns:
        XYXY (ends outside) and layer of each, the whole image being layer 0.
    """
    height, width = size
    boxes: list[tuple[CropBox, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / count)
        w, h = (ceil((overlap * (count - 1) + length) / count) for length in (width, height))
        for column, row in product(range(count), repeat=2):
            x, y = (w - overlap) * column, (h - overlap) * row
            boxes.append(((x, y, min(x + w, width), min(y + h, height)), layer))
    return boxes


def stability(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """Compute the IoU (N,) of (N, H, W) mask logits cut at `threshold` plus and minus `offset`."""
    inner = (logits > threshold + offset).sum((-1, -2))
    return inner / (logits > threshold - offset).sum((-1, -2))


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the XYXY boxes (N, 4) of (N, H, W) masks, both ends inside; zeros for an empty mask."""
    rows, columns = masks.any(-1).int(), masks.any(-2).int()
    first = [line.argmax(-1) for line in (columns, rows)]
    last = [line.shape[-1] - 1 - line.flip(-1).argmax(-1) for line in (columns, rows)]
    return torch.stack([*first, *last], dim=-1) * rows.amax(-1, keepdim=True)


def non_maximum_suppression(
    boxes: NDArray[np.generic], scores: NDArray[np.generic], threshold: float
) -> list[int]:
    """Choose the best of boxes that overlap.

    Args:
        boxes: (N, 4) XYXY.
        scores: (N,); among equals, the first goes first.
        threshold: IoU above which the worse of two boxes goes.

    Returns:
        Indices of the boxes that stay, best first.
    """
    corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    waiting = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[waiting, :2])
        high = np.minimum(corners[best, 2:], corners[waiting, 2:])
        both = np.prod((high - low).clip(min=0), axis=1)
        union = area[best] + area[waiting] - both
        waiting = waiting[both <= threshold * union]
    return kept


def rle_of_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Convert a (H, W) mask to COCO's uncompressed run lengths: column by column, outside first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def mask_of_rle(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """Convert uncompressed run lengths to a (H, W) mask."""
    height, width = rle["size"]
    inside = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(inside, rle["counts"]).reshape(width, height).T


def coco_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """Convert uncompressed run lengths to COCO's compressed ones, as pycocotools writes them.

    From the fourth on, a count is stored as its difference to the one before the last, in groups of
    five bits, lowest first; the sixth bit says that more follow, and 48 makes it a printable character.
    """
    text = []
    counts = rle["counts"]
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return {"size": rle["size"], "counts": "".join(text)}


def without_small_regions(mask: NDArray[np.bool_], area: float) -> tuple[NDArray[np.bool_], bool]:
    """Fill holes, then drop islands, of fewer than `area` pixels; the largest island always stays.

    Args:
        mask: (H, W).
        area: in pixels.

    Returns:
        The mask, and whether it has changed.
    """
    regions, sizes = _regions(~mask)
    holes = np.flatnonzero(sizes < area) + 1
    filled = mask | np.isin(regions, holes)
    regions, sizes = _regions(filled)
    large = np.flatnonzero(sizes >= area) + 1
    if len(large) == len(sizes):
        return filled, len(holes) > 0
    if not len(large):
        large = np.array([sizes.argmax() + 1])
    return np.isin(regions, large), True


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbered regions (neighbours over corners too), and the area of each."""
    regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return regions, np.bincount(regions.ravel(), minlength=count + 1)[1:]
