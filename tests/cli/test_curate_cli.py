"""`promptseg curate` as it is called."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from curate import curate_makers as make
from datasets import dataset_makers
from json_answers import answer
from promptseg.cli.main import main
from promptseg.datasets.collection import Collection


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """What a run that is refused says."""
    assert main(["curate", *map(str, argv)]) == 2
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: expected ")
    assert ", got " in errors[0]
    assert "; " in errors[0].partition(", got ")[2]
    return errors[0]


def test_a_run_prints_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = make.pictures(tmp_path / "us"), tmp_path / "out"
    assert main(["curate", "-i", str(data), "-o", str(out)]) == 0
    assert "2 samples with 4 objects" in capsys.readouterr().out
    assert main(["curate", "-i", str(data), "-o", str(out), "--json"]) == 0
    assert answer("curate", capsys.readouterr().out)["samples"] == 2
    assert len(Collection(out).samples) == 2


def test_options_may_come_from_a_file(tmp_path: Path) -> None:
    one, two = make.pictures(tmp_path / "one"), make.volumes(tmp_path / "two")
    config = tmp_path / "curate.yaml"
    config.write_text(
        f"input: [{one}, {two}]\noutput: {tmp_path / 'out'}\nmax_slices: 2\n"
        "split: 100/0/0\nbranching: false\nexclude_target: [cyst]\nquiet: true\n"
    )
    assert main(["curate", "--config", str(config)]) == 0
    collection = Collection(tmp_path / "out")
    assert {s.split for s in collection.samples} == {"train"}
    assert {t.name for s in collection.samples for t in s.targets} == {"lesion", "liver", "tumour"}
    assert collection.facts["options"]["branching"] is False


def test_nothing_to_curate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert "a dataset in a known layout" in refused(capsys, "-i", tmp_path / "empty", "-o", out)
    assert "no such file" in refused(capsys, "-i", tmp_path / "absent", "-o", out)
    assert "data to curate" in refused(capsys, "-o", out)
    assert not out.exists()


def test_images_without_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.pictures(tmp_path / "us")
    for path in (data / "masks").iterdir():
        path.unlink()
    said = refused(capsys, "-i", data, "-o", tmp_path / "out")
    assert "at least one case that has an image and labels" in said
    assert "a.png has no labels, b.png has no labels" in said
    assert "; put labels beside the images" in said


def test_labels_that_are_not_integers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.volumes(tmp_path / "ct", ("a",))
    dataset_makers.nifti(data / "a_label.nii.gz", np.full((5, 48, 48), 0.5, np.float32))
    said = refused(capsys, "-i", data, "-o", tmp_path / "out")
    assert "labels not integers (1)" in said
    assert "exclusions.csv" in said


def test_one_patient_in_two_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.pictures(tmp_path / "us", patients={"a": "Ann", "b": "Ann"})
    table = tmp_path / "parts.csv"
    table.write_text("dataset,case,part\nus,a,train\nus,b,test\n")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--splits", table)
    assert "patient Ann: us/a in train and us/b in test" in said
    assert not (tmp_path / "out").exists(), "found before anything is converted"
    table.write_text("dataset,case,part\nus,a,tuning\n")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--splits", table)
    assert "a part out of train, validation, test" in said
    table.write_text("dataset,case\nus,a\n")
    assert "the columns" in refused(capsys, "-i", data, "-o", tmp_path / "o", "--splits", table)


@pytest.mark.parametrize(
    ("split", "what"),
    [
        ("80/10/5", "percentages that sum to 100, got 80/10/5 (95)"),
        ("80/20", "percentages TRAIN/VALIDATION/TEST"),
        ("a/b/c", "percentages TRAIN/VALIDATION/TEST"),
        ("120/-10/-10", "percentages TRAIN/VALIDATION/TEST"),
        ("nan/50/50", "percentages TRAIN/VALIDATION/TEST"),
        ("train", "the folders of nnU-Net are chosen by --nnunet-split"),
    ],
)
def test_percentages(
    split: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make.pictures(tmp_path / "us")
    assert what in refused(capsys, "-i", data, "-o", tmp_path / "out", "--split", split)


def test_nothing_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.pictures(tmp_path / "us")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--licence", "open")
    assert "none of 2 cases left: licence (2)" in said


def test_the_output_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.pictures(tmp_path / "us")
    (tmp_path / "file").write_text("")
    assert "a file" in refused(capsys, "-i", data, "-o", tmp_path / "file")
    assert main(["curate", "-i", str(data), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--every-slice", 2)
    assert "made with every_slice 1 (now 2)" in said


def test_held_out_lines_have_to_be_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, held = make.pictures(tmp_path / "us"), tmp_path / "held.txt"
    held.write_text("# a comment\nus/nobody\n")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--held-out", held)
    assert "'us/nobody'" in said
    held.write_text("# nothing\n")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out", "--held-out", held)
    assert "at least one dataset/case" in said


def test_two_datasets_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = make.pictures(tmp_path / "a" / "us"), make.pictures(tmp_path / "b" / "us")
    said = refused(capsys, "-i", one, "-i", two, "-o", tmp_path / "out")
    assert "datasets of different names" in said


def test_the_other_folders_of_nnunet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = dataset_makers.nnunet(tmp_path / "nnunet", "Ts")
    said = refused(capsys, "-i", data, "-o", tmp_path / "out")
    assert "--nnunet-split test" in said
    small = ["--min-pixels", "3", "--min-pixels-256", "0", "--min-voxels", "1"]
    argv = ["-i", str(data), "-o", str(tmp_path / "out"), "--nnunet-split", "test", *small]
    assert main(["curate", *argv]) == 0


def test_odd_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make.pictures(tmp_path / "us")
    for option, value in (("--every-slice", "0"), ("--workers", "0"), ("--window", "wide")):
        refused(capsys, "-i", data, "-o", tmp_path / "out", option, value)


@pytest.mark.parametrize(
    ("word", "module"),
    [
        ("list", "catalogue"),
        ("show", "catalogue"),
        ("check", "preflight"),
        ("statistics", "preflight"),
    ],
)
def test_other_uses_go_elsewhere(word: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    stub = types.ModuleType(f"promptseg.cli.{module}")
    stub.run = lambda argv: seen.append(argv) or 0  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    assert main(["curate", word, "x"]) == 0
    assert seen == [[word, "x"]]
