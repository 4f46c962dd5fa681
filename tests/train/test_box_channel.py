"""Specialists that are told by a box as one more channel: network, training, card, rows, refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from architectures import forget_builds
from curate.made import Made, disc, make_collection
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError, UnsupportedPromptError
from promptseg.inference.predictor import Predictor
from promptseg.jobs.train import train
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.families.specialist.build import BoxChannel, box_channel, expected_iou
from promptseg.models.heads.semantic import specialist_networks
from promptseg.models.heads.semantic.deeplab import DeepLab
from promptseg.models.heads.semantic.specialist_networks import specialist_network
from promptseg.models.protocol import SliceModel
from promptseg.train.objectives import PRESETS, BoxChannelObjective
from promptseg.train.options import TrainOptions


class Small(nn.Sequential):
    """A network in the place of a specialist's, which takes seconds where that takes minutes."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(12, classes, 1),
        )


@pytest.fixture
def small(monkeypatch):
    """Training, cards and files are tested with it; the networks themselves have tests of their own."""

    def made(name, classes, channels, features, side, depth=1):
        return Small(classes, channels)

    forget_builds(monkeypatch)
    monkeypatch.setattr(specialist_networks, "specialist_network", made)


@pytest.fixture
def boxed(options, small):
    """Options of a short training of a specialist for boxes."""

    def make(**changes):
        usual = {
            "preset": "box-channel",
            "model": "deeplabv3plus",
            "n_steps": None,
            "side": 64,
            "micro_batch": 4,
        }
        return options(**{**usual, **changes})

    return make


def test_a_box_is_a_channel_of_ones_with_both_ends_inside():
    found = box_channel(torch.tensor([[2.0, 1, 4, 1], [0, 0, 100, 100], [5.4, 6.2, 5.4, 6.2]]), 8)
    assert found.shape == (3, 1, 8, 8)
    expected = torch.zeros(8, 8)
    expected[1, 2:5] = 1
    assert torch.equal(found[0, 0], expected)
    assert found[1].all()
    assert found[2].sum() == 1
    assert found[2, 0, 6, 5] == 1


def test_the_expected_iou_is_that_of_sure_answers_and_lower_for_unsure_ones():
    sure, unsure = torch.full((1, 1, 4, 4), -20.0), torch.full((1, 1, 4, 4), -1.0)
    sure[..., :2, :] = 20
    unsure[..., :2, :] = 1
    assert float(expected_iou(sure)) == pytest.approx(1, abs=1e-6)
    inside, outside = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    assert float(expected_iou(unsure)) == pytest.approx(8 * inside / (8 + 8 * outside), abs=1e-6)
    assert float(expected_iou(torch.full((1, 1, 4, 4), -20.0))) < 1e-6


@pytest.mark.parametrize("name", ["deeplabv3plus", "swin-unetr"])
def test_networks_have_a_fourth_channel_and_heed_it(name):
    if name == "swin-unetr":
        pytest.importorskip("monai")
        pytest.importorskip("einops")
    torch.manual_seed(0)
    network = BoxChannel(specialist_network(name, 1, 4, 12, 64), 64).eval()
    slices = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[5.0, 5, 20, 20], [30, 30, 60, 60]])
    with torch.inference_mode():
        logits, iou = network.answer(slices, boxes)
        alone, _ = network.decode(slices[:1], boxes=boxes)
    assert (logits.shape, iou.shape) == ((2, 1, 64, 64), (2, 1))
    torch.testing.assert_close(alone[:1], logits[:1], atol=1e-3, rtol=1e-3)
    assert (alone[0] - alone[1]).abs().max() > 1e-4
    assert network.encode(slices) is slices


def test_the_first_three_channels_are_those_of_the_network_without_a_box():
    """With nothing on the way from the fourth channel, it is the network of three."""
    torch.manual_seed(0)
    four, three = DeepLab(1, 4).eval(), DeepLab(1).eval()
    state = four.state_dict()
    state["backbone.conv1.weight"][:, 3] = 0
    three.load_state_dict(
        {**state, "backbone.conv1.weight": state["backbone.conv1.weight"][:, :3].clone()}
    )
    whole = BoxChannel(four, 64).eval()
    slices = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            whole.answer(slices, torch.tensor([[3.0, 3, 9, 9]]))[0], three(slices)
        )


def test_a_training_leaves_a_model_that_takes_boxes_alone(boxed, tmp_path, capsys):
    chosen = boxed(updates=3, validate_every=2)
    assert not train(chosen).interrupted
    folder = chosen.output
    said = json.loads((folder / "card.json").read_text())
    assert (said["base"], said["prompts"], said["asked_with"]) == (
        "deeplabv3plus",
        ["box"],
        ["box"],
    )
    assert said["network"] == {"side": 64, "features": 0}
    assert {c["prompt"] for c in said["metrics"]["comparisons"]} == {"box"}
    assert "had learnt nothing" in (folder / "report.md").read_text()
    header = (folder / "validation.csv").read_text().splitlines()[0]
    assert header.split(",")[:1] == ["update"]
    assert "point" not in header
    card, file, tensors = open_checkpoint(folder)
    assert (card.name, card.base, card.prompts) == ("run", "deeplabv3plus", frozenset({"box"}))
    assert card.preprocessing.size == 64
    assert tensors.keys() == load_file(file).keys()
    predictor = Predictor.load(folder, "cpu")
    assert isinstance(predictor, SliceModel)
    picture = np.random.default_rng(0).integers(0, 255, (60, 48)).astype(np.uint8)
    (embedding,) = predictor.encode([picture])
    answer = predictor.decode(embedding, boxes=[[5, 5, 20, 20], [9, 9, 40, 50]])
    assert answer.masks.shape == (2, 60, 48)
    again = predictor.unpack(embedding.tensors(), (60, 48))
    np.testing.assert_array_equal(
        predictor.decode(again, boxes=[[5, 5, 20, 20]]).masks, answer.masks[:1]
    )
    with pytest.raises(UnsupportedPromptError, match="trained for"):
        predictor.require({"point"})
    with pytest.raises(UnsupportedPromptError, match="a box alone"):
        predictor.decode(embedding, points=([[[5, 5]]], [[1]]))
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "p.png")
    asked = ["segment", "-i", str(tmp_path / "p.png"), "-o", str(tmp_path / "m.png")]
    asked += ["--model", str(folder), "--quiet"]
    assert main([*asked, "--point", "5,5,+"]) == 2
    assert "box" in capsys.readouterr().err
    assert main([*asked, "--point", "5,5,+", "--force"]) == 2
    assert not (tmp_path / "m.png").exists()
    assert main([*asked, "--box", "5,5,20,20"]) == 0
    assert (tmp_path / "m.png").exists()


def test_rows_of_an_evaluation_are_those_of_boxes(boxed, tmp_path):
    from PIL import Image

    chosen = boxed(updates=1)
    train(chosen)
    root = tmp_path / "set"
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    for k in range(2):
        mask = disc((50, 60), 20, 30, 9 + k)
        noise = np.random.default_rng(k).integers(0, 90, mask.shape)
        Image.fromarray((noise + 120 * mask).astype(np.uint8)).save(root / "images" / f"p{k}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / "masks" / f"p{k}.png")
    about = {"name": "set", "modality": "US", "targets": {"1": "disc"}}
    (root / "dataset.json").write_text(json.dumps(about))
    asked = ["evaluate", "-i", str(root), "--model", str(chosen.output), "--quiet"]
    asked += ["--prompt", "box", "--prompt", "jittered-box"]
    assert main([*asked, "-o", str(tmp_path / "results")]) == 0
    with (tmp_path / "results" / "rows.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(r["model"], r["protocol"], r["prompt"]) for r in rows} == {
        ("run (model)", "2d", "box"),
        ("run (model)", "2d", "jittered-box"),
    } or {r["prompt"] for r in rows} == {"box", "jittered-box"}
    assert all(0 <= float(r["predicted_iou"]) <= 1 for r in rows)
    assert main([*asked[:-4], "--prompt", "point", "-o", str(tmp_path / "points")]) == 2
    clicks = [*asked[:-4], "--protocol", "interactive-2d", "-o", str(tmp_path / "clicks")]
    assert main(clicks) == 2


def test_what_is_learnt_is_what_the_box_is_around(boxed, tmp_path):
    """Two discs alike on every picture: only the box says which."""
    made = []
    for k in range(12):
        y, x = 16 + k % 3, 16 + k % 4
        for which in range(2):
            place = (y, x) if which == 0 else (y + 28, x + 26)
            mask = disc((64, 64), *place, 7.0)
            split = "train" if k < 8 else "validation" if k < 10 else "test"
            made.append(Made(f"us/case{k}-{which}", {"disc": mask}, split, f"p{k}", seed=k))  # type: ignore[arg-type]
    make_collection(tmp_path / "twins", made)
    chosen = boxed(
        input=tmp_path / "twins",
        updates=30,
        validate_every=30,
        epochs=99,
        learning_rate=3e-3,
        batch_size=8,
        micro_batch=8,
    )
    train(chosen)
    with (chosen.output / "validation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[-1]["box"]) > 0.5


def test_an_interrupted_training_goes_on_and_a_model_learns_more(boxed):
    first = boxed(updates=2, validate_every=1)
    train(first)
    more = boxed(model=str(first.output), side=None, output=first.output.with_name("more"))
    train(more)
    said = json.loads((more.output / "card.json").read_text())
    assert said["started_from"]["model"] == "run"
    assert said["network"]["side"] == 64
    with pytest.raises(InputError, match="side 96"):
        train(boxed(model=str(first.output), side=96, output=first.output.with_name("other")))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"features": 24}, InputError, "deeplabv3plus as it is"),
        ({"side": 60}, InputError, "multiple of 32"),
        ({"n_steps": 2}, InputError, "boxes as a channel"),
        ({"trains": "decoder"}, InputError, "--trains all for a specialist"),
        ({"preset": "medsam", "side": None}, ModelError, "has learnt something"),
    ],
)
def test_what_makes_no_sense_is_refused(boxed, changes, error, words):
    with pytest.raises(error, match=words):
        train(boxed(**changes))


def test_a_sam_has_no_channel_for_a_box(boxed, start):
    with pytest.raises(InputError, match="with a specialist, and only with one"):
        train(boxed(model=f"tiny={start}", side=None))


def test_weights_without_their_card_or_with_anothers_are_refused(boxed, tmp_path):
    chosen = boxed(updates=1)
    train(chosen)
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((chosen.output / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"the card\.json of a specialist"):
        open_checkpoint(alone)
    said = json.loads((chosen.output / "card.json").read_text())
    said["network"] = {"side": 64, "features": -3}
    (chosen.output / "card.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="side and features"):
        open_checkpoint(chosen.output)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deeplabv3plus", "swin-unetr"])
def test_the_real_networks_are_trained_with_a_box(options, model):
    swin = {}
    if model == "swin-unetr":
        pytest.importorskip("monai")
        pytest.importorskip("einops")
        swin = {"features": 12}
    chosen = options(
        **{"preset": "box-channel", "model": model, "n_steps": None, "side": 64, **swin},
        updates=1,
        batch_size=2,
        micro_batch=2,
        validation_images=1,
        report_images=1,
    )
    train(chosen)
    card, _, _ = open_checkpoint(chosen.output)
    assert card.build == f"{model}:64:{12 if swin else 0}"
    assert Predictor.load(chosen.output, "cpu").card.prompts == {"box"}


def test_features_of_swin_unetr_are_multiples_of_twelve(options):
    pytest.importorskip("monai")
    with pytest.raises(ModelError, match="multiple of 12"):
        train(options(preset="box-channel", model="swin-unetr", n_steps=None, features=16, side=64))


def test_the_preset_is_medsams():
    preset = PRESETS["box-channel"]
    objective = preset.objective
    assert isinstance(objective, BoxChannelObjective)
    assert (preset.learning_rate, preset.weight_decay, preset.batch_size) == (1e-3, 4e-5, 600)
    assert preset.decay**2 == pytest.approx(0.94)
    assert objective.distortion.pixels * 224 / 1024 == pytest.approx(5)
    assert TrainOptions(
        input=Path("i"), output=Path("o"), preset="box-channel"
    ).objective().asks() == {"box"}
