"""What a correction changed: slices and sizes, against masks that were altered by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptseg import Geometry, Segment, Segmentation
from promptseg.segment.changes import changes

SHAPE = (6, 20, 30)


def segmentation(geometry: Geometry, **masks: NDArray[np.bool_]) -> Segmentation:
    named = enumerate(masks.items(), 1)
    return Segmentation([Segment.from_mask(name, k, mask) for k, (name, mask) in named], geometry)


def test_slices_that_differ_are_named_along_any_axis() -> None:
    grid = Geometry.from_spacing(SHAPE, (2.0, 1.0, 5.0))  # 10 mm3
    old, other = np.zeros((2, *SHAPE), bool)
    old[1:4, 5:15, 10:20] = True
    other[0, 2, 2] = True
    new = old.copy()
    new[2, 5:15, 10] = False  # 10 voxels gone
    new[5, 7, 25] = True  # one that is new
    before = segmentation(grid, cyst=old, spot=other)
    after = segmentation(grid, cyst=new, spot=other.copy())
    (one,) = changes(before, after)
    assert (one.name, one.slices) == ("cyst", (2, 5))
    assert str(one) == "cyst: slices 2, 5 changed, 3.00 -> 2.91 ml"
    (across,) = changes(before, after, "x")
    assert across.slices == (10, 25)


def test_an_object_that_vanishes_or_appears_is_a_change() -> None:
    grid = Geometry.pixels(SHAPE)
    full, empty = np.zeros((2, *SHAPE), bool)
    full[3:5, 0, 0] = True
    gone = changes(segmentation(grid, a=full), segmentation(grid, a=empty))
    assert [str(c) for c in gone] == ["a: slices 3 to 4 changed, 2 -> 0 voxels"]
    assert changes(segmentation(grid, a=empty), segmentation(grid, a=full))[0].slices == (3, 4)
    assert changes(segmentation(grid, a=full), segmentation(grid, a=full.copy())) == []


def test_a_2d_image_has_sizes_alone() -> None:
    grid = Geometry.pixels((20, 30))
    old = np.zeros((20, 30), bool)
    old[2:4, 2:4] = True
    new = old.copy()
    new[2, 2] = False
    (one,) = changes(segmentation(grid, nevus=old), segmentation(grid, nevus=new))
    assert str(one) == "nevus: 4 -> 3 pixels"
