"""A video followed with memory: hidden objects, corrections, replays, and runs that are cut off."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

from conformance.bright_memory import bright_memory
from fakes import BrightPredictor
from formats.video_makers import write_video
from promptseg.cli.main import main
from promptseg.errors import (
    InputError,
    InterruptedRunError,
    ModelError,
    OutputError,
    PromptError,
)
from promptseg.inference.predictor import Predictor
from promptseg.jobs.video import job as video_job
from promptseg.jobs.video import segment_video
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.preprocess import Preprocessing
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video import propagate
from small_sam2 import small_sam2

SHAPE = (24, 40)
COUNT = 20
HIDDEN = range(8, 12)
BOX = "3,6,10,14@0=block"


def truth(k: int) -> NDArray[np.bool_]:
    """A block that moves to the right and is hidden on some frames."""
    mask = np.zeros(SHAPE, dtype=bool)
    if k not in HIDDEN:
        mask[6:15, 3 + k : 11 + k] = True
    return mask


def beside(k: int) -> NDArray[np.bool_]:
    """A bar below it, hidden with it."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[18:22, 3:35] = k not in HIDDEN
    return mask


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = []
    for k in range(COUNT):
        frame = np.full((*SHAPE, 3), 20, np.uint8)
        frame[truth(k) | beside(k)] = 220
        frames.append(frame)
    return write_video(tmp_path / "clip.mkv", frames)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Predictor:
    predictor = bright_memory()
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    return predictor


def job_of(source: Path, out: Path, **changes: Any) -> SegmentJob:
    return SegmentJob(input=source, output=out, quiet=True, **{"box": (BOX,), **changes})


def masks_in(out: Path) -> dict[int, NDArray[Any]]:
    with zipfile.ZipFile(out / "masks.zip") as archive:
        return {
            int(Path(name).stem): np.asarray(PilImage.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
        }


def layer_in(out: Path, folder: str) -> list[NDArray[Any]]:
    with zipfile.ZipFile(out / "masks.zip") as archive:
        names = [f"{folder}/{k:06d}.png" for k in range(COUNT)]
        return [np.asarray(PilImage.open(io.BytesIO(archive.read(name)))) for name in names]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "areas.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_hidden_object_is_said_to_be_absent(clip: Path, tmp_path: Path) -> None:
    outputs = segment_video(job_of(clip, tmp_path / "out"))
    for k, labels in masks_in(tmp_path / "out").items():
        np.testing.assert_array_equal(labels == 1, truth(k))
    for row in rows_of(tmp_path / "out"):
        there = int(row["frame"]) not in HIDDEN
        assert (float(row["presence"]) > 0.5) is there
        assert (row["predicted_iou"] != "") is there
        assert (int(row["area_px"]) > 0) is there
    assert outputs.summary()[0] == (
        "1 block: on 16 of 20 frames, predicted IoU 0.90, absent on frames 8-11"
    )
    (facts,) = json.loads((tmp_path / "out" / "provenance.json").read_text())["objects"]
    assert (facts["frames"], facts["absent"]) == (16, [[8, 11]])


def test_what_names_nobody_is_told_of_a_video_without_names_too(clip: Path, tmp_path: Path) -> None:
    outputs = segment_video(job_of(clip, tmp_path / "out", deidentify=True, frames="5:14",
                                   box=("8,6,15,14@5=block",)))  # fmt: skip
    assert outputs.summary()[0].endswith("absent on frames 8-11")


def test_cleaning_keeps_what_is_known_of_hidden_frames(clip: Path, tmp_path: Path) -> None:
    job = job_of(clip, tmp_path / "out", fill_holes=True, frames="0:19:3")
    assert "absent on frames 9" in segment_video(job).summary()[0]


def test_a_model_that_does_not_say_leaves_presence_empty(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chained = BrightPredictor(card="mobile-sam")
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(chained))
    outputs = segment_video(job_of(clip, tmp_path / "out", margin_pixels=2.0))
    assert {row["presence"] for row in rows_of(tmp_path / "out")} == {""}
    assert "absent" not in outputs.summary()[0]


def both(clip: Path, tmp_path: Path) -> Path:
    """Results in which the block and the bar are one, and another object that is right."""
    boxes = ("3,6,34,21@0=block", "3,18,34,21@0=bar")
    segment_video(job_of(clip, tmp_path / "first", box=boxes))
    return tmp_path / "first"


def test_a_correction_changes_what_it_can_and_nothing_else(
    clip: Path, tmp_path: Path, model: Predictor
) -> None:
    first = both(clip, tmp_path)
    model.model.network.looked.clear()  # type: ignore[attr-defined]
    job = job_of(clip, tmp_path / "out", box=(), point=("12,20,-@15=block",), correct=first)
    outputs = segment_video(job)
    block, bar = (layer_in(tmp_path / "out", name) for name in ("1_block", "2_bar"))
    for k in range(COUNT):  # halfway to frame 0, which was prompted before
        wanted = truth(k) if k > 15 // 2 else truth(k) | beside(k)
        np.testing.assert_array_equal(block[k] > 0, wanted)
        np.testing.assert_array_equal(bar[k] > 0, beside(k))
    assert len(model.model.network.looked) == 1 + 12 - 1  # type: ignore[attr-defined]
    rows = {(r["label"], r["frame"]): r for r in rows_of(tmp_path / "out")}
    for row in rows_of(first):
        if row["label"] == "2" or int(row["frame"]) <= 15 // 2:
            assert rows[row["label"], row["frame"]] == row
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert [o["prompted_slices"] for o in facts["objects"]] == [[0, 15], [0]]
    assert facts["corrects"]["output"] == "first"
    assert facts["corrects"]["prompts"]["objects"][0]["name"] == "block"
    assert facts["prompts"]["objects"][0]["points"][0]["slice"] == 15
    assert "absent on frames 8-11" in outputs.summary()[0]
    again = job_of(clip, tmp_path / "b", box=(), point=("5,5,+@0=block",), frames="0:17",
                   correct=tmp_path / "out" / "masks.zip")  # fmt: skip
    with pytest.raises(PromptError, match=r"masks on the frames 0:17, got frame 18"):
        segment_video(again)


def test_a_correction_and_its_replay_are_the_same(clip: Path, tmp_path: Path) -> None:
    first = both(clip, tmp_path)
    out = tmp_path / "out"
    segment_video(job_of(clip, out, box=(), point=("12,20,-@15=block",), correct=first))
    for folder in (first, out):
        again = tmp_path / f"{folder.name} again"
        facts = str(folder / "provenance.json")
        assert main(["segment", "--replay", facts, "-o", str(again)]) == 0
        for name in ("masks.zip", "areas.csv"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_replay_says_whether_masks_are_the_same(
    clip: Path, tmp_path: Path, model: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    segment_video(job_of(clip, first))
    facts = first / "provenance.json"
    how = ["segment", "--replay", str(facts), "-o"]
    assert main([*how, str(tmp_path / "a")]) == 0
    assert "replay: the same masks, bit for bit" in capsys.readouterr().out
    assert main([*how, str(tmp_path / "b"), "--slices", "0:18"]) == 0
    assert "other masks than the earlier run" in " ".join(capsys.readouterr().out.split())
    model.weights_sha256 = "1" * 64
    with pytest.raises(ModelError, match="weights with sha256"):
        segment_video(job_of(clip, tmp_path / "c", replay=facts))
    assert not (tmp_path / "c").exists()


def _no_masks(folder: Path) -> None:
    (folder / "masks.zip").unlink()


def _no_zip(folder: Path) -> None:
    (folder / "masks.zip").write_bytes(b"PK no zip")


def _other_size(folder: Path) -> None:
    _put(folder, "000000.png", np.ones((9, 9), np.uint8))


def _foreign(folder: Path) -> None:
    _put(folder, "../x.txt", np.ones(SHAPE, np.uint8))


def _in_colour(folder: Path) -> None:
    _put(folder, "000000.png", np.ones((*SHAPE, 3), np.uint8))


def _empty(folder: Path) -> None:
    _put(folder, "000000.png", np.zeros(SHAPE, np.uint8))


def _bad_table(folder: Path) -> None:
    (folder / "areas.csv").write_text("frame,label\n1,x\n")


def _put(folder: Path, name: str, plane: NDArray[np.uint8]) -> None:
    content = io.BytesIO()
    PilImage.fromarray(plane).save(content, "PNG")
    with zipfile.ZipFile(folder / "masks.zip", "w") as archive:
        archive.writestr(name, content.getvalue())


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (_no_masks, InputError, "the results of an earlier run"),
        (_no_zip, InputError, "masks of a video that can be read"),
        (_other_size, PromptError, "masks of 40 x 24 pixels"),
        (_foreign, InputError, "numbered images of labels"),
        (_in_colour, InputError, "in colour"),
        (_empty, PromptError, "background alone"),
        (_bad_table, InputError, "areas as a run of ours wrote them"),
    ],
)
def test_results_that_cannot_be_corrected_are_one_error(
    clip: Path, tmp_path: Path, damage: Callable[[Path], None], kind: type, said: str
) -> None:
    segment_video(job_of(clip, tmp_path / "first", frames="0:3"))
    damage(tmp_path / "first")
    job = job_of(clip, tmp_path / "out", correct=tmp_path / "first")
    with pytest.raises(kind, match=said):
        segment_video(job)
    assert not (tmp_path / "out").exists()


def test_corrections_name_their_object_and_replace_nothing(clip: Path, tmp_path: Path) -> None:
    first = both(clip, tmp_path)
    for box, said in (("3,6,9,9@2", "one without a name"), ("3,6,9,9@2=other", "'other'")):
        with pytest.raises(PromptError, match=f"a correction of block, bar.*{said}"):
            segment_video(job_of(clip, tmp_path / "out", box=(box,), correct=first))
    with pytest.raises(OutputError, match="which is read"):
        segment_video(job_of(clip, first, box=("3,6,9,9@2=bar",), correct=first, overwrite=True))


def random_sam2() -> Predictor:
    """A small SAM 2 that says that objects are there."""
    network = small_sam2()
    network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2)
    card = CARDS["sam2.1-t"].__class__(
        **{
            **{f: getattr(CARDS["sam2.1-t"], f) for f in CARDS["sam2.1-t"].__dataclass_fields__},
            "preprocessing": Preprocessing(128, "imagenet", "stretch"),
        }
    )
    return Predictor(Sam2Model(card, network, torch.device("cpu")), Path("none.pt"), "0" * 64)


_CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background may take away
sys.path.insert(0, {tests!r})
from jobs.test_video_memory import random_sam2
from promptseg.cli.main import main
from promptseg.jobs.video import job as video_job
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video import propagate
propagate._FRAMES_A_PART = 4
predictor = random_sam2()
encode = predictor.model.encode
def slowly(*arguments, **how):
    time.sleep(0.1)
    return encode(*arguments, **how)
predictor.model.encode = slowly
video_job.load_prompted = lambda job: Segmenter(predictor)
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_interrupted_while_a_part_is_written_goes_on(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagate, "_FRAMES_A_PART", 4)
    segment_video(job_of(clip, tmp_path / "whole"))
    save, saved = np.savez, []

    def interrupted(content: Any, **arrays: Any) -> None:
        saved.append(content)
        if len(saved) == 5:
            with zipfile.ZipFile(content, "w") as archive:
                archive.open("a", "w").write(b"half of it")
                raise KeyboardInterrupt
        save(content, **arrays)

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(InterruptedRunError):
        segment_video(job_of(clip, tmp_path / "out"))
    segment_video(job_of(clip, tmp_path / "out"))
    for name in ("masks.zip", "areas.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_run_that_was_interrupted_and_killed_ends_as_if_it_had_not_been(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, then kill -9, each in a process of its own; a third one finishes. Same bytes."""
    monkeypatch.setattr(propagate, "_FRAMES_A_PART", 4)
    predictor = random_sam2()
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    boxes = ("6,6,13,14@5=block", "3,18,34,21@12=bar")
    segment_video(job_of(clip, tmp_path / "whole", box=boxes))
    out = tmp_path / "out"
    command = ["segment", "-i", str(clip), "-o", str(out), "--quiet"]
    command += [word for box in boxes for word in ("--box", box)]
    child = _CHILD.format(tests=str(Path(__file__).parents[1]))
    parts = out / ".promptseg-parts"
    for number, said in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        begun = len(list(parts.glob("0*.npz")))
        process = subprocess.Popen([sys.executable, "-c", child, *command], env=os.environ)
        until = time.monotonic() + 300
        while len(list(parts.glob("0*.npz"))) < begun + 2 and process.poll() is None:
            assert time.monotonic() < until, "parts appear"
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == said
        assert not list(out.glob("[!.]*"))
    kept = shutil.copytree(out, tmp_path / "kept")
    encoded: list[int] = []
    encode = predictor.model.encode
    monkeypatch.setattr(
        predictor.model, "encode", lambda *a, **how: (encoded.append(1), encode(*a, **how))[1]
    )
    segment_video(job_of(clip, out, box=boxes))
    assert len(list(kept.glob(".promptseg-parts/0*.npz"))) >= 4
    assert len(encoded) < 2 * COUNT - 8
    for name in ("masks.zip", "areas.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    areas = [int(row["area_px"]) for row in rows_of(out)]
    assert len(set(areas)) > 10, "masks that say something"
