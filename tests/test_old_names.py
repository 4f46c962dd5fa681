"""Names, fields and options that have changed answer to their old ones until the next version."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.cli.main import main
from promptseg.formats.promptfile import parse_prompts
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session


@pytest.mark.parametrize("kind", [Segmenter, Session])
def test_methods_answer_to_their_old_names(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "multimask_output", lambda self, *given: given)
    with pytest.warns(DeprecationWarning, match="readings is now multimask_output"):
        assert object.__new__(kind).readings(3) == (3,)


def test_a_prompt_file_with_runs_is_read() -> None:
    mask = {"slice": 2, "size": [2, 3], "runs": "1:3 5:1"}
    old, new = (
        parse_prompts({"objects": [{"name": "a", "masks": [entry]}]}).prompts[0].pixels  # type: ignore[union-attr]
        for entry in (mask, {**{k: v for k, v in mask.items() if k != "runs"}, "rle": "1:3 5:1"})
    )
    np.testing.assert_array_equal(old, [[0, 1, 1], [1, 0, 1]])
    np.testing.assert_array_equal(old, new)


def test_a_video_answers_to_its_old_name() -> None:
    voxels = np.zeros((3, 4, 5), np.uint8)
    with pytest.warns(DeprecationWarning, match="moving is now video"):
        image = Image(voxels, Geometry.pixels(voxels.shape), moving=True)  # type: ignore[call-arg]
    assert (image.kind, image.video) == ("video", True)
    with pytest.warns(DeprecationWarning, match="moving is now video"):
        assert image.moving  # type: ignore[attr-defined]


def test_annotation_times_are_told_by_the_old_verb_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: promptseg timing")
