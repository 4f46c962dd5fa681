"""Prompt files: what is accepted, and that every mistake is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptseg.errors import PromptError
from promptseg.formats import promptfile
from promptseg.formats.promptfile import (
    PromptFile,
    parse_prompts,
    prompts_to_json,
    read_prompt_file,
)
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.prompts import Box, Box3D, Points, group_by_object

VOLUME = Geometry.from_spacing((60, 200, 220))

DESIGN: dict[str, Any] = {
    "image": "scan.nii.gz",
    "axis": "z",
    "objects": [
        {"name": "liver", "boxes": [{"xyxy": [120, 80, 200, 160], "slice": 40}]},
        {
            "name": "lesion",
            "points": [
                {"xy": [150, 110], "slice": 40, "label": 1},
                {"xy": [170, 90], "slice": 40, "label": 0},
            ],
        },
        {"name": "node", "box3d": [30, 40, 12, 60, 70, 20]},
    ],
}


def test_the_example_of_the_design_is_read() -> None:
    assert parse_prompts(DESIGN) == PromptFile(
        (
            Box((120, 80, 200, 160), 40, "liver", "z"),
            Points(((150, 110), (170, 90)), (1, 0), 40, "lesion", "z"),
            Box3D((30, 40, 12, 60, 70, 20), "node", "z"),
        ),
        "scan.nii.gz",
        "z",
    )


def test_names_slices_labels_image_and_axis_may_be_left_out() -> None:
    content = {
        "objects": [
            {"boxes": [{"xyxy": [1, 2, 3, 4]}]},
            {"points": [{"xy": [1, 2]}, {"xy": [3, 4], "slice": None}]},
        ]
    }
    assert parse_prompts(content) == PromptFile(
        (
            Box((1, 2, 3, 4), None, "object 1"),
            Points(((1, 2), (3, 4)), (1, 1), None, "object 2"),
        )
    )


def test_points_are_gathered_by_slice() -> None:
    points = [{"xy": [k, k], "slice": k % 2, "label": k % 2} for k in range(4)]
    found = parse_prompts({"objects": [{"name": "a", "points": points}]}).prompts
    assert found == (
        Points(((0, 0), (2, 2)), (0, 0), 0, "a"),
        Points(((1, 1), (3, 3)), (1, 1), 1, "a"),
    )


@pytest.mark.parametrize("axis", AXES)
def test_what_is_written_is_read_again(axis: Axis) -> None:
    prompts = (
        Box((1, 2, 13, 14), 4, "a", axis),
        Box((1.5, 2, 13, 14.25), 5, "a", axis),
        Points(((3, 4), (5, 6)), (1, 0), 4, "a", axis),
        Points(((7, 8),), (1,), 6, "a", axis),
        Box3D((1, 2, 3, 4, 5, 6), "b", axis),
    )
    objects = group_by_object(prompts, VOLUME)
    content = json.loads(json.dumps(prompts_to_json(objects, axis, "scan.nii.gz")))
    found = parse_prompts(content)
    assert found == PromptFile(prompts, "scan.nii.gz", axis)
    assert group_by_object(found.prompts, VOLUME) == objects


def one(entry: Any) -> dict[str, Any]:
    return {"objects": [{"name": "ok", "boxes": [{"xyxy": [1, 2, 3, 4]}]}, entry]}


def with_box(box: Any) -> dict[str, Any]:
    return one({"boxes": [{"xyxy": [1, 2, 3, 4]}, box]})


def with_point(point: Any) -> dict[str, Any]:
    return one({"points": [{"xy": [1, 2]}, point]})


MISTAKES: list[tuple[Any, str]] = [
    ([], "f.json"),
    ("text", "f.json"),
    (None, "f.json"),
    ({}, "objects"),
    ({"objects": []}, "f.json"),
    ({"objects": {}}, "f.json: objects"),
    ({"objects": [{}]}, "f.json"),
    ({"objects": [{"box": [1, 2, 3, 4]}]}, "f.json: objects[0]"),
    ({**DESIGN, "axes": "z"}, "axes"),
    ({**DESIGN, "axis": "w"}, "axis"),
    ({**DESIGN, "axis": ["z"]}, "axis"),
    ({**DESIGN, "image": 3}, "image"),
    (one(3), "objects[1]"),
    (one({"name": 3, "boxes": [{"xyxy": [1, 2, 3, 4]}]}), "objects[1]"),
    (one({"name": "", "boxes": [{"xyxy": [1, 2, 3, 4]}]}), "objects[1]"),
    (one({"boxes": {"xyxy": [1, 2, 3, 4]}}), "objects[1].boxes"),
    (one({"points": 7}), "objects[1].points"),
    (one({"box3d": 7}), "objects[1].box3d"),
    (one({"box3d": [1, 2, 3, 4]}), "objects[1].box3d"),
    (one({"box3d": [9, 9, 9, 1, 1, 1]}), "objects[1].box3d"),
    (with_box([1, 2, 3, 4]), "objects[1].boxes[1]"),
    (with_box({}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, 4], "slize": 3}), "objects[1].boxes[1]"),
    (with_box({"xyxy": "1,2,3,4"}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, "x"]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": ["1", "2", "3", "4"]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, None]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [False, False, True, True]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [5, 5, 1, 1]}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, 4], "slice": 1.5}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, 4], "slice": "3"}), "objects[1].boxes[1]"),
    (with_box({"xyxy": [1, 2, 3, 4], "slice": True}), "objects[1].boxes[1]"),
    (with_point({"xy": [1]}), "objects[1].points[1]"),
    (with_point({"xy": [1, 2, 3]}), "objects[1].points[1]"),
    (with_point({"label": 1}), "objects[1].points[1]"),
    (with_point({"xy": [1, 2], "label": 2}), "objects[1].points[1]"),
    (with_point({"xy": [1, 2], "label": "+"}), "objects[1].points[1]"),
    (with_point({"xy": [1, 2], "label": [1]}), "objects[1].points[1]"),
    (with_point({"xy": [1, 2], "colour": 1}), "objects[1].points[1]"),
]


@pytest.mark.parametrize(("content", "place"), MISTAKES)
def test_mistakes_are_named_with_their_place(content: Any, place: str) -> None:
    with pytest.raises(PromptError, match=r"^expected ") as error:
        parse_prompts(content, "f.json")
    assert place in str(error.value)


def test_a_file_of_one_image(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(DESIGN))
    assert read_prompt_file(path) == [parse_prompts(DESIGN)]


def test_a_file_of_many_images(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    other = {**DESIGN, "image": "b.png", "axis": "y"}
    path.write_text(json.dumps({"images": [DESIGN, other]}))
    assert read_prompt_file(path) == [parse_prompts(DESIGN), parse_prompts(other)]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"images": DESIGN}, "p.json: images"),
        ({"images": [DESIGN, {"object": []}]}, "p.json: images[1]"),
        ({"images": [DESIGN], "axis": "z"}, "p.json"),
    ],
)
def test_mistakes_in_files_of_many_images(tmp_path: Path, content: Any, place: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PromptError, match=r"^expected ") as error:
        read_prompt_file(path)
    assert place in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"objects": [{"boxes": [{"xyxy": [NaN, 2, 3, 4]}]}]}',
        b'{"objects": [{"boxes": [{"xyxy": [1, 2, 3, 1e999]}]}]}',
        b'{"objects": [{"boxes": [{"xyxy": [1, 2, 3, 1' + b"0" * 400 + b"]}]}]}",
        b'{"objects": [{"boxes": [{"xyxy": [1, 2, 3, 1' + b"0" * 5000 + b"]}]}]}",
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "binary", "nan", "inf", "huge", "too long", "nested"],
)
def test_unreadable_files_are_prompt_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=r"^expected "):
        read_prompt_file(path)


def test_missing_files_are_prompt_errors(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"^expected a prompt file"):
        read_prompt_file(tmp_path / "none.json")
    with pytest.raises(PromptError, match=r"^expected a prompt file"):
        read_prompt_file(tmp_path)


@pytest.mark.parametrize(
    "entry", [{"box3d": [1, 2, 3, 5, 6, 7]}, {"points": [{"xyz_mm": [3, 4, 5]}]}]
)
def test_the_axis_of_a_file_holds_for_every_kind_of_prompt(entry: dict[str, Any]) -> None:
    file = parse_prompts({"axis": "y", "objects": [entry]})
    assert [p.axis for p in file.prompts] == ["y"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "5.5"])
def test_a_marker_slice_that_is_no_index_is_refused(number: str) -> None:
    ends = json.loads(f"[[1, 2, {number}], [3, 4, {number}]]")
    content = {"objects": [{"markers": [{"long": ends}]}]}
    with pytest.raises(PromptError, match=r"markers\[0\]: slice to be a whole number"):
        parse_prompts(content)


def test_runs_of_endless_digits_are_refused_in_few_words() -> None:
    mask = {"size": [4, 4], "rle": "1:" + "1" * 5000}
    with pytest.raises(PromptError, match="RLE start:length") as caught:
        parse_prompts({"objects": [{"masks": [mask]}]})
    assert len(str(caught.value)) < 200


def test_an_object_without_prompts_is_named() -> None:
    with pytest.raises(PromptError, match=r"objects\[1\]: at least one prompt for 'b', got none"):
        parse_prompts({"objects": [{"box3d": [1, 2, 3, 5, 6, 7]}, {"name": "b", "boxes": []}]})


@pytest.mark.parametrize(
    "text",
    [
        '{"objects": [' + ",".join(['{"box3d": [0,0,0,1,1,1]}'] * 1_000_000) + "]}",
        '{"markups": [{"controlPoints": ['
        + ",".join(['{"position": [0,0,0]}'] * 1_000_000)
        + "]}]}",
        '{"objects": [{"name": "' + " " * (33 << 20) + '"}]}',
    ],
)
def test_a_million_objects_are_refused_before_they_are_understood(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(text)
    monkeypatch.setattr(promptfile, "parse_json", lambda _: pytest.fail("was parsed"))
    with pytest.raises(PromptError, match=r"at most 32 MiB and 200,000 entries"):
        read_prompt_file(path)
