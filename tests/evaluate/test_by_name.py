"""`--prompt text`: objects are asked for by the names of their targets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from conformance.bright_memory import bright_memory
from conformance.other_kinds import BrightVocabulary, BrightWords
from datasets import dataset_makers as make
from fakes import BrightPredictor
from promptseg.errors import InputError, UnsupportedPromptError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.rows import Row, read_rows
from promptseg.evaluate.words import ABSENT, INSTANCE, SYNONYM
from promptseg.inference.predictor import Predictor
from promptseg.jobs.evaluate import evaluate
from promptseg.models.families.words.vocabulary import Concept, Vocabulary


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A 2D image with two bright objects, of which the truth knows one and a half, and a dark one."""
    folder = tmp_path / "data" / "us__cells"
    values, labels = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    values[4:14, 4:24] = values[20:30, 4:24] = 200
    labels[4:14, 4:24] = labels[20:30, 4:14] = 1
    labels[30:36, 40:50] = 2
    for kind, what in (("images", values), ("masks", labels)):
        (folder / kind).mkdir(parents=True)
        PilImage.fromarray(what).save(folder / kind / "p1.png")
    said = {"name": "cells", "modality": "ultrasound", "targets": {"1": "bright", "2": "spleen"}}
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def run(
    data: Path,
    out: Path,
    predictor: Predictor,
    *others: Predictor,
    **options: object,
) -> list[Row]:
    job = EvaluateJob(
        input=data,
        output=out,
        quiet=True,
        window="128/64",
        pictures=False,
        **{"model": ("sam3",), **options},  # type: ignore[arg-type]
    )
    known = {"sam3": predictor, **{other.card.name: other for other in others}}
    assert not evaluate(job, known).failed
    return read_rows(out / "rows.csv")


def test_targets_are_asked_for_by_name_and_all_their_objects_count(
    cells: Path, tmp_path: Path
) -> None:
    model = BrightWords()
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    rows = run(cells, tmp_path / "out", predictor, prompt=("text", "box"))
    named = {row.target: row for row in rows if row.prompt == "text"}
    assert named.keys() == {"bright", "spleen"}
    assert named["bright"].dsc == pytest.approx(2 * 300 / (300 + 400))
    assert (named["bright"].truth_size, named["bright"].found_size) == (300, 400)
    assert (named["spleen"].dsc, named["spleen"].note) == (0, "empty prediction")
    assert named["bright"].predicted_iou is None
    assert {phrase.text for phrase in model.phrases} == {"bright", "spleen"}
    assert {row.prompt for row in rows} == {"text", "box"}


def test_words_are_for_slices_and_for_models_that_take_them(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedPromptError, match="got a text; use --model promptseg-words"):
        run(cells, tmp_path / "out", BrightPredictor(card="lite-medsam"), prompt=("text",))
    with pytest.raises(InputError, match="for sam2-paper, got text"):
        EvaluateJob(
            input=cells,
            output=tmp_path,
            model=("sam3",),
            protocol=("sam2-paper",),
            prompt=("text",),
        ).check()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A volume with a bright object on slices 2 to 5, and a bright spot that the truth leaves out."""
    folder = tmp_path / "data" / "ct__body"
    values, labels = np.zeros((8, 40, 60), np.uint8), np.zeros((8, 40, 60), np.uint8)
    for k in range(2, 6):
        values[k, 4:24, 5 + k : 35 + k] = 200
        labels[k, 4:24, 5 + k : 35 + k] = 1
    values[7, 30:34, 40:44] = 200
    for kind, voxels in (("image", values), ("label", labels)):
        make.nifti(folder / f"p1_{kind}.nii.gz", voxels)
    targets = {"1": "bright", "2": "kidney", "3": "spleen"}
    said = {"name": "body", "modality": "CT", "targets": targets}
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def test_a_volume_is_searched_whole_and_names_of_nothing_are_asked_for(
    body: Path, tmp_path: Path
) -> None:
    predictor = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    rows = run(body, tmp_path / "out", predictor, protocol=("3d", "2d"), prompt=("text",), absent=5)
    through = {row.target: row for row in rows if row.protocol == "3d"}
    size = 4 * 20 * 30
    assert (through["bright"].prompt, through["bright"].truth_size) == ("text", size)
    assert through["bright"].found_size == size + 16
    assert through["bright"].dsc == pytest.approx(2 * size / (2 * size + 16))
    for name in ("kidney", "spleen"):
        row = through[name]
        assert (row.prompt, row.dsc, row.truth_size) == (ABSENT, 1, 0)
        assert row.predicted_iou == 0
    planar = [row for row in rows if row.protocol == "2d"]
    assert {row.target for row in planar if row.prompt == ABSENT} == {"kidney", "spleen"}
    assert len([row for row in planar if row.prompt == "text"]) == 4
    assert all(row.dsc == 1 for row in planar)


def test_what_is_found_of_nothing_counts_nothing(body: Path, tmp_path: Path) -> None:
    model = BrightWords()
    model.level = 100
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    said = json.loads((body / "dataset.json").read_text())
    said["targets"] = {"1": "thing", "2": "bright"}
    (body / "dataset.json").write_text(json.dumps(said))
    rows = run(body, tmp_path / "out", predictor, protocol=("3d",), prompt=("text",), absent=1)
    found = {row.target: row for row in rows}
    assert (found["bright"].prompt, found["bright"].dsc) == (ABSENT, 0)
    assert (found["bright"].predicted_iou or 0) > 0.9
    assert found["thing"].dsc == 0


def test_phrases_of_saco_are_asked_for_where_they_were_looked_for(tmp_path: Path) -> None:
    path = make.saco(tmp_path / "data")
    path.write_text(path.read_text("utf-8").replace("dark cell", "bright"), encoding="utf-8")
    values = np.full((12, 16), 20, np.uint8)
    values[:3, 0] = values[4:10, 2:5] = 200
    for name, picture in (("a", values), ("b", np.full((12, 16), 20, np.uint8))):
        make.png(tmp_path / "data" / "images" / f"{name}.png", picture)
    model = BrightWords()
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    rows = run(path, tmp_path / "out", predictor, prompt=("text",), absent=5)
    found = {(row.case, row.target, row.prompt): row for row in rows}
    assert found.keys() == {
        ("a", "bright", "text"),
        ("a", "polyp", ABSENT),
        ("b", "polyp", ABSENT),
    }
    assert found["a", "bright", "text"].truth_size == 21
    assert found["b", "polyp", ABSENT].dsc == 1


def test_other_phrases_are_asked_for_as_they_are(cells: Path, tmp_path: Path) -> None:
    said = json.loads((cells / "dataset.json").read_text())
    said["targets"] = {"1": "Kidney_Left", "2": "bright"}
    (cells / "dataset.json").write_text(json.dumps(said))
    model = BrightWords()
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    rows = run(cells, tmp_path / "out", predictor, prompt=("text",), synonyms=1)
    found = [(row.target, row.object, row.prompt) for row in rows]
    assert found == [
        ("Kidney_Left", "Kidney_Left", "text"),
        ("Kidney_Left", "kidney, left", SYNONYM),
        ("bright", "bright", "text"),  # nobody knows another phrase for it
    ]
    assert [phrase.text for phrase in model.phrases] == ["left kidney", "kidney, left", "bright"]


def test_objects_are_scored_one_by_one_against_what_is_matched_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "microscopy__cells"
    values, ids = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    values[4:14, 4:24] = values[20:30, 4:24] = 200
    ids[4:14, 4:24], ids[20:30, 4:14], ids[34:38, 40:50] = 1, 2, 3
    for kind, what in (("images", values), ("masks", ids > 0), ("instances", ids)):
        (folder / kind).mkdir(parents=True)
        PilImage.fromarray(what.astype(np.uint8)).save(folder / kind / "p1.png")
    said = {"name": "cells", "modality": "microscopy", "targets": {"1": "bright"}}
    (folder / "dataset.json").write_text(json.dumps(said))
    predictor = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    rows = run(folder, tmp_path / "out", predictor, prompt=("text",), instances=True)
    each = {row.object: row for row in rows if row.prompt == INSTANCE}
    assert [each[f"bright {k}"].dsc for k in (1, 2, 3)] == [1, pytest.approx(2 / 3), 0]
    assert each["bright 3"].found_size == 0
    (union,) = [row for row in rows if row.prompt == "text"]
    assert union.truth_size == 200 + 100 + 40


class ClosedBright(BrightVocabulary):
    """Bright patches by one name and one synonym of it, and no other word."""

    words = Vocabulary([Concept("bright", synonyms=("light patch",))])


def test_a_closed_vocabulary_is_asked_by_other_phrases_that_it_knows(
    cells: Path, tmp_path: Path
) -> None:
    said = json.loads((cells / "dataset.json").read_text())
    said["targets"] = {"1": "light patch", "2": "spleen"}
    (cells / "dataset.json").write_text(json.dumps(said))
    predictor = Predictor(ClosedBright(), Path("none.pt"), "0" * 64)
    rows = run(cells, tmp_path / "out", predictor, prompt=("text",), synonyms=3)
    assert [(row.target, row.object, row.prompt) for row in rows] == [
        ("light patch", "bright", "text")
    ]


@pytest.mark.parametrize("protocol", ["2d", "3d"])
def test_a_word_is_asked_for_by_its_own_name_though_the_table_calls_it_otherwise(
    tmp_path: Path, protocol: str
) -> None:
    folder = tmp_path / "data" / "us__own"
    labels = np.zeros((3, 40, 60), np.uint8)
    labels[1:, 4:14, 4:24], labels[1:, 20:30, 4:14] = 1, 2
    for kind, voxels in (("image", np.where(labels, 200, 0)), ("label", labels)):
        make.nifti(folder / f"p1_{kind}.nii.gz", voxels.astype(np.uint8))
    targets = {"1": "urinary bladder", "2": "lung, left", "3": "brainstem"}
    said = {"name": "own", "modality": "CT", "targets": targets}
    (folder / "dataset.json").write_text(json.dumps(said))
    model = BrightVocabulary()
    model.words = Vocabulary(map(Concept, ("urinary bladder", "left lung", "brainstem")))
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    how = {"prompt": ("text",), "protocol": (protocol,), "absent": 1}
    rows = run(folder, tmp_path / "out", predictor, **how)
    there = {(row.target, row.object) for row in rows if row.prompt == "text"}
    assert there == {("urinary bladder", "urinary bladder"), ("lung, left", "left lung")}
    assert {row.target for row in rows if row.prompt == ABSENT} == {"brainstem"}
    asked = {phrase.text for phrase in model.phrases}
    assert asked == {"urinary bladder", "left lung", "brainstem"}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A volume with two bright parts of a liver, one of them half, and a spot that is none of it."""
    folder = tmp_path / "data" / "ct__two"
    values, labels = np.zeros((8, 40, 60), np.uint8), np.zeros((8, 40, 60), np.uint8)
    values[2:6, 4:14, 4:24] = values[2:6, 20:30, 4:24] = 250
    labels[2:6, 4:14, 4:24] = labels[2:6, 20:30, 4:12] = 1
    values[1, 34:38, 50:54] = 250
    for kind, voxels in (("image", values), ("label", labels)):
        make.nifti(folder / f"p1_{kind}.nii.gz", voxels)
    targets = {"1": "liver", "2": "spleen", "3": "kidney"}
    said = {"name": "two", "modality": "CT", "targets": targets}
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def test_volumes_are_scored_by_instance_and_cgf1_is_in_the_report(
    two: Path, tmp_path: Path
) -> None:
    predictor = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    how = {"prompt": ("text",), "protocol": ("3d",), "absent": 2, "instances": True}
    rows = run(two, tmp_path / "out", predictor, **how)
    by_prompt: dict[str, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt, []).append(row)
    (union,) = by_prompt["text"]
    assert (union.instances, union.found_size) == (3, 4 * 400 + 16)
    each = by_prompt[INSTANCE]
    assert len(each) == 1  # the truth knows one object: both, as a label
    assert each[0].iou == pytest.approx(800 / (800 + 320))
    assert {row.instances for row in by_prompt[ABSENT]} == {0}
    table = (tmp_path / "out" / "tables" / "cgf1.csv").read_text().splitlines()
    assert table[0].startswith("Protocol,Model")
    (line,) = table[1:]
    assert line.split(",")[:5] == ["3d", "sam3", "ct__two", "1", "2"]
    # one of three instances is the object up to an IoU of 0.7, and it is known what is there
    f1 = 2 * (1 / 3) * 1 / (1 / 3 + 1)
    assert float(line.split(",")[5]) == pytest.approx(100 * f1 * 5 / 10, abs=0.1)
    assert float(line.split(",")[6]) == 1
    assert float(line.split(",")[8]) == pytest.approx(100 * f1, abs=0.1)
    assert float(line.split(",")[9]) == 0
    assert "cgF1" in (tmp_path / "out" / "report.html").read_text()


def test_volumes_are_asked_by_other_phrases_as_they_are(body: Path, tmp_path: Path) -> None:
    said = json.loads((body / "dataset.json").read_text())
    said["targets"] = {"1": "Kidney_Left"}
    (body / "dataset.json").write_text(json.dumps(said))
    model = BrightWords()
    predictor = Predictor(model, Path("none.pt"), "0" * 64)
    rows = run(body, tmp_path / "out", predictor, protocol=("3d",), prompt=("text",), synonyms=1)
    assert [(row.object, row.prompt) for row in rows] == [
        ("Kidney_Left", "text"),
        ("kidney, left", SYNONYM),
    ]
    assert {phrase.text for phrase in model.phrases} == {"left kidney", "kidney, left"}


def test_another_model_is_asked_and_memory_joins_what_it_finds(body: Path, tmp_path: Path) -> None:
    words = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    memory = bright_memory()
    how = {"prompt": ("text",), "protocol": ("3d",), "start_model": "sam3"}
    rows = run(body, tmp_path / "out", words, memory, model=("sam2.1-t",), **how)
    found = {row.target: row for row in rows}
    size = 4 * 20 * 30
    assert found["bright"].model == "sam2.1-t"
    assert found["bright"].dsc == pytest.approx(2 * size / (2 * size + 16))
