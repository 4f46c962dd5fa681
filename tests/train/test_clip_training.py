"""SAM 2 with its memory on clips, in the loop that SAM has, and what that leaves behind."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from promptseg.errors import InputError
from promptseg.jobs.train import train
from promptseg.train.loop import Loop
from promptseg.train.objectives import PRESETS, ClipObjective
from promptseg.train.options import TrainOptions
from promptseg.train.rates import groups_of
from promptseg.train.schedule import Schedule
from promptseg.train.sequences import TrainingClips
from small_sam2 import small_sam2
from train.moving import moving_data
from train.official import loaded_strictly
from train.test_sam2_training import chosen, start2

__all__ = ["start2"]  # a fixture


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving_data(tmp_path_factory.mktemp("films")).root


def clips(data: Path, start: Path, output: Path, **changes: Any) -> TrainOptions:
    usual: dict[str, Any] = {"preset": "medsam2", "frames": 4, "n_steps": 2, "batch_size": 2}
    return chosen(data, start, output, **{**usual, **changes})


def test_the_preset_is_medsam2s() -> None:
    preset = PRESETS["medsam2"]
    objective = preset.objective
    assert isinstance(objective, ClipObjective)
    assert (objective.frames, objective.n_objects, objective.n_steps) == (8, 5, 7)
    assert (preset.learning_rate, preset.weight_decay, preset.clip) == (5e-5, 0.1, 0.1)
    assert (preset.batch_size, preset.trains) == (32, "whole")


def test_rates_are_lower_in_the_encoder_and_lower_the_earlier_the_block() -> None:
    network = small_sam2()
    names = {id(p): name for name, p in network.named_parameters()}
    groups = groups_of(network, dict(network.named_parameters()), PRESETS["medsam2"])
    found = {names[id(p)]: (g["share"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found.keys() == set(names.values())
    trunk = "image_encoder.trunk."
    rates = {  # 5e-5 and 3e-5; the small trunk has six blocks
        "memory_attention.layers.0.linear1.weight": (1, 0.1),
        "memory_attention.layers.0.linear1.bias": (1, 0),
        "memory_attention.layers.0.norm1.weight": (1, 0),
        "image_encoder.neck.convs.0.conv.weight": (0.6, 0.1),
        f"{trunk}blocks.5.mlp.layers.0.weight": (0.6 * 0.9, 0.1),
        f"{trunk}blocks.0.norm1.weight": (0.6 * 0.9**6, 0),
        f"{trunk}patch_embed.proj.weight": (0.6 * 0.9**7, 0.1),
        f"{trunk}pos_embed": (0.6, 0.1),
    }
    for name, expected in rates.items():
        assert found[name] == pytest.approx(expected), name
    plain = groups_of(network, dict(network.named_parameters()), PRESETS["sam2-transfer"])
    assert [len(g["params"]) for g in plain] == [len(names)]


def test_the_rate_goes_down_a_cosine_to_a_tenth() -> None:
    import numpy as np

    schedule = Schedule(np.ones(4) / 4, 2, 1, 100, 5e-5, 1.0, 0, 0, end=0.1)
    assert schedule.rate(0) == 5e-5
    assert schedule.rate(50) == pytest.approx(5e-5 * 0.55)
    assert schedule.rate(100) == pytest.approx(5e-6)
    assert replace(schedule, end=1.0).rate(70) == 5e-5


@pytest.mark.slow
def test_all_of_it_learns_and_goes_on_exactly_after_an_interruption(
    films: Path, start2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clips(films, start2, tmp_path / "whole")
    trained = train(whole)
    assert trained.verdict is not None
    (clip,) = [c for c in trained.verdict.comparisons if c.prompt == "clip"]
    assert clip.asked
    assert clip.objects == 4  # a disc and a plate on two frames
    halves, once = clips(films, start2, tmp_path / "halves"), Loop._update

    def interrupted(self: Loop, *arguments: Any) -> dict[str, float]:
        if self.progress.updates == 2 and not (tmp_path / "told").exists():
            (tmp_path / "told").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted
    with pytest.raises(InputError, match="updates"):  # the rate goes down to the end
        train(replace(halves, updates=5))
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
    learning = {"image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"}
    assert {*learning, "sam_prompt_encoder", "maskmem_tpos_enc", "obj_ptr_proj"} <= moved
    header, *rows = (whole.output / "validation.csv").read_text().splitlines()
    assert "clip" in header.split(",")
    assert len(rows) > 1
    logged = (whole.output / "train.csv").read_text().splitlines()[0].split(",")
    assert {"mask_loss", "iou_loss", "presence_loss", "iou_clip"} <= set(logged)
    card = json.loads((whole.output / "card.json").read_text())
    assert card["prompts"] == ["box", "mask", "point"]


@pytest.mark.slow
def test_micro_batches_are_no_other_training(films: Path, start2: Path, tmp_path: Path) -> None:
    losses = []
    for micro in (1, 3):
        options = clips(
            *(films, start2, tmp_path / f"{micro}"), updates=1, micro_batch=micro, batch_size=3
        )
        train(options)
        header, row = (options.output / "train.csv").read_text().splitlines()
        line = dict(zip(header.split(","), row.split(","), strict=True))
        losses.append((float(line["loss"]), float(line["gradient_norm"])))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_bfloat16_gives_about_the_loss(films: Path, start2: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bf16"):
        options = clips(films, start2, tmp_path / precision, updates=1, precision=precision)
        train(options)
        header, row = (options.output / "train.csv").read_text().splitlines()
        losses.append(float(dict(zip(header.split(","), row.split(","), strict=True))["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.peer
def test_what_is_trained_loads_strictly_in_the_official_code(
    films: Path, start2: Path, tmp_path: Path
) -> None:
    options = clips(films, start2, tmp_path / "run", updates=1)
    train(options)
    found = loaded_strictly(options.output / "model.pth")
    name = "memory_attention.layers.0.linear1.weight"
    assert not torch.equal(found[name], small_sam2().state_dict()[name])


def test_what_has_no_neighbours_or_no_memory_is_refused(
    films: Path, data: Path, start2: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"neighbouring slices.*none in the train part"):
        train(clips(data, start2, tmp_path / "a"))
    with pytest.raises(InputError, match=r"as --preset medsam2 is.*--p-box"):
        train(clips(films, start2, tmp_path / "b", p_box=0.5))
    with pytest.raises(InputError, match=r"as --preset medsam is.*--frames"):
        train(clips(films, start2, tmp_path / "c", preset="medsam"))
    with pytest.raises(InputError, match="clips of 2 frames"):
        train(clips(films, start2, tmp_path / "d", frames=1))
    assert not any(tmp_path.glob("[abcd]"))


def test_a_sam_is_refused(films: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a model with memory"):
        train(clips(films, start, tmp_path / "run", model=f"tiny={start}"))


def test_fewer_cases_are_fewer_clips(films: Path, start2: Path) -> None:
    from promptseg.train.setting import open_parts

    parts = open_parts(clips(films, start2, Path("nowhere"), train_images=2))
    assert [len(run.samples) for run in parts.runs[0]] == [5, 5]
    assert len(parts.train) == 10
    images = TrainingClips(parts.collection, parts.runs[0], None, 32, 5, 0)  # type: ignore[arg-type]
    assert {images.objects((0, 0, k)) for k in range(2)} == {2}
