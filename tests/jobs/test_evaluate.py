"""An evaluation from data on disk to rows: what is prompted, what is scored, what a second run does."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError, PromptsegError, UnsupportedPromptError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.report import ReportOptions, write_report
from promptseg.evaluate.rows import Row, read_rows
from promptseg.jobs.evaluate import Evaluated, evaluate

BRIGHT, DARK = 200, 10


def block(shape: tuple[int, ...], *sides: tuple[int, int]) -> NDArray[np.bool_]:
    """A box with both ends of each side inside."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b + 1) for a, b in sides)] = True
    return mask


def save_picture(folder: Path, name: str, labels: NDArray[Any], bright: NDArray[np.bool_]) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    values = np.where(bright, BRIGHT, DARK).astype(np.uint8)
    PilImage.fromarray(values).save(folder / "images" / f"{name}.png")
    PilImage.fromarray(labels.astype(np.uint8)).save(folder / "masks" / f"{name}.png")


def save_volume(folder: Path, name: str, labels: NDArray[Any], bright: NDArray[np.bool_]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    for kind, values in (("image", np.where(bright, BRIGHT, DARK)), ("label", labels)):
        nib.save(
            nib.Nifti1Image(values.T.astype(np.int16), affine), folder / f"{name}_{kind}.nii.gz"
        )


def describe(folder: Path, modality: str, **targets: str) -> None:
    content = {"name": folder.name, "modality": modality, "licence": "CC0"}
    content["targets"] = {k.removeprefix("t"): v for k, v in targets.items()}  # type: ignore[assignment]
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures: a block found exactly, and one whose box holds a bright block of half its size."""
    folder = tmp_path / "data" / "us__blocks"
    whole = block((40, 60), (5, 14), (10, 29))
    save_picture(folder, "p1", whole, whole)
    half = block((40, 60), (5, 14), (10, 19))
    save_picture(folder, "p2", whole + 2 * block((40, 60), (30, 35), (40, 45)), half)
    describe(folder, "ultrasound", t1="block", t2="dark")
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Four patients with a bright block on slices 2 to 11 and a small one on 6."""
    folder = tmp_path / "data" / "ct__blocks"
    for k in range(4):
        block_1 = block((14, 30, 40), (2, 11), (5, 14), (10, 29))
        labels = block_1 + 2 * block((14, 30, 40), (6, 6), (20, 22), (3, 5))
        save_volume(folder, f"patient{k}", labels, labels > 0)
    describe(folder, "CT", t1="block", t2="speck")
    return folder


def run(
    data: Path, out: Path, predictor: BrightPredictor | None = None, **options: Any
) -> list[Row]:
    """The rows of a run with a model that sees what is bright."""
    options = {"window": "128/64", "pictures": False, **options}
    job = EvaluateJob(input=data, output=out, quiet=True, **options)
    names = {*job.model, job.start_model} - {None}
    predictor = predictor or BrightPredictor(card="mobile-sam")
    assert not evaluate(job, {str(name): predictor for name in names}).failed
    return read_rows(out / "rows.csv")


def test_pictures_by_exact_boxes(pictures: Path, tmp_path: Path) -> None:
    rows = run(pictures, tmp_path / "out")
    assert [(r.case, r.target, round(r.dsc, 4)) for r in rows] == [
        ("p1", "block", 1.0),
        ("p2", "block", round(2 * 100 / 300, 4)),
        ("p2", "dark", 0.0),
    ]
    first, half, missed = rows
    assert (first.dataset, first.modality, first.kind, first.protocol, first.prompt) == (
        "us__blocks",
        "US",
        "picture",
        "2d",
        "box",
    )
    assert first.slice is None
    assert (half.truth_size, half.found_size) == (200, 100)
    assert half.volume_difference == pytest.approx(-0.5)
    assert missed.note == "empty prediction"
    assert (missed.dsc, missed.nsd) == (0, 0)


def test_the_run_is_recorded(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "out", seed=5, max_objects=1, tolerance=3.0)
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["seed"] == 5
    assert facts["max_objects"] == 1
    assert facts["rules"]["tolerance"] == 3.0
    assert facts["rules"]["both_empty"] == "one"
    assert facts["models"][0]["weights_sha256"] == "0" * 64
    assert facts["datasets"][0]["name"] == "us__blocks"
    assert facts["datasets"][0]["cases"] == 2
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "out" / "summary.csv").exists()


def test_only_the_largest_objects(pictures: Path, tmp_path: Path) -> None:
    rows = run(pictures, tmp_path / "out", max_objects=1)
    assert [(r.case, r.target) for r in rows] == [("p1", "block"), ("p2", "block")]


def test_slices_of_volumes_one_by_one(volumes: Path, tmp_path: Path) -> None:
    """Of ten slices with the block every second; the speck has too few pixels for any."""
    rows = run(volumes, tmp_path / "out", max_cases=1, max_slices=5)
    assert [(r.slice, r.target, r.dsc) for r in rows] == [
        (k, "block", 1.0) for k in (2, 4, 6, 8, 10)
    ]
    rows = run(volumes, tmp_path / "all", max_cases=1, max_slices=0, min_pixels=8)
    assert len(rows) == 11
    assert [r.slice for r in rows if r.target == "speck"] == [6]


def test_slices_evenly_spread(volumes: Path, tmp_path: Path) -> None:
    """Four of the slices 2 to 11, in the middles of four equal parts; all where there are fewer."""
    rows = run(volumes, tmp_path / "out", max_slices=4, spread_slices=True, min_pixels=2)
    ours = [r for r in rows if r.case == rows[0].case]
    assert [r.slice for r in ours if r.target == "block"] == [3, 5, 8, 10]
    assert [r.slice for r in ours if r.target == "speck"] == [6]


def test_the_cases_of_one_part_of_a_table(volumes: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    lines = [f"ct__blocks,patient{k},{'test' if k % 2 else 'train'}" for k in range(4)]
    table.write_text("\n".join(["dataset,case,part", *lines]) + "\n", encoding="utf-8")
    rows = run(volumes, tmp_path / "out", max_slices=1, splits=table)
    assert {r.case for r in rows} == {"patient1", "patient3"}
    with pytest.raises(InputError, match="cases of the validation part"):
        run(volumes, tmp_path / "other", splits=table, part="validation")


def test_jittered_boxes_are_the_same_for_every_model(pictures: Path, tmp_path: Path) -> None:
    seen = []
    for name, card in (("a", "lite-medsam"), ("b", "mobile-sam")):
        predictor = BrightPredictor(card=card)
        run(pictures, tmp_path / name, predictor, prompt=("jittered-box",), model=(card,))
        seen.append(predictor.boxes)
    assert seen[0] == seen[1]
    exact = [(10, 5, 29, 14)] * 2 + [(40, 30, 45, 35)]
    assert seen[0] != exact
    reach = 20 * 60 / 1024
    assert np.abs(np.subtract(seen[0], exact)).max() <= reach


def test_prompts_do_not_depend_on_what_else_is_done(pictures: Path, tmp_path: Path) -> None:
    alone = run(pictures, tmp_path / "a", prompt=("point",))
    both = run(pictures, tmp_path / "b", prompt=("box", "point"))
    points = [r for r in both if r.prompt == "point"]
    assert [r._replace(seconds=0) for r in points] == [r._replace(seconds=0) for r in alone]


def test_corrections(pictures: Path, tmp_path: Path) -> None:
    predictor = BrightPredictor(card="mobile-sam")
    rows = run(
        pictures,
        tmp_path / "out",
        predictor,
        protocol=("interactive-2d",),
        prompt=("point", "box"),
        corrections=3,
    )
    assert {(r.prompt, r.step) for r in rows} == {
        (f"{kind}+corrections", k) for kind in ("point", "box") for k in range(4)
    }
    assert len(rows) == 3 * 2 * 4
    assert {"point", "mask"} in predictor.asked
    without = BrightPredictor(card="mobile-sam")
    run(
        *(pictures, tmp_path / "no", without),
        protocol=("interactive-2d",),
        corrections=3,
        previous_mask=False,
    )
    assert not any("mask" in asked for asked in without.asked)


def test_volumes_from_the_middle_slice(volumes: Path, tmp_path: Path) -> None:
    predictor = BrightPredictor(card="mobile-sam")
    rows = run(volumes, tmp_path / "out", predictor, protocol=("3d",), max_cases=1)
    assert [(r.target, r.slice, r.dsc, r.protocol) for r in rows] == [
        ("block", None, 1.0, "3d"),
        ("speck", None, 1.0, "3d"),
    ]
    assert predictor.boxes[0] == (10, 5, 29, 14)  # slice 7, the middle one of 2 to 11
    assert rows[0].truth_size == 2000


def test_a_volume_that_starts_from_the_true_mask(volumes: Path, tmp_path: Path) -> None:
    """The model sees nothing, so that only the given slice is found."""
    blind = BrightPredictor(level=256, card="mobile-sam")
    rows = run(
        *(volumes, tmp_path / "out", blind),
        protocol=("3d",),
        prompt=("mask",),
        max_cases=1,
        propagate="box",
    )
    block_1 = rows[0]
    assert block_1.prompt == "mask"
    assert block_1.found_size == 200
    assert block_1.dsc == pytest.approx(2 * 200 / 2200)


@pytest.mark.parametrize(
    ("start_model", "prompt", "level", "found"),
    [(None, "mask", 128, 1), ("mobile-sam", "box", 128, 1), ("mobile-sam", "box", 256, 0)],
)
def test_a_model_that_is_never_asked_has_no_embedding(
    start_model: str | None,
    prompt: Any,
    level: int,
    found: int,
    volumes: Path,
    tmp_path: Path,
) -> None:
    """It starts from a mask on one slice, or from an empty one, and nothing is propagated."""
    job = EvaluateJob(
        input=volumes,
        output=tmp_path / "out",
        start_model=start_model,
        prompt=(prompt,),
        protocol=("3d",),
        propagate="none",
        window="128/64",
        max_cases=1,
        pictures=False,
        quiet=True,
    )
    idle, starter = BrightPredictor(), BrightPredictor(card="mobile-sam", level=level)
    assert not evaluate(job, {"lite-medsam": idle, "mobile-sam": starter}).failed
    assert idle.encoded == []
    rows = read_rows(tmp_path / "out" / "rows.csv")
    scores = {row.target: row.dsc for row in rows}
    assert scores == pytest.approx(
        {"block": found * 2 / 11, "speck": found}, abs=1e-6
    )  # of 10, of 1
    assert not (tmp_path / "out" / "embeddings.npz").exists()


def test_a_volume_that_starts_from_the_mask_of_another_model(volumes: Path, tmp_path: Path) -> None:
    rows = run(
        *(volumes, tmp_path / "out"),
        protocol=("3d",),
        model=("mobile-sam",),
        start_model="lite-medsam",
        max_cases=1,
    )
    assert {r.prompt for r in rows} == {"box of mobile-sam"}  # the card of the double
    assert [r.dsc for r in rows] == [1.0, 1.0]


def test_a_search_on_other_patients(volumes: Path, tmp_path: Path) -> None:
    """The mode that ends at once loses; the best one is used on the patients left."""
    out = tmp_path / "out"
    rows = run(
        *(volumes, out),
        protocol=("interactive-3d",),
        prompt=("box",),
        grid=("propagate=none", "propagate=box margin=0.1"),
        validation=2,
    )
    search = [r for r in rows if r.protocol == "interactive-3d-search"]
    test = [r for r in rows if r.protocol == "interactive-3d"]
    assert {r.patient for r in search} == {"patient0", "patient1"}
    assert {r.patient for r in test} == {"patient2", "patient3"}
    assert {r.setting for r in search} == {"propagate=none", "propagate=box margin=0.1"}
    assert {r.setting for r in test} == {"propagate=box margin=0.1"}
    chosen = json.loads((out / "run.json").read_text())["chosen_settings"]
    assert list(chosen.values()) == ["propagate=box margin=0.1"]


def test_videos_frame_by_frame_from_the_first(tmp_path: Path) -> None:
    """The object is first seen on frame 1; frame 3 has no truth and gives no row."""
    clip = tmp_path / "data" / "video__moving" / "clip1"
    for kind in ("frames", "masks"):
        (clip / kind).mkdir(parents=True)
    for k in range(5):
        mask = block((40, 60), (5 + k, 14 + k), (10, 29)) & (k > 0)
        values = np.where(mask, BRIGHT, DARK).astype(np.uint8)
        PilImage.fromarray(values).save(clip / "frames" / f"{k:04}.png")
        if k != 3:
            PilImage.fromarray(mask.astype(np.uint8)).save(clip / "masks" / f"{k:04}.png")
    describe(clip.parent, "endoscopy", t1="block")
    rows = run(
        *(clip.parent, tmp_path / "out"),
        protocol=("video",),
        propagate="box",
        margin_pixels=2.0,
        min_iou=0.0,
    )
    assert [(r.frame, r.note, r.kind) for r in rows] == [
        (1, "prompted", "video"),
        (2, "", "video"),
        (4, "", "video"),
    ]
    assert [r.dsc for r in rows] == [1.0, 1.0, 1.0]


def test_a_second_run_does_only_what_is_missing(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = run(pictures, out)
    idle = BrightPredictor(card="mobile-sam")
    assert run(pictures, out, idle) == before
    assert idle.encoded == []
    part = next((out / "parts").rglob("p2"))
    (part / "part.json").unlink()
    again = BrightPredictor(card="mobile-sam")
    after = run(pictures, out, again)
    assert len(again.encoded) == 1
    assert [r._replace(seconds=0) for r in after] == [r._replace(seconds=0) for r in before]


def test_a_changed_image_is_evaluated_again(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pictures, out)
    whole = block((40, 60), (5, 14), (10, 29))
    save_picture(pictures, "p2", whole, whole)
    again = BrightPredictor(card="mobile-sam")
    rows = run(pictures, out, again)
    assert len(again.encoded) == 1
    assert [r.dsc for r in rows] == [1.0, 1.0]


def test_a_case_that_is_gone_is_counted_no_more(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pictures, out, model=("mobile-sam",))
    for kind in ("images", "masks"):
        (pictures / kind / "p2.png").unlink()
    assert [r.case for r in run(pictures, out, model=("mobile-sam",))] == ["p1"]
    assert not list((out / "parts").rglob("p2"))
    assert json.loads((out / "run.json").read_text())["scored"] == {"us__blocks": 1}


def test_the_cases_of_a_part_that_is_divided_otherwise_by_now(
    volumes: Path, tmp_path: Path
) -> None:
    table = tmp_path / "split.csv"

    def cases(*tested: int) -> set[str]:
        lines = [f"ct__blocks,patient{k},{'test' if k in tested else 'train'}" for k in range(4)]
        table.write_text("\n".join(["dataset,case,part", *lines]) + "\n", encoding="utf-8")
        rows = run(volumes, tmp_path / "out", max_slices=1, splits=table)
        return {row.case for row in rows}

    assert cases(0, 1) == {"patient0", "patient1"}
    assert cases(1, 2) == {"patient1", "patient2"}


def test_what_another_model_came_to_stays_as_one_is_run_again(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(pictures, out, model=("mobile-sam",))
    run(pictures, out, BrightPredictor(card="lite-medsam"), model=("lite-medsam",))
    before = {(r.model, r.case, r.target) for r in read_rows(out / "rows.csv")}
    rows = run(pictures, out, model=("mobile-sam",))
    assert {(r.model, r.case, r.target) for r in rows} == before
    assert len(rows) == len(before) == 6


def test_another_description_is_evaluated_anew(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pictures, out, model=("mobile-sam",))
    describe(pictures, "MR", t1="tumour", t2="dark")
    with pytest.raises(OutputError, match="that mobile-sam was run on, got others in us__blocks"):
        run(pictures, out, BrightPredictor(card="lite-medsam"), model=("lite-medsam",))
    rows = run(pictures, out, model=("mobile-sam",))
    assert {(r.target, r.modality) for r in rows} == {("tumour", "MR"), ("dark", "MR")}


def test_other_weights_of_the_starting_model_are_evaluated_anew(
    volumes: Path, tmp_path: Path
) -> None:
    def done(start_sha256: str, tested: str = "lite-medsam") -> int:
        start = BrightPredictor(card="mobile-sam")
        start.weights_sha256 = start_sha256
        job = EvaluateJob(
            input=volumes,
            output=tmp_path / "out",
            model=(tested,),
            start_model="mobile-sam",
            protocol=("3d",),
            max_cases=1,
            window="128/64",
            pictures=False,
            quiet=True,
        )
        return evaluate(job, {tested: BrightPredictor(card=tested), "mobile-sam": start}).done

    assert [done("1" * 64), done("1" * 64), done("2" * 64)] == [1, 0, 1]
    with pytest.raises(OutputError, match="got other weights of --start-model"):
        done("1" * 64, "sam-vit-b")
    assert done("2" * 64, "sam-vit-b") == 1


def test_frames_that_changed_are_evaluated_again(tmp_path: Path) -> None:
    """The folder of frames stays as it is: an image in it is written over."""
    clip = tmp_path / "data" / "video__moving" / "clip1"
    for kind in ("frames", "masks"):
        (clip / kind).mkdir(parents=True)
    whole = block((40, 60), (5, 14), (10, 29))

    def write(frame: int, bright: NDArray[np.bool_]) -> None:
        values = np.where(bright, BRIGHT, DARK).astype(np.uint8)
        PilImage.fromarray(values).save(clip / "frames" / f"{frame:04}.png")

    for frame in range(2):
        write(frame, whole)
        PilImage.fromarray(whole.astype(np.uint8)).save(clip / "masks" / f"{frame:04}.png")
    describe(clip.parent, "endoscopy", t1="block")

    def scores() -> list[float]:
        rows = run(clip.parent, tmp_path / "out", protocol=("video",), propagate="box")
        return [row.dsc for row in rows]

    assert scores() == [1.0, 1.0]
    write(1, block((40, 60), (5, 14), (10, 19)))
    assert scores() == [1.0, pytest.approx(2 * 100 / 300)]


def test_an_interrupted_run_keeps_what_was_done(pictures: Path, tmp_path: Path) -> None:
    class Interrupted(BrightPredictor):
        def encode(self, *arguments: Any, **options: Any) -> Any:
            if len(self.encoded) == 1:
                raise KeyboardInterrupt
            return super().encode(*arguments, **options)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(pictures, out, Interrupted(card="mobile-sam"))
    assert [r.case for r in read_rows(out / "rows.csv")] == ["p1"]
    rest = BrightPredictor(card="mobile-sam")
    rows = run(pictures, out, rest)
    assert len(rest.encoded) == 1
    assert [r.case for r in rows] == ["p1", "p2", "p2"]


def test_a_killed_run_can_go_on(pictures: Path, tmp_path: Path) -> None:
    """What a process leaves that had no time to tidy up: parts and the record of the request."""
    out = tmp_path / "out"
    copy = tmp_path / "copy"

    class Killed(BrightPredictor):
        def encode(self, *arguments: Any, **options: Any) -> Any:
            if len(self.encoded) == 1:
                shutil.copytree(out, copy)
            return super().encode(*arguments, **options)

    run(pictures, out, Killed(card="mobile-sam"))
    assert not (copy / "rows.csv").exists()
    rest = BrightPredictor(card="mobile-sam")
    assert len(run(pictures, copy, rest)) == 3
    assert len(rest.encoded) == 1


def test_results_of_other_rules_are_never_mixed_in(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pictures, out)
    with pytest.raises(OutputError, match=r"tolerance 2.0 \(now 1.0\).*--overwrite"):
        run(pictures, out, tolerance=1.0)
    assert len(read_rows(out / "rows.csv")) == 3
    rows = run(pictures, out, tolerance=1.0, prompt=("point",), overwrite=True)
    assert {r.prompt for r in rows} == {"point"}


def test_another_model_joins_under_the_same_rules(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pictures, out, model=("mobile-sam",))
    boxes_only = BrightPredictor(card="lite-medsam")
    rows = run(pictures, out, boxes_only, model=("lite-medsam",))
    assert {r.model for r in rows} == {"mobile-sam", "lite-medsam"}
    facts = json.loads((out / "run.json").read_text())
    assert [m["name"] for m in facts["models"]] == ["mobile-sam", "lite-medsam"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cases": 2}, r"max_cases 1 \(now 2\)"),
        ({"max_cases": None}, r"max_cases 1 \(now None\)"),
        ({"max_cases": 1, "dataset": ("us__blocks",)}, r"dataset \[\] \(now \['us__blocks'\]\)"),
    ],
)
def test_no_model_joins_under_other_options(
    options: dict[str, Any], message: str, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(pictures, out, max_cases=1, tolerance=3.0)
    before = (out / "run.json").read_text()
    other = BrightPredictor(card="lite-medsam")
    with pytest.raises(OutputError, match=message):
        run(pictures, out, other, model=("lite-medsam",), tolerance=3.0, **options)
    assert (out / "run.json").read_text() == before
    # a folder of an earlier version kept these two options in the record alone
    facts = json.loads(before)
    del facts["request"]["max_cases"], facts["request"]["dataset"]
    (out / "run.json").write_text(json.dumps(facts))
    with pytest.raises(OutputError, match=message):
        run(pictures, out, other, model=("lite-medsam",), tolerance=3.0, **options)


def test_what_each_model_was_run_with_stays_on_record(volumes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for file in volumes.glob("patient3_label*"):
        file.unlink()
    job = {"input": volumes, "output": out, "quiet": True, "window": "128/64", "keep_going": True}
    first = {"mobile-sam": BrightPredictor(card="mobile-sam")}
    bad = volumes / "patient2_image.nii.gz"
    content = bad.read_bytes()
    bad.write_bytes(content[:50])
    assert evaluate(EvaluateJob(model=("mobile-sam",), **job), first).failed
    bad.write_bytes(content)
    second = {"lite-medsam": BrightPredictor(card="lite-medsam")}
    with pytest.raises(
        OutputError, match="files that mobile-sam was run on, got others in ct__blo"
    ):
        evaluate(EvaluateJob(model=("lite-medsam",), **job), second)
    bad.write_bytes(content[:50])
    assert evaluate(EvaluateJob(model=("lite-medsam",), missing="empty", **job), second).failed
    facts = json.loads((out / "run.json").read_text())
    runs = {m["name"]: m["run"] for m in facts["models"]}
    assert [run["options"]["missing"] for run in runs.values()] == ["refuse", "empty"]
    assert {run["input"] for run in runs.values()} == {str(volumes)}
    assert facts["options"]["model"] == ["mobile-sam", "lite-medsam"]
    named = {f["model"] for f in facts["failed"] if f["case"] == "patient2"}
    assert named == {"mobile-sam", "lite-medsam"}
    assert [f["case"] for f in facts["failed"] if not f["model"]] == ["patient3"]


def test_other_weights_of_the_same_name_are_evaluated_anew(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "out")
    other = BrightPredictor(card="mobile-sam")
    other.weights_sha256 = "1" * 64
    run(pictures, tmp_path / "out", other)
    assert len(other.encoded) == 2


def test_other_peoples_files_are_left_alone(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "parts").mkdir(parents=True)
    (out / "parts" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="a folder without other files"):
        run(pictures, out)
    assert (out / "parts" / "mine.txt").read_text() == "mine"


def test_prompts_a_model_was_not_trained_for(pictures: Path, tmp_path: Path) -> None:
    predictor = BrightPredictor(card="lite-medsam")
    with pytest.raises(UnsupportedPromptError, match="got a point"):
        run(pictures, tmp_path / "a", predictor, prompt=("box", "point"))
    assert predictor.encoded == []
    assert not (tmp_path / "a").exists()
    rows = run(pictures, tmp_path / "b", predictor, prompt=("box", "point"), skip_unsupported=True)
    assert {r.prompt for r in rows} == {"box"}
    with pytest.raises(UnsupportedPromptError, match="got a text; use --model promptseg-words"):
        run(pictures, tmp_path / "c", prompt=("text",))
    with pytest.raises(
        InputError, match="prompts out of box, jittered-box, point, mask, text, got word"
    ):
        run(pictures, tmp_path / "d", prompt=("word",))


def test_a_case_that_fails(volumes: Path, tmp_path: Path) -> None:
    """It stops the run, unless the run keeps going; then it is counted and named."""
    broken = volumes / "patient1_label.nii.gz"
    image = nib.load(volumes / "patient1_image.nii.gz")
    elsewhere = image.affine @ np.diag([1.5, 1, 1, 1])
    nib.save(nib.Nifti1Image(np.zeros((40, 30, 13), np.int16), elsewhere), broken)
    with pytest.raises(PromptsegError, match="patient1_label"):
        run(volumes, tmp_path / "out", protocol=("3d",))
    assert {r.case for r in read_rows(tmp_path / "out" / "rows.csv")} == {"patient0"}
    job = EvaluateJob(
        input=volumes,
        output=tmp_path / "out",
        quiet=True,
        protocol=("3d",),
        window="128/64",
        pictures=False,
        keep_going=True,
    )
    assert evaluate(job, {"lite-medsam": BrightPredictor(card="mobile-sam")}).failed
    rows = read_rows(tmp_path / "out" / "rows.csv")
    assert {r.case for r in rows} == {"patient0", "patient2", "patient3"}
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    failed = facts["failed"]
    assert facts["scored"] == {"ct__blocks": 3}
    assert [f["case"] for f in failed] == ["patient1"]
    assert "patient1_label" in failed[0]["error"]
    assert "patient1" in (tmp_path / "out" / "report.html").read_text()


def test_pictures_of_the_worst(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "out", pictures=True)
    index = json.loads((tmp_path / "out" / "failures" / "index.json").read_text())
    by_target = {entry["target"]: entry for entry in index if entry["case"] == "p2"}
    assert set(by_target) == {"block", "dark"}
    with PilImage.open(tmp_path / "out" / "failures" / by_target["dark"]["file"]) as picture:
        assert picture.size == (320, 213)


def test_pictures_that_may_not_be_published_stay_at_home(pictures: Path, tmp_path: Path) -> None:
    content = json.loads((pictures / "dataset.json").read_text())
    (pictures / "dataset.json").write_text(json.dumps({**content, "licence": "CC BY-NC 4.0"}))
    out = tmp_path / "out"
    run(pictures, out, pictures=True)
    assert list((out / "failures").glob("*.png"))
    assert "data:image/png" in (out / "report.html").read_text("utf-8")
    write_report(out, ReportOptions(publish=True, overwrite=True))
    assert "data:image/png" not in (out / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "mask"], "expected a prompt out of box, jittered-box, point, text for 2d"),
        (["--corrections", "100"], "expected corrections from 0 to 64, got 100"),
        (["--jitter", "-1"], "expected a jitter of 0 to 1024 pixels"),
        (["--tolerance", "-1"], "tolerance"),
        (["--workers", "0"], "expected --workers from 1 to"),
        (["--protocol", "4d"], "4d"),
        (["--dataset", "other"], "expected datasets out of us__blocks, got other"),
        (["--grid", "propagate=up", "--protocol", "interactive-3d"], "propagate out of"),
        (["--grid", "speed=1", "--protocol", "interactive-3d"], "settings option=value"),
    ],
)
def test_bad_options_are_one_line(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", "-i", str(pictures), "-o", str(out), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("error:") == 1
    assert not out.exists()


def test_models_and_predictions_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="models or predictions"):
        EvaluateJob(input=tmp_path, output=tmp_path, model=("a",), predictions=tmp_path)


def scored(data: Path, masks: Path, out: Path, **options: Any) -> list[Row]:
    job = EvaluateJob(
        input=data, output=out, predictions=masks, quiet=True, pictures=False, **options
    )
    assert not evaluate(job).failed
    return read_rows(out / "rows.csv")


def test_masks_of_another_tool_are_scored_by_the_same_rules(volumes: Path, tmp_path: Path) -> None:
    """One mask is right, one is shifted by two voxels of 2 mm along y, one is missing."""
    masks = tmp_path / "their_tool"
    masks.mkdir()
    for k in range(3):
        label = nib.load(volumes / f"patient{k}_label.nii.gz")
        values = np.roll(np.asanyarray(label.dataobj), 2 if k == 1 else 0, axis=1)
        nib.save(nib.Nifti1Image(values, label.affine), masks / f"patient{k}.nii.gz")
    with pytest.raises(InputError, match="patient3"):
        scored(volumes, masks, tmp_path / "refused")
    rows = scored(volumes, masks, tmp_path / "out", missing="empty", tolerance=3.9)
    blocks = {r.case: r for r in rows if r.target == "block"}
    assert {r.model for r in rows} == {"their_tool"}
    assert {r.protocol for r in rows} == {"predictions"}
    assert blocks["patient0"].dsc == 1
    shifted = blocks["patient1"]
    assert shifted.dsc == pytest.approx(0.8)
    assert shifted.hd95 == pytest.approx(4.0)
    assert shifted.nsd < 1
    assert blocks["patient3"].dsc == 0
    assert blocks["patient3"].note == "no prediction"
    loose = scored(
        volumes, masks, tmp_path / "loose", missing="empty", target_tolerance=("block=4.1",)
    )
    assert next(r for r in loose if r.case == "patient1" and r.target == "block").nsd == 1


def test_the_background_on_request(volumes: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for k in range(4):
        shutil.copy(volumes / f"patient{k}_label.nii.gz", masks / f"patient{k}.nii.gz")
    rows = scored(volumes, masks, tmp_path / "out", background=True)
    assert [r.target for r in rows[:3]] == ["block", "speck", "background"]
    assert rows[2].dsc == 1
    assert rows[2].truth_size == 14 * 30 * 40 - 2000 - 9


def test_the_end_says_how_good_it_was(pictures: Path, tmp_path: Path) -> None:
    job = EvaluateJob(
        input=pictures, output=tmp_path / "out", window="128/64", pictures=False, max_objects=1
    )
    evaluated = evaluate(job, {"lite-medsam": BrightPredictor()})
    said = "2d box: mean DSC 0.833, 95 % interval 0.667 to 1.000 (2 masks)"
    assert any(said in line for line in evaluated.summary())
    assert evaluated.report == job.output / "report.html"


def test_an_unknown_modality_is_said_where_values_are_scaled_by_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = block((40, 60), (5, 14), (10, 29))
    save_picture(tmp_path / "mine", "p1", whole, whole)
    job = EvaluateJob(input=tmp_path / "mine", output=tmp_path / "out", pictures=False)
    page = evaluate(job, {"lite-medsam": BrightPredictor()}).report.read_text("utf-8")
    said = "the modality of mine is not known"
    assert said in caplog.text
    assert said in page
    caplog.clear()
    scored(tmp_path / "mine", tmp_path / "mine" / "masks", tmp_path / "masks")  # no values are used
    job = EvaluateJob(
        input=tmp_path / "mine", output=tmp_path / "us", pictures=False, dataset_modality="US"
    )
    evaluate(job, {"lite-medsam": BrightPredictor()})
    assert "modality" not in caplog.text


def test_the_end_promises_no_interval_from_one_patient(pictures: Path, tmp_path: Path) -> None:
    job = EvaluateJob(
        input=pictures, output=tmp_path / "out", window="128/64", pictures=False, max_cases=1
    )
    said = evaluate(job, {"lite-medsam": BrightPredictor()}).summary()
    assert said[0] == "lite-medsam 2d box: mean DSC 1.000 (1 masks)"


def test_a_report_is_made_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(pictures, out)
    assert main(["report", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (out / "report.html").unlink()
    assert main(["report", str(out), "--overwrite"]) == 0
    assert (out / "report.html").exists()
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "rows.csv" in capsys.readouterr().err


def test_parquet_holds_the_same_rows(pictures: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = run(pictures, tmp_path / "out", parquet=True)
    table = parquet.read_table(tmp_path / "out" / "rows.parquet").to_pylist()
    assert [(r["case"], r["target"], r["step"]) for r in table] == [
        (r.case, r.target, r.step) for r in rows
    ]
    np.testing.assert_allclose([r["dsc"] for r in table], [r.dsc for r in rows], rtol=1e-5)


@pytest.mark.weights
@pytest.mark.slow
def test_workers_give_the_same_rows(
    pictures: Path, tmp_path: Path, lite_medsam_weights: Path
) -> None:
    found = []
    for workers in (1, 2):
        job = EvaluateJob(
            input=pictures,
            output=tmp_path / str(workers),
            quiet=True,
            pictures=False,
            prompt=("jittered-box",),
            workers=workers,
            threads=2,
            device="cpu",
        )
        assert not evaluate(job).failed
        rows = read_rows(tmp_path / str(workers) / "rows.csv")
        found.append([(r.case, r.target, round(r.dsc, 3)) for r in rows])
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_the_folders_of_nnunet_are_named_as_by_curate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[EvaluateJob] = []
    nothing = Evaluated(tmp_path, tmp_path, skipped=0, done=0, failed=[])
    monkeypatch.setattr("promptseg.jobs.evaluate.evaluate", lambda job: seen.append(job) or nothing)
    where = ["evaluate", "--quiet", "-i", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*where, "--nnunet-split", "train"]) == 0
    assert main([*where, "--split", "train"]) == 0  # its earlier name
    for name in ("nnunet_split", "split"):
        (tmp_path / "c.yaml").write_text(f"{name}: train\n")
        assert main([*where, "--config", str(tmp_path / "c.yaml")]) == 0
    assert main(where) == 0
    assert [job.split for job in seen] == ["train"] * 4 + ["test"]
    assert main([*where, "--split", "80/10/10"]) == 2


def test_several_seeds_are_evaluations_of_their_own_and_their_spread(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked: dict[str, Any] = {
        "input": pictures,
        "window": "128/64",
        "pictures": False,
        "quiet": True,
        "prompt": ("box", "jittered-box"),
        "jitter": 100.0,
        "jitter_sign": "either",
    }
    model = {"lite-medsam": BrightPredictor(card="mobile-sam")}
    done = evaluate(EvaluateJob(output=out, seeds=3, seed=2, **asked), model)  # type: ignore[arg-type]
    assert done.report == out / "seeds.md"
    each = [read_rows(out / f"seed-{k}" / "rows.csv") for k in (2, 3, 4)]
    alone = tmp_path / "alone"
    evaluate(EvaluateJob(output=alone, seed=3, **asked), model)  # type: ignore[arg-type]
    assert [r._replace(seconds=0) for r in read_rows(alone / "rows.csv")] == [
        r._replace(seconds=0) for r in each[1]
    ]
    with (out / "seeds.csv").open() as stream:
        table = [r for r in csv.DictReader(stream) if r["metric"] == "dsc"]
    for row in table:
        if row["target"] != "block":
            continue
        means = [
            np.mean([r.dsc for r in rows if (r.prompt, r.target) == (row["prompt"], "block")])
            for rows in each
        ]
        assert float(row["mean"]) == pytest.approx(np.mean(means), abs=1e-5)
        assert float(row["deviation"]) == pytest.approx(statistics.stdev(means), abs=1e-5)
        assert (float(row["deviation"]) == 0) == (row["prompt"] == "box")
        assert (row["seeds"], row["n"]) == ("3", "2")
    assert any("jittered-box: mean DSC" in line and "± " in line for line in done.summary())
    assert "seed-4/report.html" in (out / "seeds.md").read_text()
    again = evaluate(EvaluateJob(output=out, seeds=3, seed=2, **asked), model)  # type: ignore[arg-type]
    assert (again.done, again.skipped) == (0, done.done)
    with pytest.raises(OutputError, match="one of several seeds"):
        evaluate(EvaluateJob(output=alone, seeds=2, **asked), model)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--seeds from 1"):
        EvaluateJob(output=out, seeds=0, **asked)
