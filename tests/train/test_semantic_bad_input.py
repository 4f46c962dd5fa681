"""What users give a training of classes that does not quite fit: refused by name, or done right."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from curate.made import Made, disc, make_collection, rectangle
from promptseg.cli.main import main
from promptseg.errors import InputError
from promptseg.image import Image
from promptseg.jobs.train import train
from promptseg.models.heads.semantic.card import semantic_card
from promptseg.segment.classes.segmenter import load_classes

SHAPE = (48, 48)


@pytest.fixture
def classes(options):
    """Options of a short training of classes."""

    def make(**changes):
        usual = {"preset": "semantic-2d", "n_steps": None, "features": 4, "updates": 2}
        return options(**{**usual, **changes})

    return make


def collection(root: Path, cases: dict[str, dict[str, np.ndarray]], **more: object) -> Path:
    """Cases by "split/name"; splits begin with the part's first letter."""
    parts = {"t": "train", "v": "validation", "e": "test"}
    made = [
        Made(f"a/{name}", masks, parts[name[0]], **more)  # type: ignore[arg-type]
        for name, masks in cases.items()
    ]
    make_collection(root, made)
    return root


def test_classes_that_change_between_cases_are_one_list(classes, tmp_path):
    liver, spleen = disc(SHAPE, 15, 15, 8), disc(SHAPE, 34, 34, 7)
    data = collection(
        tmp_path / "data",
        {
            "t1": {"liver": liver},
            "t2": {"spleen": spleen},
            "v1": {"liver": liver},
            "e1": {"spleen": spleen},
        },
    )
    train(classes(input=data))
    card, _, said = semantic_card(classes().output)
    assert card.names == ("liver", "spleen")
    assert set(said["metrics"]["classes"]) == {"spleen"}, "what the test part shows"


@pytest.mark.slow
def test_images_of_one_and_of_three_channels_go_together(classes, tmp_path):
    made = [
        Made("a/t1", {"disc": disc(SHAPE, 15, 15, 8)}, "train", colour=True),
        Made("a/t2", {"disc": disc(SHAPE, 25, 25, 8)}, "train"),
        Made("a/v1", {"disc": disc(SHAPE, 20, 25, 8)}, "validation", colour=True),
        Made("a/e1", {"disc": disc(SHAPE, 25, 20, 8)}, "test"),
    ]
    make_collection(tmp_path / "data", made)
    for number, model in enumerate((None, "deeplabv3plus")):
        more = {"model": model, "features": None, "side": 64} if model else {}
        chosen = classes(input=tmp_path / "data", output=tmp_path / f"run{number}", **more)
        train(chosen)
        segmenter = load_classes(chosen.output, device="cpu")
        gray = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
        colours = np.repeat(gray[..., None], 3, axis=2)
        one, three = (
            segmenter.segment(Image.from_array(voxels, "endoscopy")).result
            for voxels in (gray, colours)
        )
        np.testing.assert_array_equal(
            one.segments[0].mask(one.geometry.shape), three.segments[0].mask(three.geometry.shape)
        )


def test_a_case_without_labels_is_left_out_by_name_and_makes_no_row(classes, tmp_path, capsys):
    root = tmp_path / "set"
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    for k in range(4):
        mask = disc(SHAPE, 20, 20 + k, 9) & (k != 2)
        noise = np.random.default_rng(k).integers(0, 90, SHAPE)
        PilImage.fromarray((noise + 120 * mask).astype(np.uint8)).save(
            root / "images" / f"p{k}.png"
        )
        PilImage.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"p{k}.png")
    about = {"name": "set", "modality": "US", "targets": {"1": "disc"}}
    (root / "dataset.json").write_text(json.dumps(about))
    assert main(["curate", "-i", str(root), "-o", str(tmp_path / "data"), "--quiet"]) == 0
    listed = (tmp_path / "data" / "exclusions.csv").read_text()
    assert "p2" in listed
    assert "empty mask" in listed
    data = collection(
        tmp_path / "made", {k: {"disc": disc(SHAPE, 20, 20, 9)} for k in ("t1", "v1", "e1")}
    )
    chosen = classes(input=data)
    train(chosen)
    asked = ["evaluate", "-i", str(root), "-o", str(tmp_path / "r"), "--model", str(chosen.output)]
    assert main([*asked, "--quiet"]) == 0
    with (tmp_path / "r" / "rows.csv").open() as stream:
        assert {row["case"] for row in csv.DictReader(stream)} == {"p0", "p1", "p3"}


def test_ids_with_gaps_and_one_class_alone_are_numbered_from_one(classes, tmp_path):
    """The made ids are 1, 2, ...: of three classes the second is chosen, of a case it is absent on."""
    a, b, c = disc(SHAPE, 12, 12, 6), rectangle(SHAPE, (30, 4, 40, 14)), disc(SHAPE, 36, 30, 6)
    data = collection(
        tmp_path / "data",
        {
            "t1": {"a": a, "b": b, "c": c},
            "t2": {"a": a},
            "v1": {"b": b, "c": c},
            "e1": {"b": b, "c": c},
        },
    )
    train(classes(input=data, classes=("c",), output=tmp_path / "one"))
    card, _, _ = semantic_card(tmp_path / "one")
    assert card.names == ("c",)
    picture = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    segmenter = load_classes(tmp_path / "one", device="cpu")
    assert segmenter.segment(Image.from_array(picture, "CT")).result.names == {1: "c"}


def test_a_class_of_validation_alone_is_refused_by_name_and_case(classes, tmp_path):
    data = collection(
        tmp_path / "data",
        {
            "t1": {"a": disc(SHAPE, 12, 12, 6)},
            "v1": {"b": disc(SHAPE, 12, 12, 6)},
            "e1": {"a": disc(SHAPE, 9, 9, 5)},
        },
    )
    with pytest.raises(InputError, match="'b' on a/v1"):
        train(classes(input=data))
    assert not (tmp_path / "run").exists()
