"""BIDS: derivatives in and out, against the validator of BIDS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.datasets import open_datasets, target_of
from promptseg.datasets.bids import images_in, is_tree, write_description
from promptseg.errors import InputError, OutputError
from promptseg.jobs import image_task
from promptseg.jobs.batch import find_images
from promptseg.segment.segmenter import Segmenter

SHAPE = (12, 11, 10)  # x, y, z
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{}")
    return path


def dseg(path: Path, values: tuple[int, ...], rows: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(SHAPE, np.uint8)
    for k, value in enumerate(values):
        labels[1 + 3 * k : 3 + 3 * k, 2:6, 3:7] = value
    nib.save(nib.Nifti1Image(labels, AFFINE), path)
    if rows:
        path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n" + rows)
    return path


def described(root: Path, **more: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    said = {"Name": "A study", "BIDSVersion": "1.10.0", "License": "CC0", **more}
    (root / "dataset_description.json").write_text(json.dumps(said))
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = described(tmp_path / "study")
    (root / "README.md").write_text("A study of nothing, made for a test of a few sentences.\n" * 5)
    image(root / "sub-01/anat/sub-01_T1w.nii.gz", 1)
    image(root / "sub-01/anat/sub-01_T2w.nii.gz", 2)
    image(root / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz", 3)
    image(root / "sub-03/anat/sub-03_T1w.nii.gz", 4)
    return root


@pytest.fixture
def labelled(tree: Path) -> Path:
    manual = described(tree / "derivatives/manual", DatasetType="derivative")
    (manual / "dseg.tsv").write_text(
        "index\tname\tcolor\n1\thippocampus\t#FF0000\n4\tlesion\tn/a\n"
    )
    dseg(manual / "sub-01/anat/sub-01_desc-T2w_dseg.nii.gz", (1, 4))
    dseg(manual / "sub-02/ses-a/anat/sub-02_ses-a_dseg.nii.gz", (4,))
    return tree


def test_images_are_those_of_all_subjects(labelled: Path) -> None:
    names = [path.relative_to(labelled).as_posix() for path in images_in(labelled)]
    assert names == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
    ]
    assert find_images(labelled) == images_in(labelled)


def test_a_dataset_with_its_derivatives(labelled: Path) -> None:
    (dataset,) = open_datasets(labelled)
    assert (dataset.layout, dataset.title, dataset.modality) == ("bids", "A study", "MR")
    assert dataset.targets == {1: "hippocampus", 4: "lesion"}
    assert dataset.may_publish_images
    assert [(case.name, case.patient) for case in dataset.cases] == [
        ("sub-01_T2w", "sub-01"),
        ("sub-02_ses-a_T1w", "sub-02"),
    ]
    _, truth = dataset.cases[0].load()
    assert [(s.label, target_of(s)) for s in truth.segments] == [(1, "hippocampus"), (4, "lesion")]
    assert truth.segments[0].crop.sum() == 2 * 4 * 4


def test_derivatives_alone_find_their_images(labelled: Path) -> None:
    (dataset,) = open_datasets(labelled / "derivatives/manual")
    assert [case.name for case in dataset.cases] == ["sub-01_T2w", "sub-02_ses-a_T1w"]
    moved = labelled.parent / "elsewhere"
    (labelled / "derivatives/manual").rename(moved)
    with pytest.raises(InputError, match="links to none"):
        open_datasets(moved)
    described(moved, DatasetType="derivative", DatasetLinks={"raw": "../study"})
    assert len(open_datasets(moved)[0].cases) == 2


def test_a_side_file_says_which_image_is_meant(labelled: Path) -> None:
    manual = labelled / "derivatives/manual"
    path = dseg(manual / "sub-01/anat/sub-01_dseg.nii.gz", (1,))
    with pytest.raises(InputError, match="which image it is of"):
        open_datasets(labelled)
    said = {"Sources": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]}
    path.with_name("sub-01_dseg.json").write_text(json.dumps(said))
    (dataset,) = open_datasets(labelled)
    assert [case.name for case in dataset.cases][:2] == ["sub-01_T1w", "sub-01_T2w"]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"Name": "a"}'])
def test_a_tree_without_its_description_is_one_error(
    content: str | None, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = labelled / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert is_tree(labelled)
    out = labelled.parent / "out"
    for command in (
        ["segment", "-i", str(labelled), "-o", str(out), "--box", "1,1,5,5@3"],
        ["evaluate", "-i", str(labelled), "-o", str(out)],
        ["curate", "-i", str(labelled), "-o", str(out)],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) == 1
        assert "description" in said or "BIDS" in said
        assert not out.exists()


def test_two_pipelines_and_contradictions_are_refused(labelled: Path) -> None:
    other = described(labelled / "derivatives/other", DatasetType="derivative")
    path = dseg(other / "sub-03/anat/sub-03_desc-T1w_dseg.nii.gz", (1,), "1\tliver\n")
    with pytest.raises(InputError, match=r"'hippocampus' in .* and 'liver' in"):
        open_datasets(labelled)
    path.unlink()
    dseg(other / "sub-01/anat/sub-01_desc-T2w_dseg.nii.gz", (1,), "1\thippocampus\n")
    with pytest.raises(InputError, match="one segmentation of every image"):
        open_datasets(labelled)
    assert len(open_datasets(other)[0].cases) == 1


def test_derivatives_of_others_are_never_described_anew(tmp_path: Path) -> None:
    described(tmp_path / "theirs", GeneratedBy=[{"Name": "fmriprep"}])
    with pytest.raises(OutputError, match="a dataset of others"):
        write_description(tmp_path / "theirs", None)
    write_description(tmp_path / "ours", tmp_path / "raw")
    before = (tmp_path / "ours/dataset_description.json").read_bytes()
    write_description(tmp_path / "ours", None)
    assert (tmp_path / "ours/dataset_description.json").read_bytes() == before


@pytest.fixture
def derived(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All images of the tree segmented, by a model that needs no weights."""
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(BrightPredictor()))
    out = tree / "derivatives/promptseg"
    command = ["segment", "-i", str(tree), "-o", str(out), "--box", "2,2,8,8@4=lesion"]
    assert main([*command, "--quiet"]) == 0
    return out


def test_a_tree_becomes_derivatives(derived: Path) -> None:
    names = sorted(p.relative_to(derived).as_posix() for p in derived.rglob("*dseg*"))
    stem = "sub-02/ses-a/anat/sub-02_ses-a_desc-T1w_dseg"
    endings = (".json", ".nii.gz", ".nii.gz.json", ".nii.gz.overlay.png", ".tsv")
    assert [n for n in names if n.startswith("sub-02")] == [f"{stem}{e}" for e in endings]
    assert len(names) == 4 * 5
    said = json.loads((derived / f"{stem}.json").read_text())
    assert said["Sources"] == ["bids:raw:sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz"]
    assert (derived / f"{stem}.tsv").read_text().splitlines()[1].split("\t")[:2] == ["1", "lesion"]
    about = json.loads((derived / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["DatasetLinks"] == {"raw": "../.."}
    (dataset,) = open_datasets(derived)
    assert len(dataset.cases) == 4
    assert dataset.targets == {1: "lesion"}


@pytest.mark.slow
def test_the_validator_of_bids_finds_no_error(derived: Path) -> None:
    pytest.importorskip("bids_validator_deno")
    tool = Path(sys.executable).with_name("bids-validator-deno")
    for root in (derived, derived.parents[1]):
        done = subprocess.run(
            [str(tool), "--format", "json", str(root)], capture_output=True, text=True, check=False
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        errors = [issue for issue in issues if issue["severity"] == "error"]
        assert errors == [], done.stdout[:2000]
