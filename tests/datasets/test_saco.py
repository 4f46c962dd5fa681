"""SA-Co's JSON: phrases of pictures, what they name there, and those that name nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import curate_makers
from datasets import dataset_makers as make
from promptseg.curate.options import ConversionOptions
from promptseg.curate.parts import parts_of_dataset
from promptseg.datasets import Dataset, open_datasets, target_of
from promptseg.datasets.collection import Collection
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import GeometryError, InputError
from promptseg.train.vocabulary import Vocabulary

LARGE = {"min_pixels": 1, "min_pixels_256": 0.0, "split": "100/0/0"}


def only(path: Path, **options: Any) -> Dataset:
    (dataset,) = open_datasets(path, DatasetOptions(**options))
    return dataset


def changed(path: Path, **changes: Any) -> Path:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return path


def test_phrases_of_a_picture_are_its_targets_and_what_it_lacks(tmp_path: Path) -> None:
    dataset = only(make.saco(tmp_path))
    assert (dataset.layout, dataset.kind, dataset.modality) == ("saco", "picture", "endoscopy")
    assert dataset.targets == {1: "dark cell", 2: "polyp"}
    assert "1 phrases left out, not all of them outlined" in dataset.notes
    a, b = dataset.cases
    assert (a.name, a.absent, b.name, b.absent) == ("a", ("polyp",), "b", ("polyp",))
    _, truth = a.load()
    assert [(s.name, target_of(s)) for s in truth.segments] == [
        ("dark cell 1", "dark cell"),
        ("dark cell 2", "dark cell"),
    ]
    first = np.zeros((12, 16), bool)
    first[:3, 0] = True
    np.testing.assert_array_equal(truth["dark cell 1"], first)
    second = np.zeros((12, 16), bool)  # by columns: from row 4 of column 2 on, three columns
    second[4:10, 2:5] = True
    np.testing.assert_array_equal(truth["dark cell 2"], second)
    assert b.load()[1].segments == []


def test_objects_of_several_phrases_may_overlap_and_ids_may_be_words(tmp_path: Path) -> None:
    path = make.saco(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    names = {entry["id"]: f"pair-{entry['id']}" for entry in content["images"]}
    for entry in content["images"]:
        entry["id"] = names[entry["id"]]
        entry.pop("is_pixel_exhaustive")
    for annotation in content["annotations"]:
        annotation["image_id"] = names[annotation["image_id"]]
    content["images"].append({**content["images"][0], "id": "more", "text_input": " cell "})
    content["annotations"].append({**content["annotations"][1], "id": 9, "image_id": "more"})
    path.write_text(json.dumps(content), encoding="utf-8")
    _, truth = only(path).cases[0].load()
    np.testing.assert_array_equal(truth["dark cell 2"], truth["cell 9"])


def test_crowds_take_their_phrase_with_them(tmp_path: Path) -> None:
    path = make.saco(tmp_path)
    annotations = json.loads(path.read_text("utf-8"))["annotations"]
    annotations[1]["iscrowd"] = 1
    dataset = only(changed(path, annotations=annotations))
    assert dataset.cases[0].load()[1].segments == []
    assert dataset.cases[0].absent == ("polyp",)  # cells are there: they are not absent
    assert "2 phrases left out, not all of them outlined" in dataset.notes


@pytest.mark.parametrize(
    ("where", "change", "match"),
    [
        ("annotations", {"image_id": 9}, "image_id that is listed"),
        ("annotations", {"id": 2}, "annotations with different ids"),
        ("annotations", {"segmentation": None}, "box alone"),
        ("annotations", {"segmentation": {"size": [16, 12], "counts": [192]}}, "run lengths of"),
        ("images", {"id": 10_000_001}, "images with different ids"),
        ("images", {"text_input": "  "}, "a phrase in every text_input"),
        ("images", {"width": 17}, r"one size of a\.png"),
        ("images", {"file_name": "../a.png"}, r"a\.png is not there"),
        ("images", {"height": "tall"}, "as SA-Co writes them"),
    ],
)
def test_files_that_contradict_themselves(
    tmp_path: Path, where: str, change: dict[str, Any], match: str
) -> None:
    path = make.saco(tmp_path)
    entries = json.loads(path.read_text("utf-8"))[where]
    entries[0] |= change
    with pytest.raises(InputError, match=match):
        only(changed(path, **{where: entries})).cases[0].load()


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    path = make.saco(tmp_path)
    make.png(tmp_path / "images" / "a.png", make.gray(0, (12, 17)))
    with pytest.raises(GeometryError, match="as its annotations say"):
        only(path).cases[0].load()


def test_coco_itself_stays_coco(tmp_path: Path) -> None:
    assert only(make.coco(tmp_path)).layout == "coco"
    assert only(tmp_path).cases[0].absent is None


def test_a_collection_keeps_what_was_looked_for_in_vain(tmp_path: Path) -> None:
    path = make.saco(tmp_path / "data")
    for name in "ab":
        make.png(tmp_path / "data" / "images" / f"{name}.png", curate_makers.cloudy(0, (12, 16)))
    collection = curate_makers.curated(path, output=tmp_path / "out", **LARGE)
    a, b = Collection(tmp_path / "out").samples
    assert [t.name for t in a.targets] == ["dark cell", "dark cell"]
    assert (a.absent, b.targets, b.absent) == (("polyp",), (), ("polyp",))
    assert collection.read(b)[1].max() == 0
    assert "absent" in a.to_json()
    words = Vocabulary(collection.samples)
    assert words.names == (
        "dark cell",
    )  # of a polyp nothing can be learnt but that it is not there
    assert words.absent(a) == words.absent(b) == ["polyp"]
    assert words.phrase("polyp", np.random.default_rng(0)) == "polyp"


def test_other_negatives_make_parts_anew(tmp_path: Path) -> None:
    path = make.saco(tmp_path / "data")
    options = ConversionOptions()
    (before,) = parts_of_dataset(open_datasets(path)[0], tmp_path / "out", options)
    images = json.loads(path.read_text("utf-8"))["images"]
    images[1]["text_input"] = "ulcer"
    (after,) = parts_of_dataset(open_datasets(changed(path, images=images))[0], tmp_path, options)
    assert before.request()["cases"] != after.request()["cases"]
