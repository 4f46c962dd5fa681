"""Objects of a word, taken apart out of its mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["boxes_of", "objects_of"]

_DEEP = 0.5
_FEWEST = 6  # pixels of the grid of masks

XYXY = tuple[float, float, float, float]


def objects_of(
    logits: NDArray[np.float32], depth: NDArray[np.float32], several: bool
) -> list[NDArray[np.bool_]]:
    """Split the mask of a word into its objects.

    Several that touch are told apart by what lies deep in each: a pixel belongs to the nearest such
    place.

    Args:
        logits: (h, w) of the mask.
        depth: (h, w) 0..1 how deep in its object a pixel lies.
        several: else all of it is one.

    Returns:
        (h, w) masks, none of a few pixels; none where there is nothing.
    """
    from scipy import ndimage

    mask = logits > 0
    if not several:
        return [mask] if mask.sum() >= _FEWEST else []
    seeds, count = ndimage.label(mask & (depth > _DEEP))
    parts, _ = ndimage.label(mask)
    with_seed = np.unique(parts[seeds > 0])
    lone = mask & ~np.isin(parts, with_seed)
    more, _ = ndimage.label(lone)
    seeds[lone] = more[lone] + count
    if not seeds.any():
        return []
    _, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    joined = np.where(mask, seeds[tuple(nearest)], 0)
    sizes = np.bincount(joined.ravel())
    return [joined == n for n in range(1, len(sizes)) if sizes[n] >= _FEWEST]


def boxes_of(masks: NDArray[np.bool_]) -> list[XYXY | None]:
    """Return the box around each of (N, rows, columns) masks, XYXY, both ends inside; None for an empty
    mask.
    """
    found: list[XYXY | None] = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found.append(
            (float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
            if len(rows)
            else None
        )
    return found
