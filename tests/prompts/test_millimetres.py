"""Prompts in millimetres: the same place as the index prompts they stand for, on any grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from promptseg.errors import PromptError
from promptseg.formats.promptfile import read_prompt_file
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.prompts import (
    Box,
    Box3D,
    Millimetres,
    Points,
    group_by_object,
    parse_box,
    parse_box3d,
    parse_point,
    place,
)

SHAPE = (20, 30, 40)


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    angles = draw(st.tuples(*[st.floats(-40, 40)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 5)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * signs
    origin = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Geometry.from_spacing(SHAPE, spacing, origin, direction)


@given(grids(), st.sampled_from(AXES), st.data())
def test_a_click_in_mm_is_the_click_on_its_voxel(
    geometry: Geometry, axis: Axis, data: st.DataObject
) -> None:
    index = tuple(data.draw(st.integers(0, n - 1)) for n in SHAPE[::-1])
    (found,) = place(
        [Millimetres("points", (tuple(geometry.to_world(index)),), (1,))], geometry, axis
    )
    assert isinstance(found, Points)
    plane = [v for n, v in enumerate(index) if n != "xyz".index(axis)]
    assert found.slice == index["xyz".index(axis)]
    np.testing.assert_allclose(found.xy[0], plane, atol=1e-6)


@given(grids())
def test_x_and_y_on_a_named_slice_are_enough(geometry: Geometry) -> None:
    world = geometry.to_world((11, 7, 13))
    (found,) = place([Millimetres("points", (tuple(world[:2]),), (0,), 13)], geometry)
    assert isinstance(found, Points)
    assert found.slice == 13
    assert found.labels == (0,)
    np.testing.assert_allclose(found.xy[0], (11, 7), atol=1e-5)


def test_a_box_in_mm_is_the_box_in_indices() -> None:
    geometry = Geometry.from_spacing(
        SHAPE, (0.5, 0.7, 2), (10, -20, 30), [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]
    )
    low, high = geometry.to_world((4, 5, 6)), geometry.to_world((14, 25, 16))
    text = ",".join(f"{v:.6f}" for v in [*low, *high]) + "mm=node"
    (found,) = place([parse_box3d(text)], geometry)
    assert found == Box3D((4, 5, 6, 14, 25, 16), "node")
    flat = ",".join(f"{v:.6f}" for v in [*low, *geometry.to_world((14, 25, 6))]) + "mm"
    (box,) = place([parse_box(flat)], geometry)
    assert isinstance(box, Box)
    assert box.slice == 6
    np.testing.assert_allclose(box.xyxy, (4, 5, 14, 25), atol=1e-6)
    with pytest.raises(PromptError, match="two corners on one slice along z, got corners on"):
        place([parse_box(text)], geometry)


def test_clicks_on_several_slices_are_kept_apart() -> None:
    geometry = Geometry.from_spacing(SHAPE, (1, 1, 3))
    clicks = Millimetres("points", ((5, 5, 9), (6, 6, 30), (7, 7, 9.4)), (1, 1, 0), name="a")
    (entry,) = group_by_object([clicks], geometry)
    assert {p.slice: p.labels for p in entry.points} == {3: (1, 0), 10: (1,)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3mm,+=a", Millimetres("points", ((1, 2, 3),), (1,), name="a")),
        ("1,2,-3,-mm", Millimetres("points", ((1, 2, -3),), (0,))),
        ("1.5, 2 mm,+@4", Millimetres("points", ((1.5, 2),), (1,), 4)),
    ],
)
def test_the_ways_to_write_a_click_in_mm(text: str, expected: Millimetres) -> None:
    assert parse_point(text) == expected


@pytest.mark.parametrize("text", ["1,2,3,+", "1,2,3,4,5,6", "1,2,3mm", "1,mm,+"])
def test_three_coordinates_need_mm(text: str) -> None:
    with pytest.raises(PromptError, match="expected a"):
        (parse_box if text.count(",") == 5 else parse_point)(text)


def test_a_picture_without_a_pixel_size_takes_no_mm() -> None:
    with pytest.raises(PromptError, match="pixel size is known"):
        place([parse_point("1,2mm,+")], Geometry.pixels((10, 10)))


def test_a_click_outside_the_volume_is_refused() -> None:
    geometry = Geometry.from_spacing(SHAPE, (1, 1, 3))
    with pytest.raises(PromptError, match="a slice from 0 to 19"):
        place([parse_point("5,5,80mm,+")], geometry)
    with pytest.raises(PromptError, match="inside the image"):
        place([parse_point("-3,5,9mm,+")], geometry)


def test_a_prompt_file_takes_mm(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    entry = {
        "name": "a",
        "points": [{"xyz_mm": [5, 6, 9]}],
        "boxes": [{"xyxy_mm": [1, 2, 9, 8, 9, 9]}],
        "box3d_mm": [1, 2, 3, 4, 5, 6],
    }
    file.write_text(json.dumps({"objects": [entry]}))
    (parsed,) = read_prompt_file(file)
    geometry = Geometry.from_spacing(SHAPE, (1, 1, 3))
    (found,) = group_by_object(parsed.prompts, geometry)
    assert found.points[0].xy == ((5, 6),)
    assert found.points[0].slice == 3
    assert found.boxes[0].xyxy == (1, 2, 8, 9)
    assert found.boxes3d[0].bounds == (1, 2, 1, 4, 5, 2)
    entry["points"] = [{"xyz_mm": [5, 6, 9], "xy": [1, 2]}]
    file.write_text(json.dumps({"objects": [entry]}))
    with pytest.raises(PromptError, match="the field xy or xyz_mm, got xy and xyz_mm"):
        read_prompt_file(file)


def test_z_and_a_slice_contradict_each_other() -> None:
    for parse, text in ((parse_box, "0,0,5,9,9,5mm@7"), (parse_point, "0,0,5mm,+@7")):
        with pytest.raises(PromptError, match="either z in mm or a slice, got both"):
            parse(text)


def test_points_without_labels_and_boxes_without_corners_are_refused() -> None:
    for labels in ((), (1,), (1, 0, 1)):
        with pytest.raises(PromptError, match=r"one label .* per point"):
            Millimetres("points", ((1, 1, 1), (2, 2, 2)), labels)
    with pytest.raises(PromptError, match="at least one point"):
        Millimetres("points", ())
    for what in ("box", "box3d"):
        with pytest.raises(PromptError, match="two opposite corners"):
            Millimetres(what, ((1, 1, 1),))  # type: ignore[arg-type]
