"""Prompts: how they are written, checked and gathered into objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts import (
    Box,
    Box3D,
    ObjectPrompts,
    Points,
    Prompt,
    box_of_mask,
    group_by_object,
    parse_box,
    parse_box3d,
    parse_point,
    place,
)

VOLUME = Geometry.from_spacing((10, 20, 30))
PICTURE = Geometry.pixels((20, 30))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3,4", Box((1, 2, 3, 4))),
        ("1, 2, 3, 4", Box((1, 2, 3, 4))),
        ("1,2,3,4@5", Box((1, 2, 3, 4), 5)),
        ("1,2,3,4=left kidney", Box((1, 2, 3, 4), None, "left kidney")),
        ("1,2,3,4@5=a=b@7", Box((1, 2, 3, 4), 5, "a=b@7")),
        ("0.5,.5,1e1,+20.", Box((0.5, 0.5, 10, 20))),
        ("-1,2,3,4", Box((-1, 2, 3, 4))),
    ],
)
def test_boxes_are_read(text: str, expected: Box) -> None:
    assert parse_box(text) == expected


def test_prompts_take_the_axis_of_the_run_unless_they_have_their_own() -> None:
    (run,) = group_by_object([Box((1, 1, 2, 2), 1, "a")], VOLUME, "y")
    assert run.boxes[0].axis == "y"
    (own,) = group_by_object([Box((1, 1, 2, 2), 1, "a", "x")], VOLUME, "y")
    assert own.boxes[0].axis == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,+", Points(((1, 2),), (1,))),
        ("1,2,-@3", Points(((1, 2),), (0,), 3)),
        ("1.5,2,+@3=cyst", Points(((1.5, 2),), (1,), 3, "cyst")),
        ("-1,-2,-=x", Points(((-1, -2),), (0,), None, "x")),
    ],
)
def test_points_are_read(text: str, expected: Points) -> None:
    assert parse_point(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3,4,5,6", Box3D((1, 2, 3, 4, 5, 6))),
        ("1,2,3,4,5,6=node 3", Box3D((1, 2, 3, 4, 5, 6), "node 3")),
    ],
)
def test_boxes_in_volumes_are_read(text: str, expected: Box3D) -> None:
    assert parse_box3d(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_box, ""),
        (parse_box, "1,2,3"),
        (parse_box, "1,2,3,4,5"),
        (parse_box, "1,2,3,x"),
        (parse_box, "1;2;3;4"),
        (parse_box, "1,2,3,4@"),
        (parse_box, "1,2,3,4@1.5"),
        (parse_box, "1,2,3,4="),
        (parse_box, "nan,2,3,4"),
        (parse_box, "inf,2,3,4"),
        (parse_box, "1,2,3,1e999"),
        (parse_point, "1,2"),
        (parse_point, "1,2,3"),
        (parse_point, "1,2,?"),
        (parse_box3d, "1,2,3,4"),
        (parse_box3d, "1,2,3,4,5,6@3"),
    ],
)
def test_other_texts_are_refused(parse: Callable[[str], Prompt], text: str) -> None:
    with pytest.raises(PromptError, match=r"^expected "):
        parse(text)


@pytest.mark.parametrize("xyxy", [(5, 2, 4, 3), (5, 4, 6, 3)])
def test_inverted_boxes_are_refused(xyxy: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match="smaller corner first"):
        Box(xyxy)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", range(3))
def test_inverted_boxes_in_volumes_are_refused(k: int) -> None:
    bounds = [1.0, 1, 1, 5, 5, 5]
    bounds[k] = 6
    with pytest.raises(PromptError, match="smaller corner first"):
        Box3D(tuple(bounds))  # type: ignore[arg-type]


HUGE = 10**400


@pytest.mark.parametrize(
    "values",
    [(1, 2, 3), (1, 2, 3, np.nan), (1, 2, 3, np.inf), (1, 2, 3, None), "abcd", 7, (0, 0, 1, HUGE)],
)
def test_boxes_of_something_else_are_refused(values: Any) -> None:
    with pytest.raises(PromptError, match=r"^expected a box of 4 numbers"):
        Box(values)


@pytest.mark.parametrize(
    ("xy", "labels"),
    [
        ((), ()),
        (((1, 2),), ()),
        (((1, 2),), (1, 0)),
        (((1, 2),), (2,)),
        (((1, 2, 3),), (1,)),
        (((1, np.nan),), (1,)),
        (((1, 2),), ("x",)),
        (((1, 2),), (None,)),
        (((1, 2),), (0.7,)),
    ],
)
def test_points_of_something_else_are_refused(xy: Any, labels: Any) -> None:
    with pytest.raises(PromptError, match=r"^expected "):
        Points(xy, labels)


def test_a_box_holds_both_of_its_ends() -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:7, 10:12] = True
    assert box_of_mask(mask) == (10, 3, 11, 6)
    single = np.zeros((20, 30), bool)
    single[4, 5] = True
    assert box_of_mask(single) == (5, 4, 5, 4)
    assert Box((5, 4, 5, 4)).check(PICTURE).xyxy == (5, 4, 5, 4)
    assert box_of_mask(np.zeros((3, 3), bool)) is None


def test_the_whole_image_is_a_box_inside_it() -> None:
    assert Box((0, 0, 29, 19)).check(PICTURE).slice == 0
    assert Box3D((0, 0, 0, 29, 19, 9)).check(VOLUME)


@pytest.mark.parametrize("xyxy", [(-1, 0, 5, 5), (0, -0.5, 5, 5), (0, 0, 30, 5), (0, 0, 5, 20)])
def test_boxes_outside_the_picture_are_refused(xyxy: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match=r"inside the image \(x 0\.\.29, y 0\.\.19\)"):
        Box(xyxy).check(PICTURE)  # type: ignore[arg-type]


@pytest.mark.parametrize("xy", [(-1, 0), (30, 0), (0, 20)])
def test_points_outside_the_picture_are_refused(xy: tuple[float, float]) -> None:
    with pytest.raises(PromptError, match="inside the image"):
        Points((xy,), (1,)).check(PICTURE)


@pytest.mark.parametrize(
    "bounds", [(-1, 0, 0, 5, 5, 5), (0, 0, 0, 30, 5, 5), (0, 0, 0, 5, 20, 5), (0, 0, 0, 5, 5, 10)]
)
def test_boxes_outside_the_volume_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match="inside the volume"):
        Box3D(bounds).check(VOLUME)  # type: ignore[arg-type]


def test_a_box_in_a_volume_needs_a_volume() -> None:
    with pytest.raises(PromptError, match="a volume for a 3D box"):
        Box3D((0, 0, 0, 1, 1, 1)).check(PICTURE)


@pytest.mark.parametrize(("axis", "count"), [("z", 10), ("y", 20), ("x", 30)])
def test_slices_are_checked_along_their_axis(axis: Axis, count: int) -> None:
    assert Box((0, 0, 1, 1), count - 1, axis=axis).check(VOLUME).slice == count - 1
    for wrong in (-1, count):
        with pytest.raises(PromptError, match=f"a slice from 0 to {count - 1} along {axis}"):
            Box((0, 0, 1, 1), wrong, axis=axis).check(VOLUME)
        with pytest.raises(PromptError, match=f"a slice from 0 to {count - 1} along {axis}"):
            Points(((0, 0),), (1,), wrong, axis=axis).check(VOLUME)


@pytest.mark.parametrize(
    ("axis", "inside", "outside"),
    [
        ("z", (0, 0, 29, 19), (0, 0, 19, 20)),
        ("y", (0, 0, 29, 9), (0, 0, 29, 10)),
        ("x", (0, 0, 19, 9), (0, 0, 20, 9)),
    ],
)
def test_coordinates_are_checked_on_the_slices_of_their_axis(
    axis: Axis, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert Box(inside, 3, axis=axis).check(VOLUME).xyxy == inside  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="inside the image"):
        Box(outside, 3, axis=axis).check(VOLUME)  # type: ignore[arg-type]


def test_a_volume_needs_a_slice_unless_it_has_one() -> None:
    with pytest.raises(PromptError, match="with N from 0 to 9"):
        Box((0, 0, 1, 1)).check(VOLUME)
    thin = Geometry.from_spacing((1, 20, 30))
    assert Box((0, 0, 1, 1)).check(thin).slice == 0


def test_slices_are_whole_numbers() -> None:
    with pytest.raises(PromptError, match=r"^expected "):
        Box((0, 0, 1, 1), 1.5).check(VOLUME)  # type: ignore[arg-type]


def test_numbers_from_numpy_become_json() -> None:
    box = Box(tuple(np.array([1, 2, 3, 4])), np.int64(3), "a")  # type: ignore[arg-type]
    points = Points(np.array([[1, 2]]), np.array([1]), np.int64(3), "a")  # type: ignore[arg-type]
    (group,) = group_by_object([box, points], VOLUME)
    (entry,) = group.to_json()
    assert json.loads(json.dumps(entry)) == {
        "name": "a",
        "boxes": [{"xyxy": [1, 2, 3, 4], "slice": 3}],
        "points": [{"xy": [1, 2], "slice": 3, "label": 1}],
    }


def test_every_3d_box_of_an_object_is_kept() -> None:
    boxes = [Box3D((1, 1, 1, 2, 2, 2), "a"), Box3D((3, 3, 3, 4, 4, 4), "a")]
    (group,) = group_by_object(boxes, VOLUME)
    assert [e["box3d"] for e in group.to_json()] == [[1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]]
    assert {e["name"] for e in group.to_json()} == {"a"}


@pytest.mark.parametrize(
    ("axis", "xyxy", "middle", "first", "last"),
    [
        ("z", (1, 2, 11, 14), 5, 3, 8),
        ("y", (1, 3, 11, 8), 8, 2, 14),
        ("x", (2, 3, 14, 8), 6, 1, 11),
    ],
)
def test_a_3d_box_cut_along_each_axis(
    axis: Axis, xyxy: tuple[float, ...], middle: int, first: int, last: int
) -> None:
    box, low, high = Box3D((1, 2, 3, 11, 14, 8), "node").on_axis(axis)
    assert box == Box(xyxy, middle, "node", axis)  # type: ignore[arg-type]
    assert (low, high) == (first, last)
    assert box.check(VOLUME) == box


def names(*prompts: Prompt, geometry: Geometry = VOLUME) -> list[str]:
    return [o.name for o in group_by_object(prompts, geometry)]


def box(name: str | None = None, index: int = 2) -> Box:
    return Box((1, 2, 3, 4), index, name)


def point(name: str | None = None, label: int = 1) -> Points:
    return Points(((1, 2),), (label,), 2, name)


def test_prompts_of_one_name_are_one_object() -> None:
    objects = group_by_object(
        [box("b"), point("a"), box("b", 4), point("b", 0), Box3D((0, 0, 0, 1, 1, 1), "a")], VOLUME
    )
    b1, b2, p1, p2 = (p.check(VOLUME) for p in (box("b"), box("b", 4), point("b", 0), point("a")))
    assert objects == [
        ObjectPrompts("b", [b1, b2], [], [p1]),
        ObjectPrompts("a", [], [Box3D((0, 0, 0, 1, 1, 1), "a")], [p2]),
    ]
    assert objects[0].kinds == {"box", "point"}
    assert objects[0].planar == [b1, b2, p1]


def test_unnamed_boxes_are_objects_of_their_own() -> None:
    assert names(box(), box(), box("liver")) == ["object", "object 2", "liver"]
    assert names(box("object"), box()) == ["object", "object 2"]


def test_everything_unnamed_is_one_object_once_there_are_unnamed_clicks() -> None:
    assert names(box(), point(), point(None, 0)) == ["object"]
    assert names(point("a"), box(), point()) == ["a", "object"]


def test_unnamed_prompts_never_join_a_named_object() -> None:
    assert len(names(box("object"), point())) == 2


def test_no_prompt_is_an_error() -> None:
    with pytest.raises(PromptError, match="at least one prompt"):
        group_by_object([], VOLUME)


def test_grouping_checks_every_prompt() -> None:
    with pytest.raises(PromptError, match="a slice from 0 to 9"):
        group_by_object([box(), box("a", 10)], VOLUME)


def test_more_objects_than_a_label_image_holds_are_refused() -> None:
    boxes = [Box((1, 1, 2, 2), name=str(k)) for k in range(65_536)]
    with pytest.raises(PromptError, match="at most 65535 objects"):
        group_by_object(boxes, Geometry.pixels((5, 5)))
    assert len(group_by_object(boxes[:-1], Geometry.pixels((5, 5)))) == 65_535


def test_spaces_stand_around_numbers_and_never_within_one() -> None:
    assert parse_box(" 1 , 2,3 ,4 @ 5 = a b ") == Box((1, 2, 3, 4), 5, "a b")
    assert parse_point("1, 2, - @3") == Points(((1, 2),), (0,), 3)
    with pytest.raises(PromptError, match="a box written"):
        parse_box("1,2,30 1,40")
    with pytest.raises(PromptError, match="a box written"):
        parse_box("1,2,3,4@" + "9" * 5000)


@pytest.mark.parametrize(
    "prompt",
    [
        Box((0.1, 0.2, 0.5, 0.625)),
        Points(((0.5, 0.5),), (1,)),
        Points(((0.25, 0.5), (1.0, 0.0)), (1, 0)),
    ],
)
def test_normalised_coordinates_are_suspected_aloud(prompt: Box | Points) -> None:
    grid = Geometry.pixels((480, 640))
    with pytest.raises(PromptError, match=r"normalised.*multiply x by 640 and y by 480"):
        place([prompt], grid)
    # beside another in pixels, on a tiny image, or in whole numbers it is what it says
    place([prompt, Box((3, 4, 20, 30))], grid)
    place([prompt], Geometry.pixels((3, 4)))


def test_whole_numbers_up_to_one_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    place([Box((0, 0, 1, 1))], Geometry.pixels((480, 640)))
    assert "normalised" in caplog.text
    caplog.clear()
    place([Points(((0, 0),), (1,))], Geometry.pixels((480, 640)))
    assert not caplog.text
