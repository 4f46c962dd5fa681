"""`promptseg segment` and `evaluate` with models of classes: files, folders, refinement, refusals."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage

from fakes import BrightPredictor
from formats.helpers import write_dicom_series
from models.made_semantic import CARD, write_model
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError, OutputError, PromptError
from promptseg.evaluate.options import EvaluateJob
from promptseg.formats import read
from promptseg.jobs import segment as jobs
from promptseg.jobs.evaluate import evaluate
from promptseg.jobs.existing import read_segmentation
from promptseg.jobs.segment import segment_file
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from segment.test_classes import Bright, scene


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a model that finds what is bright: class 1 from 100, class 2 from 200."""
    folder = tmp_path / "model"
    write_model(folder)
    from promptseg.evaluate import tasks
    from promptseg.jobs import evaluation_setup
    from promptseg.segment.classes.segmenter import ClassSegmenter

    def made(*given: object, **more: object) -> ClassSegmenter:
        return ClassSegmenter(Bright())

    for module in (jobs, tasks, evaluation_setup):
        monkeypatch.setattr(module, "load_classes", made)
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(scene(4, 40, 33).T.astype(np.int16), np.diag([1, 1, 2, 1])), path)
    return path


def job(run: Path, image: Path, output: Path, **changes: object) -> SegmentJob:
    usual = {
        "model": str(run),
        "input": image,
        "output": output,
        "quiet": True,
        "window": "255/127.5",
    }
    return SegmentJob(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["out.nii.gz", "out.seg.nrrd", "out.nrrd", "out.mha", "out.npz"])
def test_numbers_names_and_colours_travel_into_files(
    run: Path, volume: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / name
    segment_file(job(run, volume, output))
    found = read_segmentation(output, read(volume))
    expected = scene(4, 40, 33)
    by_label = {s.label: s for s in found.segments}
    for label, there in ((1, (expected >= 100) & (expected < 200)), (2, expected >= 200)):
        np.testing.assert_array_equal(by_label[label].mask(expected.shape), there)
    if name == "out.seg.nrrd":
        assert {s.name: s.colour for s in found.segments} == {
            "disc": (230, 75, 53),
            "liver": (77, 187, 213),
        }
    facts = json.loads((tmp_path / f"{name}.json").read_text())
    assert facts["model"]["name"] == "two-classes"
    assert [(o["label"], o["name"]) for o in facts["objects"]] == [(1, "disc"), (2, "liver")]
    assert (tmp_path / f"{name}.overlay.png").exists()


def test_codes_and_colours_travel_into_dicom(run: Path, tmp_path: Path) -> None:
    stored = scene(4, 40, 33).astype(np.int16)
    write_dicom_series(tmp_path / "series", np.diag([1.0, 1.0, 2.0]), stored=stored, intercept=0.0)
    output = tmp_path / "out.dcm"
    segment_file(job(run, tmp_path / "series", output))
    items = pydicom.dcmread(output).SegmentSequence
    codes = {i.SegmentLabel: i.SegmentedPropertyTypeCodeSequence[0].CodeValue for i in items}
    assert codes["liver"] == "10200004"
    found = read_segmentation(output, read(tmp_path / "series"))
    for segment, colour in zip(found.segments, CARD.classes, strict=True):
        assert segment.colour is not None
        np.testing.assert_allclose(segment.colour, colour.colour, atol=2)  # by way of CIELab


def test_uncertainty_lies_on_the_grid_of_the_image(run: Path, volume: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.nii.gz"
    done = segment_file(job(run, volume, output, uncertainty=True, mirror=True, tile=32))
    assert any("out.uncertainty.nii.gz" in line for line in done.summary())
    unsure = nib.load(tmp_path / "out.uncertainty.nii.gz")
    np.testing.assert_allclose(unsure.affine, nib.load(volume).affine)
    assert unsure.shape == (33, 40, 4)
    PilImage.fromarray(scene(40, 33)).save(tmp_path / "flat.png")
    segment_file(job(run, tmp_path / "flat.png", tmp_path / "flat_out.png", uncertainty=True))
    assert np.asarray(PilImage.open(tmp_path / "flat_out.uncertainty.png")).shape == (40, 33)


def test_a_folder_of_images_needs_no_prompts_and_is_gone_on_with(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for k in range(2):
        PilImage.fromarray(scene(40, 33)).save(tmp_path / "in" / f"{k}.png")
    command = [
        "segment",
        "-i",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(run),
    ]
    assert main(command) == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("?.png")) == ["0.png", "1.png"]
    capsys.readouterr()
    assert main(command) == 0
    assert "2 done already" in capsys.readouterr().out


def test_a_class_is_refined_by_prompts_that_name_it(
    run: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "load", lambda *given, **more: Segmenter(BrightPredictor(level=140)))
    output = tmp_path / "out.nii.gz"
    refined = job(
        run,
        volume,
        output,
        refine="lite-medsam",
        box=("8,5,29,19@2=liver",),
        propagate="none",
        overlap="later-wins",
    )
    segment_file(refined)
    labels = np.asarray(nib.load(output).dataobj).T
    assert (labels[2, 5:20, 8:30] == 2).all()
    assert (labels[1, 10:14, 12:18] == 2).all()
    assert (labels[1, 5:9, 8:30] == 1).all()
    facts = json.loads((tmp_path / "out.nii.gz.json").read_text())
    assert facts["corrects"] is not None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"box": ("1,1,9,9",)}, PromptError, "--refine MODEL"),
        ({"refine": "lite-medsam"}, PromptError, "prompts that name classes"),
        ({"refine": "lite-medsam", "box": ("1,1,9,9@1=spleen",)}, PromptError, "disc, liver"),
        ({"correct": Path("x.nii.gz")}, InputError, "--correct"),
        ({"embeddings": Path("kept")}, InputError, "--embeddings"),
        ({"engine": "openvino"}, InputError, "--engine"),
        ({"model": "lite-medsam", "mirror": True, "box": ("1,1,9,9@1",)}, InputError, "--mirror"),
        ({"model": "lite-medsam", "refine": "x", "box": ("1,1,9,9@1",)}, InputError, "--refine"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes, error, words
) -> None:
    monkeypatch.setattr(jobs, "load", lambda *given, **more: Segmenter(BrightPredictor()))
    with pytest.raises(error, match=words):
        segment_file(job(run, volume, tmp_path / "out.nii.gz", **changes))
    assert not (tmp_path / "out.nii.gz").exists()


def test_weights_that_refine_are_read_and_found_again(
    run: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "load", lambda *given, **more: Segmenter(BrightPredictor(level=140)))
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "tuned.nii.gz"
    weights.write_bytes(b"weights")
    how: dict[str, object] = {
        "refine": f"lite-medsam={weights.name}",
        "box": ("8,5,29,19@2=liver",),
    }
    with pytest.raises(OutputError, match="which is read"):
        segment_file(job(run, volume, weights, overwrite=True, **how))
    assert weights.read_bytes() == b"weights"
    segment_file(job(run, volume, tmp_path / "out.nii.gz", overlap="later-wins", **how))
    facts = json.loads((tmp_path / "out.nii.gz.json").read_text())
    assert facts["command"]["refine"] == f"lite-medsam={weights}"


def test_a_model_of_classes_cannot_refine(run: Path, volume: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a model of prompts to refine with"):
        segment_file(
            job(run, volume, tmp_path / "out.nii.gz", refine=str(run), box=("1,1,9,9@1=disc",))
        )


def test_an_unfinished_training_is_no_model(tmp_path: Path, volume: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "options.json").write_text("{}")
    assert (
        main(["segment", "-i", str(volume), "-o", "x.nii.gz", "--model", str(tmp_path / "half")])
        == 2
    )


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Three 2D images with masks: discs, a liver on the first, something unknown on the second."""
    root = tmp_path / "set"
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    for k in range(3):
        voxels = scene(40, 33)
        labels = (voxels >= 100).astype(np.uint8)
        if k == 0:
            labels[voxels >= 200] = 2
        if k == 1:
            labels[30:33, 2:6] = 3
        PilImage.fromarray(voxels).save(root / "images" / f"p{k}.png")
        PilImage.fromarray(labels).save(root / "masks" / f"p{k}.png")
    said = {"name": "set", "modality": "US", "targets": {"1": "disc", "2": "liver", "3": "stone"}}
    (root / "dataset.json").write_text(json.dumps(said))
    return root


def test_evaluate_scores_classes_without_prompts(run: Path, truth: Path, tmp_path: Path) -> None:
    done = evaluate(
        EvaluateJob(
            input=truth,
            output=tmp_path / "results",
            model=(str(run),),
            window="255/127.5",
            quiet=True,
        )
    )
    with (tmp_path / "results" / "rows.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(r["protocol"], r["prompt"], r["model"]) for r in rows} == {
        ("classes", "", "two-classes")
    }
    assert [(r["case"], r["target"]) for r in rows] == [
        *(("p0", "disc"), ("p0", "liver"), ("p1", "disc"), ("p2", "disc")),
    ]
    scores = {(r["case"], r["target"]): float(r["dsc"]) for r in rows}
    assert scores["p0", "disc"] == scores["p0", "liver"] == 1
    inside, all_ = int((scene(40, 33) >= 100).sum()), int((scene(40, 33) >= 200).sum())
    assert scores["p1", "disc"] == pytest.approx(
        2 * (inside - all_) / (2 * inside - all_), abs=1e-5
    )
    assert done.report.exists()


def test_evaluate_refuses_both_kinds_in_one_run(run: Path, truth: Path, tmp_path: Path) -> None:
    both = EvaluateJob(
        input=truth, output=tmp_path / "r", model=(str(run), "lite-medsam"), quiet=True
    )
    with pytest.raises(InputError, match="runs of their own"):
        evaluate(both)
    with pytest.raises(InputError, match="models of classes for --protocol classes"):
        evaluate(replace(both, model=("lite-medsam",), protocol=("classes",)))
    with pytest.raises(InputError, match="models of prompts for --protocol 3d"):
        evaluate(replace(both, model=(str(run),), protocol=("3d",)))


def test_evaluate_refuses_a_case_of_other_classes(run: Path, truth: Path, tmp_path: Path) -> None:
    PilImage.fromarray(np.full((40, 33), 3, np.uint8)).save(truth / "masks" / "p2.png")
    with pytest.raises(InputError, match="p2 with stone"):
        evaluate(EvaluateJob(input=truth, output=tmp_path / "r", model=(str(run),), quiet=True))


@pytest.mark.parametrize("how", ["--replay", "--config"])
def test_a_run_without_prompts_is_done_again_from_its_provenance(
    run: Path, volume: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, again = tmp_path / "out.nii.gz", tmp_path / "again.nii.gz"
    segment_file(job(run, volume, output, tile=32))
    facts = json.loads((tmp_path / "out.nii.gz.json").read_text())
    assert facts["prompts"]["objects"] == []
    assert main(["segment", how, f"{output}.json", "-o", str(again)]) == 0
    assert ("bit for bit" in capsys.readouterr().out) is (how == "--replay")
    np.testing.assert_array_equal(nib.load(again).dataobj, nib.load(output).dataobj)
    after = json.loads((tmp_path / "again.nii.gz.json").read_text())
    assert after["masks_sha256"] == facts["masks_sha256"]
    assert after["options"] == facts["options"]
