"""Contours -> slices: an object is placed as a whole, not contour by contour.

Contours are drawn on planes, and the planes of one drawing keep their distances. Where most of them lie
equally far from the slices, all are moved by that much, so that an object drawn half a slice beside
the slices covers neighbouring ones, as it was drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.image.between import masks_between

__all__ = ["Contour", "Placement", "interpolated", "offset_of", "placed"]

_ALIKE = 0.1  # of the slice distance: planes that are the same slice of a drawing
_SAME_PLANE = 0.02  # mm
_MOST = 0.5  # of the planes that have to agree on an offset
_DENSE = 1.5  # planes per slice: drawn more finely than the image


class Contour(NamedTuple):
    """One closed contour.

    Attributes:
        depth: its plane, in slices of the image.
        polygon: (n, 2) x, y in pixels.
    """

    depth: float
    polygon: NDArray[np.float64]


@dataclass
class Placement:
    """The contours of one object by slice.

    Attributes:
        on: slice -> polygons that lie on it.
        outside: contours above or below the image.
        between: contours that lie between those of two slices, left out.
        doubled: contours that are there twice, left out.
        beside: how far, in slices, the contours of a slice lie from it at most.
        apart: distance of neighbouring planes, in slices; the median; 0 where there is one.
    """

    on: dict[int, list[NDArray[np.float64]]] = field(default_factory=lambda: defaultdict(list))
    outside: int = 0
    between: int = 0
    doubled: int = 0
    beside: float = 0.0
    apart: float = 0.0

    def missing(self) -> list[int]:
        """Return the slices between the first and the last one that have no contour."""
        return [k for k in range(min(self.on), max(self.on)) if k not in self.on] if self.on else []


def planes_of(contours: Iterable[Contour], step: float) -> NDArray[np.float64]:
    """Return the depths of the planes that contours lie on, ascending; those within 0.02 mm are one."""
    depths = np.sort([contour.depth for contour in contours])
    if not len(depths):
        return depths
    new = np.concatenate([[True], np.diff(depths) * step > _SAME_PLANE])
    return np.asarray(depths[new])


def offset_of(planes: NDArray[np.float64]) -> float:
    """Measure how far most planes lie beside the slices, from -0.5 to 0.5 slices; 0 if they disagree.

    Args:
        planes: depths in slices.
    """
    if not len(planes):
        return 0.0
    beside = np.sort(planes - np.round(planes))
    around = np.concatenate([beside - 1, beside, beside + 1])
    tried = np.unique(np.append(beside, 0.0))
    counts = np.searchsorted(around, tried + _ALIKE, "right") - np.searchsorted(
        around, tried - _ALIKE
    )
    if counts.max() < _MOST * len(planes):
        return 0.0
    most = tried[counts == counts.max()]
    centre = float(most[np.abs(most).argmin()])
    from_centre = _wrapped(beside - centre)
    centre += float(from_centre[np.abs(from_centre) <= _ALIKE].mean())
    return centre - math.ceil(centre - 0.5)


def placed(contours: Sequence[Contour], count: int, step: float, common: float) -> Placement:
    """Put the contours of one object on slices.

    Args:
        contours: of one object.
        count: number of slices of the image.
        step: distance of the slices in mm.
        common: `offset_of` all objects of the file, which counts if it fits this one.
    """
    found = Placement()
    planes = planes_of(contours, step)
    if not len(planes):
        return found
    fits = (np.abs(_wrapped(planes - common)) <= _ALIKE).mean() >= _MOST
    offset = common if fits else offset_of(planes)
    if len(planes) > 1:
        found.apart = float(np.median(np.diff(planes)))
    dense = len(planes) > _DENSE * len({_slice(p, offset) for p in planes.tolist()})
    near: dict[int, list[Contour]] = defaultdict(list)
    for contour in contours:
        k = _slice(contour.depth, offset)
        if 0 <= k < count:
            near[k].append(contour)
        else:
            found.outside += 1
    for k, those in near.items():
        nearest = min((c.depth - k - offset for c in those), key=abs)
        seen: set[bytes] = set()
        for contour in those:
            off = contour.depth - k - offset
            alike = not dense and max(abs(off), abs(nearest)) <= _ALIKE
            if not alike and abs(off - nearest) * step > _SAME_PLANE:
                found.between += 1
            elif (key := np.round(contour.polygon, 4).tobytes()) in seen:
                found.doubled += 1
            else:
                seen.add(key)
                found.on[k].append(contour.polygon)
        found.beside = max(found.beside, abs(nearest + offset))
    return found


def interpolated(mask: NDArray[np.bool_], apart: float, step: tuple[float, float]) -> list[int]:
    """Fill the slices between contours drawn on every second or third slice, in place.

    They are filled as by `masks_between`. Larger gaps than those of the drawing stay.

    Args:
        mask: (z, y, x) of the object.
        apart: distance of neighbouring planes of the drawing, in slices.
        step: size of a pixel (y, x).

    Returns:
        The slices that were filled.
    """
    filled: list[int] = []
    drawn = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    for low, high in pairwise(drawn):
        if not 1 < high - low <= math.ceil(apart - _ALIKE):
            continue
        between = range(low + 1, high)
        mask[low + 1 : high] = masks_between(mask[low], mask[high], len(between), step)
        filled += between
    return filled


def _slice(depth: float, offset: float) -> int:
    return math.floor(depth - offset + 0.5)


def _wrapped(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances along slices, from -0.5 to 0.5."""
    return np.asarray(distance - np.round(distance))
