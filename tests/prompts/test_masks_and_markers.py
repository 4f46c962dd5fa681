"""Masks and marker lines as prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from promptseg.errors import PromptError
from promptseg.formats.promptfile import parse_prompts, prompts_to_json, read_prompt_file
from promptseg.geometry import Geometry
from promptseg.prompts import Box, Marker, Mask, group_by_object
from promptseg.prompts.mask import from_rle, to_rle
from promptseg.segment.conditioning import boxes_between

GEOMETRY = Geometry.from_spacing((20, 30, 40))


@given(arrays(bool, (5, 9)))
def test_runs_give_the_mask_again(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(from_rle(to_rle(mask), (5, 9)), mask)


@pytest.mark.parametrize("rle", ["1:0", "40:9", "-1:2", "a", "3", "1:2:3", "\u0663:1"])
def test_rle_outside_is_refused(rle: str) -> None:
    with pytest.raises(PromptError, match="RLE start:length of pixels within 5 x 9"):
        from_rle(rle, (5, 9))


def test_masks_and_markers_survive_a_prompt_file(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[3:7, 5:20] = True
    prompts = [
        Mask(mask, 4, "a", "z", as_drawn=True),
        Marker(((1, 2), (10, 12)), ((3, 9), (8, 4)), 5, "b", "z"),
        Marker(((1, 2), (10, 12)), None, 9, "b", "z"),
    ]
    content = prompts_to_json(group_by_object(prompts, GEOMETRY), "z", "scan.nii.gz")
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    (parsed,) = read_prompt_file(path)
    assert repr(parsed.prompts) == repr(tuple(prompts))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Mask(np.ones((30, 30), dtype=bool), 3), "on the image's own grid"),
        (Mask(np.zeros((30, 40), dtype=bool), 3), "at least one pixel"),
        (Mask(np.ones((30, 40), dtype=bool), 20), "a slice from 0 to 19"),
        (Marker(((1, 2), (45, 12)), None, 5), "inside the image"),
    ],
)
def test_masks_and_markers_that_do_not_fit_are_refused(prompt: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        group_by_object([prompt], GEOMETRY)


def test_marker_lines_need_a_length_and_two_slices() -> None:
    with pytest.raises(PromptError, match="a long axis with a length, got one from 3,4 to itself"):
        Marker(((3, 4), (3, 4)), None, 5)
    one = Marker(((3, 4), (8, 4)), None, 5, "tumour")
    with pytest.raises(PromptError, match="at least two slices, got 'tumour' marked on slice 5"):
        group_by_object([one], GEOMETRY)


def test_marker_lines_that_cross_slices_are_refused() -> None:
    line = {"long": [[3, 4, 5], [8, 4, 6]]}
    with pytest.raises(
        PromptError, match="lines that stay on one slice, got ends on the slices 5, 6"
    ):
        parse_prompts({"objects": [{"name": "t", "markers": [line]}]})
    flat = {"long": [[3, 4, 5], [8, 4, 5]]}
    (marker,) = parse_prompts({"objects": [{"name": "t", "markers": [flat]}]}).prompts
    assert marker == Marker(((3, 4), (8, 4)), None, 5, "t")


def test_rectangles_cover_the_lines_and_are_interpolated_over_the_slices() -> None:
    markers = [
        Marker(((10, 12), (20, 30)), ((8, 22), (23, 19)), 2, "t", "z"),
        Marker(((14, 20), (18, 22)), ((16, 18), (15.5, 25)), 6, "t", "z"),
    ]
    boxes = boxes_between(markers)
    assert list(boxes) == [2, 3, 4, 5, 6]
    assert boxes[2] == Box((8, 12, 23, 30), 2, "t", "z")
    assert boxes[6] == Box((14, 18, 18, 25), 6, "t", "z")
    assert boxes[4].xyxy == (11, 15, 21, 28)  # half-way: 11, 15, 20.5, 27.5, rounded outwards


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"masks": [{"size": [3, 3]}]}, "the field rle"),
        ({"masks": [{"size": [3], "rle": ""}]}, "2 whole numbers"),
        (
            {"masks": [{"size": [1 << 20, 1 << 20], "rle": ""}]},
            "fit into the .* GiB of free memory",
        ),
        ({"masks": [{"size": [3, 3], "rle": [1]}]}, "rle to be a text"),
        ({"masks": [{"size": [3, 3], "rle": "", "as_drawn": 1}]}, "as_drawn to be true or false"),
        ({"masks": [{"size": [3, 3], "rle": "", "colour": 1}]}, "colour"),
        ({"markers": [{"short": [[1, 2], [3, 4]]}]}, "the field long"),
        ({"markers": [{"long": [[1, 2]]}]}, "two ends of the long axis"),
    ],
)
def test_entries_of_another_form_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        parse_prompts({"objects": [{"name": "a", **entry}]})
