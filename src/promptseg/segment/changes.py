"""Changes made by a correction: which slices of each object, and its size before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptseg.geometry import Axis, axis_position
from promptseg.image import Segment, Segmentation

__all__ = ["Change", "changes", "runs_of"]


@dataclass(frozen=True)
class Change:
    """Difference of one object from what it was.

    Attributes:
        name: of the object.
        slices: indices of the slices that differ, in order; 0 for a 2D image.
        before: its size before, in `unit`.
        after: its size now.
        unit: `ml` in volumes with millimetres, `voxels` or `pixels` elsewhere.

    Examples:
        >>> from promptseg.segment.changes import Change
        >>> print(Change("liver", (18, 19, 20, 25), 12.55, 11.25, "ml"))
        liver: slices 18 to 20, 25 changed, 12.55 -> 11.25 ml
    """

    name: str
    slices: tuple[int, ...]
    before: float
    after: float
    unit: str

    def __str__(self) -> str:
        digits = 2 if self.unit == "ml" else 0
        sizes = f"{self.before:.{digits}f} -> {self.after:.{digits}f} {self.unit}"
        if self.unit == "pixels":
            return f"{self.name}: {sizes}"
        one = "slice" if len(self.slices) == 1 else "slices"
        return f"{self.name}: {one} {runs_of(self.slices)} changed, {sizes}"


def changes(before: Segmentation, after: Segmentation, axis: Axis = "z") -> list[Change]:
    """Compare objects before and after a correction; return how those that differ do, in the order of
    `after`.

    Args:
        before: the objects that were corrected.
        after: the same objects on the same grid.
        axis: along which slices are counted.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Geometry, Segment, Segmentation
        >>> grid = Geometry.from_spacing((4, 10, 10), (1.0, 1.0, 1.0))
        >>> old, new = np.zeros((2, 4, 10, 10), bool)
        >>> old[1:3, 2:7, 2:7], new[1:4, 2:7, 2:7] = True, True
        >>> made = [Segmentation([Segment.from_mask("cyst", 1, m)], grid) for m in (old, new)]
        >>> [str(change) for change in changes(*made)]
        ['cyst: slice 3 changed, 0.05 -> 0.07 ml']
    """
    geometry = after.geometry
    earlier = {segment.name: segment for segment in before.segments}
    in_space = geometry.ndim == 3 and geometry.unit == "mm"
    unit = "ml" if in_space else "voxels" if geometry.ndim == 3 else "pixels"
    scale = geometry.voxel_volume / 1000 if in_space else 1.0
    found = []
    for new in after.segments:
        old = earlier.get(new.name)
        if old is not None and (slices := _differing(old, new, after, axis)):
            was, now = (float(segment.crop.sum()) * scale for segment in (old, new))
            found.append(Change(new.name, slices, was, now, unit))
    return found


def runs_of(indices: Sequence[int]) -> str:
    """Format sorted indices as `18 to 20, 25`.

    Examples:
        >>> runs_of([18, 19, 20, 25])
        '18 to 20, 25'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)


def _differing(old: Segment, new: Segment, where: Segmentation, axis: Axis) -> tuple[int, ...]:
    if old.region == new.region and np.array_equal(old.crop, new.crop):
        return ()
    geometry, along = where.geometry, axis_position(axis)
    if geometry.ndim == 2:
        return (0,)
    ends = [s.region[along] for s in (old, new) if not s.is_empty]
    reach = range(min(e.start for e in ends), max(e.stop for e in ends)) if ends else range(0)
    return tuple(
        k
        for k in reach
        if not np.array_equal(old.on_slice(k, geometry, axis), new.on_slice(k, geometry, axis))
    )
