"""The memory of a SAM learns alone, on frames that are encoded once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import build_as
from promptseg.errors import InputError
from promptseg.jobs.train import train
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.families.sam2.build import PLAIN
from promptseg.models.preprocess import Preprocessing
from promptseg.train.loop import Loop
from promptseg.train.options import TrainOptions
from small_memory_sam import SIZE, small_memory_sam, small_network
from train.moving import moving_data
from train.test_clip_training import clips
from train.test_sam2_training import start2
from train.tiny import TINY

__all__ = ["start2"]  # a fixture

SMALL = replace(
    TINY,
    name="small-memory",
    build="small-memory",
    family="sam2",
    preprocessing=Preprocessing(SIZE, "imagenet"),
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving_data(tmp_path_factory.mktemp("films"), frames=4).root


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The checkpoint of a small SAM with memory, which promptseg takes for its only model."""
    before = dict(CARDS)
    CARDS.clear()
    CARDS["small-memory"] = SMALL
    build_as(monkeypatch, PLAIN, {"small-memory": small_network})
    path = tmp_path / "start.pth"
    torch.save(small_memory_sam().state_dict(), path)
    yield path
    CARDS.clear()
    CARDS.update(before)


def chosen(data: Path, start: Path, output: Path, **changes: Any) -> TrainOptions:
    usual: dict[str, Any] = {
        "model": f"small-memory={start}",
        "preset": "memory",
        "n_steps": None,
        "updates": 2,
        "micro_batch": 2,
    }
    return clips(data, start, output, **{**usual, **changes})


@pytest.mark.slow
def test_memory_alone_learns_on_kept_embeddings_and_goes_on_exactly(
    films: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chosen(films, start, tmp_path / "whole")
    assert train(whole).verdict is not None
    kept = list((whole.output / "embeddings").rglob("*.safetensors"))
    # three films of four frames; of validation and report the clips that are followed, too
    assert len(kept) == 3 * 4 + 2 * 4
    before = small_memory_sam().state_dict()
    last = torch.load(whole.output / "last.pt", weights_only=True)["modules"]["sam"]
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], last[name])}
    assert {"memory_attention", "memory_encoder", "guess_head", "narrow", "presence"} <= moved
    assert not moved & {"image_encoder", "sam_prompt_encoder", "sam_mask_decoder"}
    halves, once = chosen(films, start, tmp_path / "halves"), Loop._update

    def interrupted(self: Loop, *arguments: Any) -> dict[str, float]:
        if self.progress.updates == 1 and not (tmp_path / "told").exists():
            (tmp_path / "told").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted or (tmp_path / "told").exists()
    train(halves)
    other = torch.load(halves.output / "last.pt", weights_only=True)["modules"]["sam"]
    assert all(torch.equal(last[name], other[name]) for name in last)
    card, _, tensors = open_checkpoint(whole.output / "model.safetensors")
    assert (card.base, card.build) == ("small-memory", "small-memory")
    assert tensors.keys() == {k for k in before if not k.endswith("num_batches_tracked")} | {
        k for k in tensors if k.endswith("num_batches_tracked")
    }


@pytest.mark.slow
def test_embeddings_are_no_other_training(films: Path, start: Path, tmp_path: Path) -> None:
    losses = []
    for keeps in (True, False):
        options = chosen(*(films, start, tmp_path / f"{keeps}"), updates=1, keep_embeddings=keeps)
        train(options)
        header, row = (options.output / "train.csv").read_text().splitlines()
        losses.append(float(dict(zip(header.split(","), row.split(","), strict=True))["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_through_the_decoder_with_corrections(films: Path, start: Path, tmp_path: Path) -> None:
    options = chosen(
        *(films, start, tmp_path / "run"), preset="medsam2", trains="memory", n_steps=1, updates=1
    )
    train(options)
    before = small_memory_sam().state_dict()
    last = torch.load(options.output / "last.pt", weights_only=True)["modules"]["sam"]
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], last[name])}
    assert {"memory_attention", "guess_head"} <= moved
    assert not moved & {"image_encoder", "sam_prompt_encoder", "sam_mask_decoder"}


def test_a_memory_that_does_not_guess_is_refused(films: Path, start2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a model whose memory guesses"):
        train(clips(films, start2, tmp_path / "run", preset="memory", n_steps=None))
