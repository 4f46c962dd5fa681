"""Images that weights were trained on are found by themselves, marked and left out of statistics."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from safetensors.torch import save_file

from fakes import BrightPredictor
from promptseg import assets
from promptseg.assets.store import locate
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.datasets.leaks import leaks_in
from promptseg.datasets.manifest import ManifestRow, manifest_of, read_manifest, write_manifest
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.report import ReportOptions, write_report
from promptseg.evaluate.rows import COLUMNS, Row, read_rows
from promptseg.jobs.evaluate import evaluate
from promptseg.models.cards import TrainedOn, find_card
from promptseg.models.checkpoint import open_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four 2D images of a bright block before smooth noise of their own; the box finds it all."""
    folder = tmp_path / "data" / "us__blocks"
    rng = np.random.default_rng(3)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for k in range(4):
        coarse = PilImage.fromarray(rng.integers(0, 90, (5, 6), dtype=np.uint8))
        picture = np.asarray(coarse.resize((60, 40), PilImage.Resampling.BICUBIC)).clip(0, 90)
        mask = np.zeros((40, 60), np.uint8)
        mask[10 : 20 + k, 12:30] = 1
        picture = np.where(mask, 200, picture).astype(np.uint8)
        PilImage.fromarray(picture).save(folder / "images" / f"p{k}.png")
        PilImage.fromarray(mask).save(folder / "masks" / f"p{k}.png")
    content = {"name": "us__blocks", "modality": "ultrasound", "targets": {"1": "block"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def tuned(data: Path, folder: Path, *cases: str) -> BrightPredictor:
    """A fine-tuned model whose list of images holds some cases of the data, by hashes alone."""
    known = {row.case: row for row in manifest_of(open_datasets(data, DatasetOptions()))}
    rows = [ManifestRow("d", "", "", known[c].sha256, known[c].phash) for c in cases]
    path = write_manifest(rows, folder / "trained_on.csv", overwrite=True)
    predictor = BrightPredictor(card="mobile-sam")
    listed = TrainedOn(str(path), assets.sha256_of(path), len(rows))
    predictor.card = replace(predictor.card, name="mine", base="mobile-sam", trained_on=listed)
    predictor.weights = folder / "mine.pth"
    predictor.weights_sha256 = "1" * 64
    return predictor


def run(data: Path, out: Path, models: dict[str, BrightPredictor], **options: Any) -> list[Row]:
    """The rows of a run; window 128/64 makes the block bright."""
    job = EvaluateJob(
        **{"input": data, "output": out, "quiet": True, "model": tuple(models), **options}
    )
    assert not evaluate(job, dict(models)).failed
    return read_rows(out / "rows.csv")


def counted(out: Path) -> dict[str, int]:
    """Model -> masks that the mean DSC over all tasks is of."""
    with (out / "summary.csv").open(encoding="utf-8") as stream:
        lines = [r for r in csv.DictReader(stream) if (r["dataset"], r["metric"]) == ("all", "dsc")]
    return {line["model"]: int(line["n"]) for line in lines}


def test_they_are_marked_and_left_out_for_every_model(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    models = {"mobile-sam": BrightPredictor(card="mobile-sam")}
    models["mine.pth"] = tuned(data, tmp_path, "p0", "p2", "p3")
    with caplog.at_level(logging.WARNING, "promptseg"):
        rows = run(data, out, models)
    said = {(r.model, r.case): r.trained_on for r in rows}
    mine = next(m for m, _ in said if m.startswith("mine"))
    assert {c for (m, c), why in said.items() if why} == {"p0", "p2", "p3"}
    assert all(m == mine for (m, _), why in said.items() if why)
    assert {why for why in said.values() if why} == {"same voxels"}
    assert counted(out) == {"mobile-sam": 1, mine: 1}
    line = f"{mine} was trained on 3 of these 4 images (3 of 4 rows). They are left out of every "
    line += "figure below, for every model; --count-trained counts them."
    assert line in caplog.text
    page = (out / "report.html").read_text()
    assert f'<p class="alarm" role="alert"><strong>{line}</strong></p>' in page
    facts = json.loads((out / "run.json").read_text())
    assert {m["name"]: m["trained_on"] for m in facts["models"]} == {"mobile-sam": None, mine: 3}


def test_they_are_counted_if_asked_for(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = run(data, out, {"mine.pth": tuned(data, tmp_path, "p1")}, count_trained=True)
    (model,) = counted(out)
    assert counted(out) == {model: 4}
    assert [r.trained_on for r in rows] == ["", "same voxels", "", ""]
    assert "They are counted, as asked for" in (out / "report.html").read_text()
    write_report(out, ReportOptions(overwrite=True))
    assert counted(out) == {model: 3}


def test_a_copy_that_was_changed_is_found_too(data: Path, tmp_path: Path) -> None:
    predictor = tuned(data, tmp_path, "p1")
    picture = np.asarray(PilImage.open(data / "images" / "p1.png"))
    bright = (255 * (picture / 255) ** 0.8).round().astype(np.uint8)  # another gamma
    PilImage.fromarray(bright).save(data / "images" / "p1.png")
    rows = run(data, tmp_path / "out", {"mine.pth": predictor})
    assert [r.trained_on for r in rows] == ["", "looks alike", "", ""]


def test_without_any_other_image_there_is_no_figure(data: Path, tmp_path: Path) -> None:
    out, predictor = tmp_path / "out", tuned(data, tmp_path, "p0", "p1", "p2", "p3")
    with pytest.raises(InputError, match=r"4 images.*all of them trained on.*--count-trained"):
        run(data, out, {"mine.pth": predictor})
    assert not (out / "report.html").exists()
    assert len(read_rows(out / "rows.csv")) == 4
    done = len(predictor.encoded)
    run(data, out, {"mine.pth": predictor}, count_trained=True)
    assert len(predictor.encoded) == done  # nothing was done twice


def test_the_model_that_starts_a_volume_counts_too(data: Path, tmp_path: Path) -> None:
    models = {"mobile-sam": BrightPredictor(card="mobile-sam")}
    starter = tuned(data, tmp_path, "p2")
    job = EvaluateJob(
        input=data,
        output=tmp_path / "out",
        quiet=True,
        model=("mobile-sam",),
        start_model="mine.pth",
    )
    assert not evaluate(job, {**models, "mine.pth": starter}).failed
    rows = read_rows(tmp_path / "out" / "rows.csv")
    assert [r.trained_on for r in rows] == ["", "", "same voxels", ""]


def test_a_list_that_came_later_is_asked(data: Path, tmp_path: Path) -> None:
    """Rows of the same weights without a list are not taken for rows of unseen images."""
    out, predictor = tmp_path / "out", tuned(data, tmp_path, "p0")
    card = predictor.card
    predictor.card = replace(card, trained_on=None)
    assert not any(r.trained_on for r in run(data, out, {"mine.pth": predictor}))
    predictor.card = card
    assert run(data, out, {"mine.pth": predictor})[0].trained_on == "same voxels"


def test_a_list_that_is_missing_is_said_and_one_that_was_changed_refused(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = tuned(data, tmp_path, "p0", "p1")
    path = tmp_path / "trained_on.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:2]))
    with pytest.raises(InputError, match="the list of images that the card of mine"):
        run(data, tmp_path / "a", {"mine.pth": predictor})
    path.unlink()
    with caplog.at_level(logging.WARNING, "promptseg"):
        run(data, tmp_path / "b", {"mine.pth": predictor})
    assert "nothing beside its weights lists the images" in caplog.text
    assert "nothing beside its weights" in (tmp_path / "b" / "report.html").read_text()


def test_rows_of_earlier_versions_are_read(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = run(data, out, {"mobile-sam": BrightPredictor(card="mobile-sam")})
    path = out / "rows.csv"
    with path.open(newline="") as stream:
        lines = [line[: COLUMNS.index("trained_on")] for line in csv.reader(stream)]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    assert read_rows(path) == rows
    write_report(out, ReportOptions(overwrite=True))


def test_the_models_of_the_package_bring_the_list_of_what_they_have_seen() -> None:
    listed = find_card("promptseg-lite").trained_on
    assert listed is not None
    assert assets.sha256_of(Path(listed.file)) == listed.sha256
    rows = read_manifest(listed.file)
    assert len(rows) == listed.images
    assert {(row.case, row.patient) for row in rows} == {("", "")}, "nobody is named"
    assert find_card("promptseg-words").trained_on == listed
    assert find_card("mobile-sam").trained_on is None


def test_other_weights_of_a_model_have_not_seen_what_its_own_have(tmp_path: Path) -> None:
    own = locate("promptseg-lite")
    assert own is not None
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(own.read_bytes())
    card, _, tensors = open_checkpoint(f"promptseg-lite={copied}")
    assert card.trained_on == find_card("promptseg-lite").trained_on
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, tmp_path / "other.safetensors")
    assert open_checkpoint(f"promptseg-lite={tmp_path / 'other.safetensors'}")[0].trained_on is None


@pytest.mark.data
def test_real_images_of_its_training_are_found_and_those_of_its_test_are_not(
    data_root: Path,
) -> None:
    listed = find_card("promptseg-lite").trained_on
    assert listed is not None
    heads = data_root / "picture" / "ultrasound__hc18"
    cases = [case for one in open_datasets(heads, DatasetOptions()) for case in one.cases]
    found = {leak.case for leak in leaks_in(listed.file, open_datasets(heads, DatasetOptions()))}
    assert (len(cases), len(found)) == (24, 18)  # 6 are in the test part of recipes/lite
