"""Words as the command line and prompt files write them."""

from __future__ import annotations

import pytest

from promptseg.errors import PromptError
from promptseg.formats.promptfile import parse_prompts, prompts_to_json
from promptseg.geometry import Geometry
from promptseg.prompts import Box, Text, group_by_object, parse_text

VOLUME = Geometry.from_spacing((10, 40, 50))


def test_words_examples_and_name_are_read() -> None:
    text = parse_text("liver lesion [+1,2,3,4@5] [-6,7,8,9@5] [+ 10,10,12,12@6] = mine")
    assert text.phrase == "liver lesion"
    assert text.boxes == (Box((1, 2, 3, 4), 5), Box((10, 10, 12, 12), 6))
    assert text.outside == (Box((6, 7, 8, 9), 5),)
    assert text.name == text.title == "mine"
    assert parse_text("Kidneys Left").title == "left kidney"
    assert parse_text("[+1,2,3,4]").title == "like the examples"
    assert text.on_slice(5) == (((1, 2, 3, 4),), ((6, 7, 8, 9),))
    assert text.on_slice(4) == ((), ())


@pytest.mark.parametrize(
    "written",
    ["", " ", "liver=", "liver [1,2,3,4]", "liver [+1,2,3]", "liver [+1,2,3,4", "[-1,2,3,4]"],
)
def test_what_is_none_is_refused(written: str) -> None:
    with pytest.raises(PromptError):
        parse_text(written)


def test_boxes_are_checked_against_the_grid() -> None:
    with pytest.raises(PromptError, match="inside the image"):
        group_by_object([parse_text("liver [+1,2,300,4@5]")], VOLUME)
    with pytest.raises(PromptError, match="a slice for a box"):
        group_by_object([parse_text("liver [+1,2,30,4]")], VOLUME)
    (entry,) = group_by_object([parse_text("liver [+1,2,30,4@3]")], VOLUME)
    assert entry.kinds == {"text"}
    assert entry.slices == set()


def test_prompt_files_hold_words() -> None:
    given = [parse_text("liver [+1,2,3,4@5] [-6,7,8,9@5]"), Text("spleen", name="organ")]
    content = prompts_to_json(group_by_object(given, VOLUME), "z")
    assert content["objects"] == [
        {"name": "liver", "text": "liver [+1,2,3,4@5] [-6,7,8,9@5]"},
        {"name": "organ", "text": "spleen"},
    ]
    back = parse_prompts(content)
    again = prompts_to_json(group_by_object(back.prompts, VOLUME), "z")
    assert again == content
    with pytest.raises(PromptError, match=r"objects\[0\]: text to be words|text to be words"):
        parse_prompts({"objects": [{"name": "a", "text": 3}]})
    with pytest.raises(PromptError, match=r"objects\[0\]\.text: one side"):
        parse_prompts({"objects": [{"text": "left right lung"}]})
