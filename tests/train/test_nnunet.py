"""nnU-Net as another program: folders both ways, orders and answers, rows, refusals.

Tests with the real one are asked for by `PROMPTSEG_NNUNET=PYTHON`, a Python that has nnU-Net
2.8 (its recipe is in docs/semantic.md); all others use a program that stands in for it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image as PilImage

from curate.made import Made, disc, make_collection, rectangle
from promptseg.cli.main import main
from promptseg.datasets.collection import Collection
from promptseg.errors import InputError, ModelError, OutputError, UnsupportedPromptError
from promptseg.formats.own_folder import OwnFolder
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.jobs.train import train
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.heads.semantic.card import semantic_card
from promptseg.models.nnunet import external, program
from promptseg.models.nnunet.model import NnunetClasses, box_on, channels
from promptseg.segment.classes.segmenter import load_classes
from promptseg.segment.classes.windows import Windows, probabilities
from promptseg.simulate.boxes import Jitter
from promptseg.train.nnunet.folders import write_raw
from promptseg.train.options import TrainOptions
from promptseg.train.semantic.classes import class_map
from train import fake_nnunet

REAL = os.environ.get("PROMPTSEG_NNUNET", "")


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    """The program that stands in for a Python with nnU-Net."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n" + Path(fake_nnunet.__file__).read_text())
    path.chmod(0o755)
    monkeypatch.setenv(external.VARIABLE, str(path))
    external._versions.cache_clear()
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Discs and plates, each picture another patient."""
    made = []
    for k in range(8):
        shape = (60, 48)
        masks = {
            "plate": rectangle(shape, (2, 2, 16, 14)),
            "disc": disc(shape, 35, 25, 9.0 + k % 3),
        }
        if k % 3 == 2:
            del masks["plate"]
        split = "train" if k < 5 else "validation" if k < 6 else "test"
        made.append(Made(f"us/case{k}", masks, split, f"patient{k}", "US", seed=k))  # type: ignore[arg-type]
    root = tmp_path_factory.mktemp("pictures")
    make_collection(root, made)
    return root


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Stacks of four slices of a ball."""
    made = []
    for k, split in enumerate(["train", "train", "validation", "test"]):
        for z in range(4):
            masks = {"ball": disc((40, 36), 20 + k, 18, 5.0 + z)}
            made.append(Made(f"ct/case{k}/{z}", masks, split, f"p{k}", "CT", seed=10 * k + z))  # type: ignore[arg-type]
    root = tmp_path_factory.mktemp("volumes")
    make_collection(root, made)
    return root


def options(data: Path, output: Path, **changes) -> TrainOptions:
    usual = {
        "input": data,
        "output": output,
        "model": "nnunet",
        "preset": "semantic-2d",
        "epochs": 2,
        "validate_every": 5,
        "quiet": True,
    }
    return TrainOptions(**{**usual, **changes})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def voxels(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def test_classes_become_nnunets_folders_and_are_read_back(pictures, tmp_path):
    collection = Collection(pictures)
    learnt, watched = ([(s,) for s in collection.of(p)] for p in ("train", "validation"))
    names = ("plate", "disc")
    written = write_raw(tmp_path, collection, (learnt, watched), names)
    assert (len(written.train), len(written.validation), written.channels) == (5, 1, 1)
    folder = tmp_path / "raw" / "Dataset001_us"
    said = json.loads((folder / "dataset.json").read_text())
    assert said["labels"] == {"background": 0, "plate": 1, "disc": 2}
    assert said["channel_names"] == {"0": "zscore"}
    for name, (sample,) in zip(written.train, learnt, strict=True):
        picture, labels = collection.read(sample)
        image = folder / "imagesTr" / f"{name}_0000.nii.gz"
        np.testing.assert_array_equal(voxels(image)[0], picture)
        np.testing.assert_array_equal(
            voxels(folder / "labelsTr" / f"{name}.nii.gz")[0],
            class_map(sample.targets, labels, names),
        )
        spacing = SimpleITK.ReadImage(str(image)).GetSpacing()
        assert spacing[2] > 100 * spacing[0]
    assert rows(tmp_path / "cases.csv")[0]["of"] == "us/case0"
    again = ["curate", "-i", str(folder), "-o", str(tmp_path / "back"), "--nnunet-split", "train"]
    assert main([*again, "--quiet"]) == 0
    back = Collection(tmp_path / "back")
    assert {t.name for s in back.samples for t in s.targets} == {"plate", "disc"}
    areas = sorted(t.area for s in back.samples for t in s.targets)
    assert areas == sorted(t.area for group in (*learnt, *watched) for t in group[0].targets)


def test_stacks_become_volumes_and_boxes_a_channel_without_normalisation(volumes, tmp_path):
    collection = Collection(volumes)
    stack = tuple(s for s in collection.samples if s.case == "case0")
    write_raw(tmp_path / "deep", collection, ([stack], []), ("ball",))
    found = voxels(tmp_path / "deep/raw/Dataset001_ct/labelsTr/case00000.nii.gz")
    assert [int(one.sum()) for one in found] == [s.targets[0].area for s in stack]
    flat = [(s,) for s in stack]
    write_raw(tmp_path / "boxed", collection, (flat, []), (), Jitter(0, "outward"))
    folder = tmp_path / "boxed/raw/Dataset001_ct"
    said = json.loads((folder / "dataset.json").read_text())
    assert said["channel_names"] == {"0": "zscore", "1": "noNorm"}
    x0, y0, x1, y1 = stack[0].targets[0].box
    box = voxels(folder / "imagesTr/case00000_0001.nii.gz")[0]
    assert set(np.unique(box)) == {0, 1}
    assert box[y0 : y1 + 1, x0 : x1 + 1].all()
    assert box.sum() == (x1 - x0 + 1) * (y1 - y0 + 1)
    write_raw(tmp_path / "moved", collection, (flat, []), (), Jitter(80, "outward"))
    moved = voxels(tmp_path / "moved/raw/Dataset001_ct/imagesTr/case00000_0001.nii.gz")[0]
    assert (moved >= box).all()
    assert moved.sum() > box.sum()


def test_gray_and_colour_images_go_together(tmp_path):
    shape = (32, 32)
    made = [
        Made("a/x", {"disc": disc(shape, 16, 16, 6)}, "train", colour=True),
        Made("a/y", {"disc": disc(shape, 16, 16, 6)}, "validation"),
    ]
    collection = make_collection(tmp_path / "mixed", made)
    groups = tuple([(s,) for s in collection.of(p)] for p in ("train", "validation"))
    written = write_raw(tmp_path / "out", collection, groups, ("disc",))  # type: ignore[arg-type]
    assert written.channels == 3
    folder = tmp_path / "out/raw/Dataset001_a/imagesTr"
    gray = [voxels(folder / f"case00001_{k:04d}.nii.gz") for k in range(3)]
    np.testing.assert_array_equal(gray[0], gray[1])
    np.testing.assert_array_equal(gray[0], gray[2])
    coloured = voxels(folder / "case00000_0001.nii.gz")
    assert not np.array_equal(coloured, voxels(folder / "case00000_0000.nii.gz"))


def test_colours_are_averaged_for_a_network_of_gray_images():
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 90
    assert channels([picture], 1).shape == (1, 1, 4, 5)
    assert channels([picture], 1)[0, 0, 0, 0] == 30
    assert channels([picture[..., 0]], 3).shape == (3, 1, 4, 5)
    assert box_on((4, 5), (-3, 1, 2, 99)).sum() == 3 * 3


def test_one_command_plans_trains_and_leaves_a_model_of_classes(fake, pictures, tmp_path):
    chosen = options(pictures, tmp_path / "run")
    trained = train(chosen)
    folder = chosen.output
    assert (folder / "nnunet" / "told.txt").read_text().split() == ["plan", "train"]
    assert trained.name == "run"
    card, file, said = semantic_card(folder)
    assert (card.base, card.names, card.depth) == ("nnunet", ("disc", "plate"), 1)
    assert [r["update"] for r in rows(folder / "train.csv")] == ["5", "10"]
    assert "nnU-Net's own words" in (folder / "nnunet" / "log.txt").read_text()
    assert said["training"]["cpu_seconds"] == 1
    assert "an empty answer" in (folder / "card.json").read_text()
    picture = np.full((40, 33), 20, np.uint8)
    picture[5:9, 6:12] = 220
    segmenter = load_classes(folder, device="cpu")
    found = segmenter.segment(Image.from_array(picture, "US"))
    assert found.result.names == {1: "disc", 2: "plate"}
    (bright, other) = found.result.segments
    assert int(bright.crop.sum()) == 24
    assert not other.crop.any()
    facts = found.result.provenance
    assert facts is not None
    assert facts.model.name == "run"
    assert file.name in ("model.safetensors", "model.pth")


def test_rows_of_nnunet_are_rows_like_any(fake, pictures, tmp_path):
    train(options(pictures, tmp_path / "run"))
    root = tmp_path / "set"
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    mask = rectangle((50, 40), (5, 6, 20, 30))
    PilImage.fromarray((200 * mask + 10).astype(np.uint8)).save(root / "images" / "p.png")
    PilImage.fromarray(mask.astype(np.uint8)).save(root / "masks" / "p.png")
    about = {"name": "set", "modality": "US", "targets": {"1": "disc"}}
    (root / "dataset.json").write_text(json.dumps(about))
    asked = ["evaluate", "-i", str(root), "--model", str(tmp_path / "run"), "--quiet"]
    assert main([*asked, "-o", str(tmp_path / "results")]) == 0
    (row,) = rows(tmp_path / "results" / "rows.csv")
    assert (row["protocol"], row["target"], float(row["dsc"])) == ("classes", "disc", 1.0)


def test_stacks_are_answered_whole(fake, volumes, tmp_path):
    train(options(volumes, tmp_path / "run", preset="semantic-3d"))
    card, _, _ = semantic_card(tmp_path / "run")
    assert card.depth == 8
    stack = np.full((3, 40, 36), 20, np.uint8)
    stack[1, 5:9, 6:12] = 220
    image = Image.from_array(stack, "CT", spacing=(1, 1, 2))
    found = load_classes(tmp_path / "run", device="cpu").segment(image)
    (ball,) = found.result.segments
    assert int(ball.crop.sum()) == 24


def test_of_a_stack_a_slice_at_a_time_is_held(fake, volumes, tmp_path):
    train(options(volumes, tmp_path / "run", preset="semantic-3d"))
    model = load_classes(tmp_path / "run", device="cpu").model
    assert isinstance(model, NnunetClasses)
    long = np.random.default_rng(0).integers(0, 255, (300, 40, 70)).astype(np.uint8)
    for how in (Windows(), Windows(32, 0.5), Windows(48, 0.25, True)):
        stack = long[:5]
        whole = model.on_slices(list(stack)).softmax(1)
        found = list(probabilities(model, stack.__getitem__, range(1, 5), (1, 1), how))
        assert [index for index, _ in found] == [1, 2, 3, 4]
        for index, chances in found:
            torch.testing.assert_close(chances, whole[index], rtol=1e-5, atol=1e-6)
    tracemalloc.start()
    try:
        count = 0
        for _, chances in probabilities(model, long.__getitem__, range(300), (1, 1), Windows()):
            count += int((chances[1] > 0.5).sum())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == int((long > 125).sum())
    assert most < long.nbytes, "a fourth of one class"
    assert not list(model._program._place.glob("answer[0-9]*.npy"))


def test_a_box_is_asked_for_by_the_last_channel(fake, pictures, tmp_path):
    train(options(pictures, tmp_path / "run", preset="box-channel"))
    card, _, _ = open_checkpoint(tmp_path / "run")
    assert (card.base, card.prompts) == ("nnunet", frozenset({"box"}))
    predictor = Predictor.load(tmp_path / "run", "cpu")
    picture = np.full((40, 33), 220, np.uint8)
    (embedding,) = predictor.encode([picture])
    answer = predictor.decode(embedding, boxes=[[3, 4, 12, 9], [0, 0, 1, 1]])
    assert answer.masks.sum((1, 2)).tolist() == [60, 4]
    assert answer.masks[0, 4:10, 3:13].all()
    with pytest.raises(UnsupportedPromptError, match="a box alone"):
        predictor.decode(embedding, points=([[[5, 5]]], [[1]]))


def test_a_finished_training_is_not_done_again_and_another_is_refused(fake, pictures, tmp_path):
    chosen = options(pictures, tmp_path / "run")
    train(chosen)
    train(options(pictures, tmp_path / "run"))
    assert (chosen.output / "nnunet" / "told.txt").read_text().split() == ["plan", "train"]
    with pytest.raises(OutputError, match="began with"):
        train(options(pictures, tmp_path / "run", features=8))
    train(options(pictures, tmp_path / "run", features=8, overwrite=True))
    assert (chosen.output / "nnunet" / "told.txt").read_text().split() == ["plan", "train"]
    with pytest.raises(OutputError, match="one of nnU-Net"):
        train(options(pictures, tmp_path / "run", model="deeplabv3plus", epochs=1))
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "card.json").write_text("{}")
    OwnFolder(tmp_path / "earlier").claim("card.json", taken=True)
    with pytest.raises(OutputError, match="with another training"):
        train(options(pictures, tmp_path / "earlier"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(OutputError, match="other files"):
        train(options(pictures, tmp_path / "mine"))


def test_what_nnunet_cannot_do_is_said_and_the_plans_stay(fake, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NNUNET_FAILS", "train")
    chosen = options(pictures, tmp_path / "run")
    with pytest.raises(ModelError, match="something is wrong with the data"):
        train(chosen)
    monkeypatch.delenv("FAKE_NNUNET_FAILS")
    train(chosen)
    told = (chosen.output / "nnunet" / "told.txt").read_text().split()
    assert told == ["plan", "train", "train"]


def test_an_absent_nnunet_is_refused_with_the_recipe(pictures, tmp_path, monkeypatch):
    monkeypatch.delenv(external.VARIABLE, raising=False)
    monkeypatch.setattr(external, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"would replace torch.*--no-deps.*nnunetv2==2\.8\.1"):
        train(options(pictures, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    asked = ["train", "-i", str(pictures), "-o", str(tmp_path / "run"), "--model", "nnunet"]
    assert main([*asked, "--preset", "semantic-2d", "--quiet"]) == 2


def test_another_version_and_no_program_are_refused(fake, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NNUNET", "2.5.1")
    with pytest.raises(ModelError, match=r"nnU-Net 2\.8.*2\.5\.1"):
        train(options(pictures, tmp_path / "run"))
    external._versions.cache_clear()
    monkeypatch.setenv("FAKE_NNUNET", "")
    with pytest.raises(ModelError, match="got none"):
        train(options(pictures, tmp_path / "run"))
    monkeypatch.setenv(external.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="no such program"):
        train(options(pictures, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_model_without_its_program_or_its_plans_is_refused(fake, pictures, tmp_path, monkeypatch):
    train(options(pictures, tmp_path / "run"))
    monkeypatch.setenv("FAKE_NNUNET", "3.0")
    external._versions.cache_clear()
    with pytest.raises(ModelError, match=r"3\.0"):
        load_classes(tmp_path / "run", device="cpu")
    (tmp_path / "run" / "nnunet.json").write_text("{}")
    with pytest.raises(ModelError, match=r"nnunet\.json beside"):
        load_classes(tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "medsam"}, "semantic-2d, semantic-3d or box-channel"),
        ({"learning_rate": 1e-3}, "--learning-rate"),
        ({"side": 64}, "--side"),
        ({"augment": True}, "--augment"),
        ({"nnunet_memory": -1.0}, "above 0"),
        ({"nnunet_trainer": "os.system"}, "the name of a trainer"),
    ],
)
def test_what_nnunet_decides_itself_is_refused(fake, pictures, tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        train(options(pictures, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_its_memory_is_no_option_of_others(pictures, tmp_path):
    with pytest.raises(InputError, match="--nnunet-memory with --model nnunet"):
        train(options(pictures, tmp_path / "run", model="mobile-sam", nnunet_memory=2.0))
    one = {"model": "mobile-sam", "nnunet_trainer": "nnUNetTrainerNoMirroring"}
    with pytest.raises(InputError, match="--nnunet-trainer with --model nnunet"):
        train(options(pictures, tmp_path / "run", **one))


def test_an_nnunet_learns_no_further_here(fake, pictures, tmp_path):
    train(options(pictures, tmp_path / "run"))
    train(options(pictures, tmp_path / "boxed", preset="box-channel"))
    for first, preset in (("run", "semantic-2d"), ("boxed", "box-channel")):
        model = str(tmp_path / first)
        again = TrainOptions(
            input=pictures,
            output=tmp_path / "more",
            model=model,
            preset=preset,
            quiet=True,  # type: ignore[arg-type]
        )
        with pytest.raises(ModelError, match="of nnU-Net"):
            train(again)


class Decaying:
    """A trainer with nnU-Net's schedule, as far as it goes."""

    def __init__(self, epochs: int) -> None:
        self.num_epochs, self.current_epoch, self.rate = epochs, 0, 1.0
        self.lr_scheduler = self

    def step(self, at: float) -> None:
        self.rate = (1 - at / self.num_epochs) ** 0.9


def test_its_learning_rate_ends_with_the_time_that_it_has(tmp_path, monkeypatch):
    clocks = {"monotonic": 100.0, "process_time": 10.0}
    for name in clocks:
        monkeypatch.setattr(program.time, name, lambda name=name: clocks[name])
    order = {"minutes": None, "cpu_minutes": 1.0}
    spent = program._Spent(order, tmp_path / "spent.json", again=False)
    trainer = Decaying(1000)
    rates = []
    for cpu in (10, 25, 40, 69.9):
        clocks["process_time"] = cpu
        clocks["monotonic"] += 1000  # a busy machine
        program._slow_down(trainer, spent.share())
        rates.append(trainer.rate)
    expected = [1, 0.75**0.9, 0.5**0.9]
    np.testing.assert_allclose(rates[:3], expected)
    assert 0 < rates[3] < 0.01
    spent.updates = 7
    spent.keep()
    clocks["process_time"] = 0.0  # another process goes on
    again = program._Spent(order, tmp_path / "spent.json", again=True)
    assert again.updates == 7
    assert again.share() == pytest.approx(59.9 / 60)
    assert program._Spent(order, tmp_path / "spent.json", again=False).share() == 0
    trainer = Decaying(10)
    trainer.current_epoch, trainer.rate = 5, 0.5
    free = program._Spent({"minutes": None, "cpu_minutes": None}, tmp_path / "x", again=False)
    program._slow_down(trainer, free.share())
    assert trainer.rate == 0.5, "its own schedule, without a limit"


def test_the_limits_of_time_are_told_and_losses_of_a_training_that_goes_on_stay(
    fake, pictures, tmp_path, monkeypatch
):
    chosen = options(pictures, tmp_path / "run", cpu_minutes=2.5)
    train(chosen)
    said = json.loads((chosen.output / "nnunet" / "train.json").read_text())
    assert (said["minutes"], said["cpu_minutes"]) == (None, 2.5)
    assert said["trainer"] == "nnUNetTrainer"
    (chosen.output / "nnunet" / "trained.json").unlink()
    kept = chosen.output / "nnunet" / "results" / "fold_0" / "checkpoint_latest.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    train(options(pictures, tmp_path / "run"))
    assert [r["update"] for r in rows(chosen.output / "train.csv")] == ["5", "10", "5", "10"]
    kept.unlink()
    (chosen.output / "nnunet" / "trained.json").unlink()
    train(options(pictures, tmp_path / "run"))
    assert [r["update"] for r in rows(chosen.output / "train.csv")] == ["5", "10"]


def test_it_does_not_go_on_alone(fake, pictures, tmp_path):
    words = ["train", "-i", str(pictures), "-o", str(tmp_path / "run"), "--model", "nnunet"]
    env = {**os.environ, "FAKE_NNUNET_FAILS": "never ends", external.VARIABLE: str(fake)}
    command = [sys.executable, "-m", "promptseg", *words, "--preset", "semantic-2d", "--quiet"]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    pid = tmp_path / "run" / "nnunet" / "pid"
    for _ in range(1200):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.1)
    other = int(pid.read_text())
    process.terminate()
    assert process.wait(60) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


real = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.skipif(not REAL, reason="PROMPTSEG_NNUNET names no Python that has nnU-Net"),
]


@pytest.mark.parametrize(
    "preset", [pytest.param(p, marks=real) for p in ("semantic-2d", "semantic-3d", "box-channel")]
)
def test_the_real_one_goes_the_whole_round(pictures, volumes, tmp_path, preset):
    external._versions.cache_clear()
    deep = preset == "semantic-3d"
    chosen = options(
        volumes if deep else pictures,
        tmp_path / "run",
        preset=preset,
        epochs=3,
        validate_every=15 if preset == "box-channel" else 5,
        features=16 if preset == "box-channel" else 4,
        nnunet_memory=0.5,
        threads=1,
    )
    train(chosen)
    assert len(rows(chosen.output / "train.csv")) == 3
    collection = Collection(volumes if deep else pictures)
    picture, labels = collection.read(collection.of("test")[0])
    (target, *_) = collection.of("test")[0].targets
    if preset == "box-channel":
        predictor = Predictor.load(chosen.output, "cpu")
        (embedding,) = predictor.encode([picture])
        answer = predictor.decode(embedding, boxes=[target.box])
        truth = labels[target.layer] == target.id
        assert answer.masks.shape == (1, *picture.shape)
        assert 2 * (answer.masks[0] & truth).sum() / (answer.masks[0].sum() + truth.sum()) > 0.5
        return
    stack = np.stack([picture] * 3) if deep else picture
    image = (
        Image.from_array(stack, "CT", spacing=(1, 1, 1)) if deep else Image.from_array(stack, "US")
    )
    segmenter = load_classes(chosen.output, device="cpu")
    found = segmenter.segment(image).result
    assert len(found.segments) == (1 if deep else 2)
    plans = json.loads((chosen.output / "nnunet.json").read_text())
    configuration = plans["plans"]["configurations"][plans["configuration"]]
    configuration["architecture"]["network_class_name"] = "os.system"
    (chosen.output / "nnunet.json").write_text(json.dumps(plans))
    with pytest.raises(ModelError, match=r"'os\.system', which is no part of a network"):
        load_classes(chosen.output, device="cpu")


@pytest.mark.skipif(not REAL, reason="PROMPTSEG_NNUNET names no Python that has nnU-Net")
@pytest.mark.slow
@pytest.mark.peer
def test_stacks_too_thin_for_the_real_one_are_refused_by_it(tmp_path):
    external._versions.cache_clear()
    made = [
        Made(f"ct/case{k}/{z}", {"ball": disc((40, 36), 20, 18, 6.0 + z)}, split, f"p{k}", "CT")  # type: ignore[arg-type]
        for k, split in enumerate(["train", "train", "validation", "test"])
        for z in range(3)
    ]
    make_collection(tmp_path / "thin", made)
    chosen = options(tmp_path / "thin", tmp_path / "run", preset="semantic-3d", threads=1)
    with pytest.raises(ModelError, match=r"patches of 3 slices.*--preset semantic-2d"):
        train(chosen)


@pytest.mark.skipif(not REAL, reason="PROMPTSEG_NNUNET names no Python that has nnU-Net")
@pytest.mark.peer
def test_the_real_one_says_what_it_is_and_imports_no_torchvision():
    code = (
        "import sys, nnunetv2.run.run_training, nnunetv2.inference.predict_from_raw_data as p; "
        "print([m for m in ('torchvision', 'timm') if m in sys.modules])"
    )
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run([REAL, "-c", code], capture_output=True, text=True, env=clean)
    assert run.stdout.strip().splitlines()[-1] == "[]", run.stderr[-500:]
    said = subprocess.run(
        [REAL, program.__file__, "about"], capture_output=True, text=True, env=clean
    )
    assert '"nnunetv2": "2.8' in said.stdout


def test_a_trainer_is_found_beside_files_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = tmp_path / "nnunetv2" / "training" / "nnUNetTrainer"
    (trainers / "variants").mkdir(parents=True)
    for folder in (trainers, trainers.parent, trainers.parent.parent, trainers / "variants"):
        (folder / "__init__.py").touch()
    (trainers / "a_first.py").write_text("import no_such_package\nclass First(dict): pass\n")
    (trainers / "variants" / "second.py").write_text("class Second(dict): steps = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n.partition(".")[0] == "nnunetv2"]:
        monkeypatch.delitem(sys.modules, name)
    try:
        assert program._trainer_named("Second").steps == 3
        with pytest.raises(SystemExit, match="no trainer of the name Third"):
            program._trainer_named("Third")
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "nnunetv2"]:
            del sys.modules[name]
