"""Names of a collection: what is asked for, and what is not on an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.made import Made, disc, make_collection
from promptseg.datasets.collection import Collection
from promptseg.errors import InputError
from promptseg.train.vocabulary import Vocabulary, named, read_phrases_file


def collection(root: Path) -> Collection:
    one = disc((20, 20), 8, 8, 4)
    return make_collection(
        root,
        [
            Made("abdomen/a", {"Kidney_Left": one, "liver": one}),
            Made("abdomen/b", {"spleen": one}),
            Made("abdomen/c", {"kidney": one}),
            Made("chest/a", {"heart": one}),
            Made("colon/a", {"polyp": one}, modality="endoscopy"),
        ],
    )


def test_what_is_absent_is_of_the_same_dataset_or_of_another_modality(tmp_path: Path) -> None:
    samples = {s.key: s for s in collection(tmp_path).samples}
    vocabulary = Vocabulary(list(samples.values()))
    assert vocabulary.names == ("heart", "kidney", "left kidney", "liver", "polyp", "spleen")
    assert vocabulary.absent(samples["abdomen/a"]) == ["spleen"]  # a kidney may be the left one
    assert vocabulary.absent(samples["abdomen/b"]) == ["kidney", "left kidney", "liver"]
    assert vocabulary.absent(samples["chest/a"]) == ["polyp"]  # a heart's CT may show a liver
    assert "heart" in vocabulary.absent(samples["colon/a"])
    assert list(named(samples["abdomen/a"])) == ["left kidney", "liver"]


def test_half_of_the_phrases_are_in_the_words_of_the_table(tmp_path: Path) -> None:
    vocabulary = Vocabulary(collection(tmp_path).samples, {"polyp": ["colorectal polyp"]})
    chance = np.random.default_rng(0)
    drawn = [vocabulary.phrase("left kidney", chance) for _ in range(200)]
    assert 70 < drawn.count("left kidney") < 130
    assert "kidney, left" in drawn
    assert {vocabulary.phrase("polyp", chance) for _ in range(50)} == {"polyp", "colorectal polyp"}
    assert {vocabulary.phrase("liver", chance) for _ in range(9)} == {"liver"}


@pytest.mark.parametrize("content", ["[]", '{"polyp": "one"}', "{", '{"polyp": [1]}'])
def test_another_file_of_phrases_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "phrases.json"
    path.write_text(content)
    with pytest.raises(InputError, match="a JSON file such as"):
        read_phrases_file(path)
