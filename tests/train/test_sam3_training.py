"""SAM 3 on phrases in the loop that SAM has, and what that leaves behind."""

from __future__ import annotations

import json
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
from promptseg.inference.predictor import Predictor
from promptseg.jobs.train import train, training_images
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build as builders
from promptseg.models.families.sam3 import model as sam3
from promptseg.models.families.sam3.build import SHAPES
from promptseg.train.loop import Loop
from promptseg.train.networks import WordSam3
from promptseg.train.objectives import PRESETS
from promptseg.train.options import TrainOptions
from promptseg.train.parts import checkpoint_activations
from promptseg.train.rates import groups_of
from promptseg.train.setting import Learner, StartingWeights, open_parts
from train.shapes import NAMES, TINY_SHAPE, shape_words, shapes_data, tiny_sam3
from train.tiny import TINY, build_tiny

pytest.importorskip("transformers")

WORDED = replace(
    CARDS["sam3"],
    name="tiny3",
    build="tiny3",
    weights="mobile-sam",
    preprocessing=replace(CARDS["sam3"].preprocessing, size=TINY_SHAPE.image_size),
)


@pytest.fixture
def start3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The checkpoint of a tiny SAM 3, which promptseg takes for one of two models of its own."""
    before = dict(CARDS)
    CARDS.clear()
    CARDS.update(tiny3=WORDED, tiny=TINY)
    build_as(monkeypatch, SHAPES, {"tiny3": TINY_SHAPE})
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    tokens = shape_words(tmp_path)
    monkeypatch.setattr(sam3, "words_table", lambda: tokens)
    path = tmp_path / "start3.pth"
    torch.save(tiny_sam3().state_dict(), path)
    yield path
    CARDS.clear()
    CARDS.update(before)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    shapes_data(root, train=12, others=6)
    return root


def chosen(data: Path, start: Path, output: Path, **changes: Any) -> TrainOptions:
    usual: dict[str, Any] = {
        "input": data,
        "output": output,
        "model": f"tiny3={start}",
        "preset": "sam3",
        "batch_size": 2,
        "learning_rate": 1e-3,
        "updates": 4,
        "validation_images": 1,
        "report_images": 2,
        "validation_objects": 1,
        "workers": 0,
        "engine": "eager",
        "quiet": True,
    }
    return TrainOptions(**{**usual, **changes})


def test_the_preset_is_the_official_configuration() -> None:
    preset = PRESETS["sam3"]
    rates = preset.rates
    assert (preset.learning_rate, preset.weight_decay, preset.clip) == (8e-5, 0.1, 0.1)
    assert rates.encoder * preset.learning_rate == pytest.approx(2.5e-5)
    assert dict(rates.parts)["text_encoder."] * preset.learning_rate == pytest.approx(5e-6)
    assert (rates.layer, rates.warmup, rates.timescale, rates.cooldown) == (0.9, 20, 20, 20)


def test_rates_are_by_layer_and_part() -> None:
    network = WordSam3(tiny_sam3())
    parameters = dict(network.named_parameters())
    share = {
        id(p): (group["share"], group["weight_decay"])
        for group in groups_of(network, parameters, PRESETS["sam3"])
        for p in group["params"]
    }
    at = {name: share[id(p)] for name, p in parameters.items()}
    trunk, depth = "vision_encoder.backbone.", TINY_SHAPE.depth
    vision = 0.3125
    last = f"{trunk}layers.{depth - 1}.attention.q_proj."
    assert at[f"{last}weight"] == (pytest.approx(vision * 0.9), 0.1)
    assert at[f"{last}bias"] == (pytest.approx(vision * 0.9), 0.0)
    first = f"{trunk}embeddings.patch_embeddings.projection.weight"
    assert at[first] == (pytest.approx(vision * 0.9 ** (depth + 1)), 0.1)
    assert at[f"{trunk}embeddings.position_embeddings"][0] == pytest.approx(vision)
    assert at["vision_encoder.neck.fpn_layers.0.proj1.weight"][0] == pytest.approx(vision)
    assert at["text_projection.weight"][0] == pytest.approx(0.0625)
    assert at["detr_decoder.query_embed.weight"] == (1.0, 0.1)


def test_the_schedule_is_the_official_one(shapes: Path, start3: Path, tmp_path: Path) -> None:
    options = chosen(shapes, start3, tmp_path, epochs=100, updates=100, learning_rate=None)
    learner = Learner.of(StartingWeights.load(options.model, True), options, torch.device("cpu"))
    schedule = learner.schedule(options, open_parts(options).train)
    assert schedule.rate(20) == pytest.approx(8e-5 * 20 / 20)
    for step in (25, 50, 79):
        assert schedule.rate(step) == pytest.approx(8e-5 / (step / 20) ** 0.5)
    assert schedule.rate(90) == pytest.approx(8e-5 / (90 / 20) ** 0.5 * 10 / 20)


@pytest.mark.parametrize("preset", ["sam3", pytest.param("medical-sam3", marks=pytest.mark.slow)])
def test_it_learns_whole_and_goes_on_exactly_after_an_interruption(
    preset: str, shapes: Path, start3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chosen(shapes, start3, tmp_path / "whole", preset=preset)
    assert not train(whole).interrupted
    halves = chosen(shapes, start3, tmp_path / "halves", preset=preset)
    once = Loop._update

    def interrupted(self: Loop, *arguments: Any) -> dict[str, float]:
        if self.progress.updates == 2 and not (tmp_path / "told").exists():
            (tmp_path / "told").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted
    torch.rand(7)  # whatever others draw
    assert not train(halves).interrupted
    one, other = (
        torch.load(o.output / "last.pt", weights_only=True)["modules"]["sam"]
        for o in (whole, halves)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    before = tiny_sam3().state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], one[name])}
    assert moved == {name.split(".")[0] for name in before}
    best = load_file(whole.output / "model.safetensors")
    tiny_sam3().load_state_dict(best)  # strictly, in the class of transformers
    card = json.loads((whole.output / "card.json").read_text())
    assert card["words"] == sorted(NAMES)
    assert card["asked_with"] == (["text"] if preset == "sam3" else ["box", "text"])
    asked = {c["prompt"] for c in card["metrics"]["comparisons"]}
    assert {"text", "absent"} <= asked
    loaded = Predictor.load(whole.output / "model.safetensors", engine="eager")
    assert loaded.card.words == tuple(sorted(NAMES))
    assert "text" in loaded.card.prompts
    assert "--text" in (whole.output / "card.md").read_text()
    assert (whole.output / "curves.png").stat().st_size > 0


def test_images_of_a_batch_are_judged_each_by_itself(
    shapes: Path, start3: Path, tmp_path: Path
) -> None:
    options = chosen(shapes, start3, tmp_path, n_absent=2)
    start = StartingWeights.load(options.model, True)
    parts, learner = open_parts(options), Learner.of(start, options, torch.device("cpu"))
    images = training_images(parts, learner, options, start)
    examples = [images[place] for place in ((0, 0, 0), (0, 1, 1), (0, 2, 2))]
    sam, algorithm = learner.sam.eval(), learner.algorithm  # without dropout

    def losses(batch: Any) -> torch.Tensor:
        with torch.no_grad():
            (step,) = algorithm.steps(sam.encode(batch.slices), batch, 0)
        return step.mask + step.presence + step.others["score"] + step.others["box"]

    together = losses(images.join(examples))
    alone = torch.cat([losses(images.join([one])) for one in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"trains": "decoder"}, {"detr_encoder", "detr_decoder", "mask_decoder"}),
        ({"trains": "lora", "lora_rank": 2}, {"vision_encoder", "detr_decoder", "mask_decoder"}),
    ],
)
def test_parts_learn_by_choice(
    changes: dict[str, Any], parts: set[str], shapes: Path, start3: Path, tmp_path: Path
) -> None:
    options = chosen(shapes, start3, tmp_path / "run", updates=1, **changes)
    train(options)
    before, after = tiny_sam3().state_dict(), load_file(options.output / "model.safetensors")
    assert after.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert parts <= {name.split(".")[0] for name in moved}
    assert not any(name.startswith(("text_encoder", "text_projection")) for name in moved)
    if "lora_rank" in changes:
        own = [name for name in moved if name.startswith("vision_encoder")]
        assert all(name.endswith("_proj.weight") for name in own)
        change = after[own[0]] - before[own[0]]
        assert torch.linalg.matrix_rank(change, atol=1e-6) <= 2
    else:
        assert not any(name.startswith("vision_encoder") for name in moved)


def test_activations_computed_twice_are_the_same() -> None:
    network, slice_ = WordSam3(tiny_sam3()), torch.rand(1, 3, 84, 84)
    before = network.encode(slice_)
    checkpoint_activations(network.image_encoder)
    after = network.encode(slice_)
    assert torch.equal(before, after)
    after.sum().backward()
    layer: Any = network.get_submodule("vision_encoder.backbone.layers.0.attention.q_proj")
    assert layer.weight.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused(shapes: Path, start3: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an objective of phrases"):
        train(chosen(shapes, start3, tmp_path / "a", preset="medsam"))
    torch.save(build_tiny().state_dict(), tmp_path / "sam.pth")
    with pytest.raises(InputError, match="a model that takes words to train on phrases"):
        train(chosen(shapes, start3, tmp_path / "b", model=f"tiny={tmp_path / 'sam.pth'}"))
    with pytest.raises(InputError, match="of one on clips"):
        chosen(shapes, start3, tmp_path / "c", frames=4).objective()
    with pytest.raises(InputError, match="of one on phrases"):
        chosen(shapes, start3, tmp_path / "d", preset="medsam", n_absent=2).objective()
    other = tmp_path / "phrases.json"
    other.write_text('{"pentagon": ["five corners"]}')
    with pytest.raises(InputError, match="pentagon"):
        train(chosen(shapes, start3, tmp_path / "e", phrases=other))
