"""Ticks and boxes of a shown slice lie where the array indices say, however it is flipped or turned."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from PIL import ImageDraw

from promptseg.display import draw_prompts, scales, show_slice
from promptseg.display.axes import PLANE_AXES
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import Image
from promptseg.intensity import Intensity
from promptseg.prompts import Box, Box3D

AS_IS = Intensity("unknown", "as is")
SHAPE = (9, 11, 13)
TURNS = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
TILE = (2, 1, 7, 6)


def indices_along(name: str) -> np.ndarray:
    """A volume whose value is five times the index along one axis."""
    shape = [1, 1, 1]
    shape["zyx".index(name)] = -1
    line = 5 * np.arange(SHAPE["zyx".index(name)], dtype=np.uint8)
    return np.broadcast_to(line.reshape(shape), SHAPE).copy()


@pytest.mark.parametrize("direction", TURNS, ids=lambda d: str(d.astype(int).tolist()))
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("tile", [None, TILE], ids=["whole", "tile"])
def test_a_tick_stands_at_the_voxels_of_its_index(
    direction: np.ndarray, axis: Axis, tile: tuple[int, int, int, int] | None
) -> None:
    """The picture below a tick shows what the array holds at that index."""
    geometry = Geometry.from_spacing(SHAPE, (1.0, 1.5, 2.0), direction=direction)
    blank = show_slice(Image(indices_along("x"), geometry, "MR"), AS_IS, axis, 4, 300, tile)
    across, down = scales(blank, axis)
    assert {across.name, down.name} == set(PLANE_AXES[axis])
    for scale, side in ((across, 1), (down, 0)):
        image = Image(indices_along(scale.name), geometry, "MR")
        shown = show_slice(image, AS_IS, axis, 4, 300, tile, countable=True)
        pixels = np.moveaxis(np.asarray(shown.picture)[..., 0], side, 0)
        assert len(scale.ticks) > 1
        for tick in scale.ticks:
            assert (pixels[int(tick.position)] == 5 * tick.voxel).all()
        grows = [t.voxel for t in scale.ticks]
        assert grows == sorted(grows, reverse=scale.backwards)
        if tile is not None:
            k = PLANE_AXES[axis].index(scale.name)
            assert {*grows} <= {*range(tile[k], tile[k + 2] + 1)}


@pytest.mark.parametrize("direction", TURNS, ids=lambda d: str(d.astype(int).tolist()))
@pytest.mark.parametrize("axis", AXES)
def test_a_box_is_drawn_around_the_voxels_it_names(direction: np.ndarray, axis: Axis) -> None:
    """A bright block, boxed by its array indices: the frame encloses it and nothing else."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[2:5, 3:9, 6:8] = 200
    bounds = (6, 3, 2, 7, 8, 4)  # x, y, z first and last
    geometry = Geometry.from_spacing(SHAPE, (1.0, 1.5, 2.0), direction=direction)
    image = Image(voxels, geometry, "MR")
    planar, first, _ = Box3D(bounds).on_axis(axis)
    for prompt in (Box(planar.xyxy, first, axis=axis), Box3D(bounds)):
        shown = show_slice(image, AS_IS, axis, first, 400, countable=True)
        clean = np.asarray(shown.picture)[..., 0]
        canvas = shown.picture.copy()
        draw_prompts(ImageDraw.Draw(canvas), shown, [prompt], axis, first)
        rows, columns = np.nonzero((np.asarray(canvas) == 255).all(-1))
        bright_rows, bright_columns = np.nonzero(clean == 200)
        for drawn, bright in ((rows, bright_rows), (columns, bright_columns)):
            assert drawn.min() == pytest.approx(bright.min(), abs=1)
            assert drawn.max() == pytest.approx(bright.max(), abs=1)
        other = shown.picture.copy()
        draw_prompts(ImageDraw.Draw(other), shown, [prompt], axis, first - 2)
        assert (np.asarray(other) != 255).all()
