"""SAM 2 on single images in the loop that SAM has, and what that leaves behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from architectures import build_as
from promptseg.errors import InputError
from promptseg.jobs.train import train
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.build import SHAPES
from promptseg.models.families.sam2.network import Features
from promptseg.models.preprocess import Preprocessing
from promptseg.train.image_sam2 import as_image_sam2, packed, unpacked
from promptseg.train.loop import Loop
from promptseg.train.objectives import PRESETS
from promptseg.train.options import TrainOptions
from small_sam2 import SHAPE, small_sam2
from train.official import loaded_strictly
from train.tiny import TINY

SMALL = replace(
    TINY,
    name="small2",
    build="small2",
    family="sam2",
    preprocessing=Preprocessing(128, "imagenet", "stretch"),
)


@pytest.fixture
def start2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The checkpoint of a small SAM 2, which promptseg takes for the only model of its own."""
    before = dict(CARDS)
    CARDS.clear()
    CARDS["small2"] = SMALL
    build_as(monkeypatch, SHAPES, {"small2": SHAPE})
    path = tmp_path / "start2.pth"
    torch.save({"model": small_sam2().state_dict()}, path)
    yield path
    CARDS.clear()
    CARDS.update(before)


def chosen(data: Path, start: Path, output: Path, **changes: Any) -> TrainOptions:
    usual: dict[str, Any] = {
        "input": data,
        "output": output,
        "model": f"small2={start}",
        "preset": "sam2-transfer",
        "batch_size": 4,
        "learning_rate": 1e-3,
        "updates": 4,
        "corrections": 0,
        "validation_images": 2,
        "report_images": 2,
        "workers": 0,
        "engine": "eager",
        "quiet": True,
    }
    return TrainOptions(**{**usual, **changes})


def test_the_preset_is_the_papers() -> None:
    preset = PRESETS["sam2-transfer"]
    assert (preset.learning_rate, preset.weight_decay, preset.batch_size) == (6e-5, 0.01, 16)
    assert (preset.objective.distortion.pixels, preset.objective.distortion.sign) == (5, "outward")
    assert (preset.trains, preset.objective.mask_loss) == ("encoder+decoder", "dice+bce")
    assert (preset.objective.p_box, preset.objective.n_steps, preset.decay) == (1, 0, 1)


def test_features_survive_being_one_tensor() -> None:
    features = Features(torch.rand(2, 4, 32, 32), torch.rand(2, 8, 16, 16), torch.rand(2, 32, 8, 8))
    assert packed(features).shape == (2, 128, 8, 8)
    back = unpacked(packed(features))
    assert all(torch.equal(one, other) for one, other in zip(back, features, strict=True))


@torch.inference_mode()
def test_it_is_asked_as_sam_is_and_answers_as_itself() -> None:
    network = small_sam2().train()  # in training, one mask is one mask, however stable
    asked = as_image_sam2(network)
    slices, boxes = torch.rand(1, 3, 128, 128), torch.tensor([[10.0, 20, 60, 90], [5, 5, 50, 30]])
    clicks = torch.rand(2, 1, 2) * 128, torch.ones(2, 1)
    features = network.encode(slices)
    alone = features._replace(coarse=network.alone(features.coarse))
    corners = boxes.view(2, 2, 2), torch.tensor([[2, 3]] * 2)
    together = torch.cat([corners[0], clicks[0]], 1), torch.tensor([[2, 3, 1]] * 2)
    for given, said in (((None, boxes, None), corners), ((clicks, boxes, None), together)):
        for multimask in (False, True):
            expected = network.decode(alone, said, None, multimask)
            sparse, dense = asked.prompt_encoder(*given)
            position = asked.prompt_encoder.dense_position()
            embeddings = asked.encode(slices).expand(2, -1, -1, -1)
            logits, iou = asked.mask_decoder(embeddings, position, sparse, dense, multimask)
            torch.testing.assert_close(logits, expected.logits, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou, expected.iou)


def test_encoder_and_decoder_learn_and_go_on_exactly_after_an_interruption(
    data: Path, start2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chosen(data, start2, tmp_path / "whole")
    assert not train(whole).interrupted
    halves, once = chosen(data, start2, tmp_path / "halves"), Loop._update

    def interrupted(self: Loop, *arguments: Any) -> dict[str, float]:
        if self.progress.updates == 2 and not (tmp_path / "told").exists():
            (tmp_path / "told").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted
    assert not train(halves).interrupted
    one, other = (
        torch.load(o.output / "last.pt", weights_only=True)["modules"]["sam"]
        for o in (whole, halves)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    before = small_sam2().state_dict()
    best = load_file(whole.output / "model.safetensors")
    assert best.keys() == before.keys()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], one[name])}
    assert moved == {"image_encoder", "sam_mask_decoder"}
    report = (whole.output / "card.json").read_text()
    assert '"verdict"' in report


@pytest.mark.peer
def test_what_is_trained_loads_strictly_in_the_official_code(
    data: Path, start2: Path, tmp_path: Path
) -> None:
    options = chosen(data, start2, tmp_path / "run", updates=1)
    train(options)
    found = loaded_strictly(options.output / "model.pth")
    name = "image_encoder.trunk.blocks.0.attn.qkv.weight"
    assert not torch.equal(found[name], small_sam2().state_dict()[name])


def test_what_sam_alone_can_is_refused(data: Path, start2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a SAM for low-rank updates"):
        train(chosen(data, start2, tmp_path / "a", trains="lora", lora_rank=2))
    with pytest.raises(InputError, match="a SAM for a joint decoder"):
        train(chosen(data, start2, tmp_path / "b", joint_decoder=True))
