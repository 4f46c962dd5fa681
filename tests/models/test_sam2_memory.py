"""The memory bank of SAM 2: what is looked at, and that what is forgotten changes nothing."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from promptseg.errors import ModelError
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.bank import Remembered, nearest
from promptseg.models.families.sam2.embedding import Sam2Embedding
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.families.sam2.network import Features, Sam2, Seen
from promptseg.models.families.sam2.tracker import Sam2Memory
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import Answer, SlicePrompt
from small_sam2 import small_sam2

FRAMES = 60
CPU = torch.device("cpu")


@dataclass
class Clip:
    """Features of frames, as if they were encoded."""

    frames: Sequence[Sam2Embedding]
    predictor: Any = None
    pixel: tuple[float, float] = (1.0, 1.0)

    def __len__(self) -> int:
        return len(self.frames)

    def embedding(self, index: int, towards: int | None = None) -> Sam2Embedding:
        return self.frames[index]

    def hold(self, frames: Collection[int]) -> None: ...


@pytest.fixture(scope="module")
def network() -> Sam2:
    """Objects are there or not, and leave traces, as in a trained one."""
    found = small_sam2()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in found.state_dict().items():
        if any(part in name for part in ("tpos", "no_", "gamma")):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            tensor.add_(0.5)
    return found


@pytest.fixture(scope="module")
def clip(network: Sam2) -> Clip:
    noise = torch.randn(FRAMES, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    layout = Preprocessing(128, "imagenet", "stretch").input_transform(32, 32)
    with torch.inference_mode():
        features = network.encode(noise)
    return Clip(
        [
            Sam2Embedding(Features(*(level[k : k + 1] for level in features)), layout)
            for k in range(FRAMES)
        ]
    )


def followed(memory: Sam2Memory, down: bool = False) -> list[Answer]:
    """From one frame to the end, with another prompted on the way."""
    way = range(FRAMES)[:: -1 if down else 1]
    for frame in (way[0], way[20], way[24], way[40], way[50], way[51]):
        memory.prompt(frame, SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    memory.forget()
    return [memory.propagate(frame, down) for frame in way if frame not in memory.bank.conditioning]


@pytest.mark.parametrize("down", [False, True])
def test_forgetting_changes_no_bit(network: Sam2, clip: Clip, down: bool) -> None:
    short, long = (Sam2Memory(network, clip, CPU) for _ in range(2))
    long.bank.forgetful = False
    for one, other in zip(followed(short, down), followed(long, down), strict=True):
        assert one.logits is not None
        assert other.logits is not None
        assert torch.equal(one.logits, other.logits)
        assert one.logits.abs().max() < 1000, "an object that is there"
        assert (one.iou, one.presence) == (other.iou, other.presence)
    assert len(long.bank.propagated) == FRAMES - 6
    held = [*short.bank.propagated.values(), *short.bank.conditioning.values()]
    numbers = sum(
        one.seen.logits.numel() + (0 if one.map is None else one.map.numel()) for one in held
    )
    most = Sam2Model(CARDS["sam2.1-t"], network, CPU).object_bytes // 4
    assert numbers <= most + 2 * held[0].seen.logits.numel()  # of six prompted frames
    assert len(short.bank.propagated) == 15 - 2  # of the last 15 two are conditioning frames
    assert sum(one.map is not None for one in short.bank.propagated.values()) <= 6


@pytest.mark.parametrize("down", [False, True])
def test_a_memory_put_aside_goes_on_with_the_same_bits(
    network: Sam2, clip: Clip, down: bool
) -> None:
    """Through bytes into another memory, wherever it was stopped; its size does not grow."""
    way = range(30)[:: -1 if down else 1]
    asked = {0, 7, 8, 12, 20, 21}

    def done(memory: Sam2Memory, frames: Sequence[int]) -> list[Answer]:
        return [memory.propagate(way[k], down) for k in frames if k not in asked]

    whole = Sam2Memory(network, clip, CPU)
    for k in sorted(asked):
        whole.prompt(way[k], SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    start = whole.state()
    expected = done(whole, range(30))
    sizes = []
    for stop in (0, 1, 5, 13, 22, 29):
        first, rest = (Sam2Memory(network, clip, CPU) for _ in range(2))
        first.go_on(start)
        found = done(first, range(stop))
        content = io.BytesIO()
        np.savez(content, **first.state())
        sizes.append(len(content.getvalue()))
        with np.load(io.BytesIO(content.getvalue()), allow_pickle=False) as state:
            rest.go_on({key: state[key] for key in state.files})
        found += done(rest, range(stop, 30))
        for one, other in zip(found, expected, strict=True):
            assert one.logits is not None
            assert other.logits is not None
            assert torch.equal(one.logits, other.logits)
            assert (one.iou, one.presence) == (other.iou, other.presence)
    assert sizes[-1] < 1.2 * sizes[-2]


def test_numbers_of_16_bits_go_through_a_state_too(network: Sam2, clip: Clip) -> None:
    memory, other = (Sam2Memory(network, clip, CPU) for _ in range(2))
    memory.prompt(0, SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    one = memory.bank.conditioning[0]
    memory.bank.conditioning[0] = replace(one, map=one.seen.logits.bfloat16())
    other.go_on(memory.state())
    kept = other.bank.conditioning[0].map
    assert kept is not None
    assert kept.dtype == torch.bfloat16
    assert torch.equal(kept, one.seen.logits.bfloat16())


def test_a_frame_that_is_recalled_is_looked_at_as_one_that_was_followed(
    network: Sam2, clip: Clip
) -> None:
    """Its map and pointer come from its mask: near to those it had, and gone with the way."""
    memory, other = (Sam2Memory(network, clip, CPU) for _ in range(2))
    for each in (memory, other):
        each.prompt(0, SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    answers = {k: memory.propagate(k) for k in range(1, 5)}
    alone = other.propagate(5).presence
    other.forget()
    for k, answer in answers.items():
        other.recall(k, answer.mask)
    assert list(other.bank.propagated) == [1, 2, 3, 4]
    assert all(not one.prompted and one.map is not None for one in other.bank.propagated.values())
    assert other.propagate(5).presence != alone
    other.forget()
    assert other.propagate(5).presence == alone


def test_memory_counts(network: Sam2, clip: Clip) -> None:
    """What is remembered, and its order, changes what is seen: the test above could fail."""
    memory = Sam2Memory(network, clip, CPU)
    memory.prompt(0, SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    up = [memory.propagate(k).presence for k in (1, 2, 3)]
    memory.forget()
    assert memory.propagate(3).presence != up[2]
    assert memory.propagate(1, down=True).presence != up[0]


def test_the_official_way_lets_a_corrected_frame_be_one_like_others(
    network: Sam2, clip: Clip
) -> None:
    click = SlicePrompt(xy=((9.0, 9.0),), labels=(1,))
    for official, conditioning in ((True, {0}), (False, {0, 2})):
        memory = Sam2Memory(network, clip, CPU, official)
        memory.prompt(0, click)
        for frame in (1, 2, 3):
            memory.propagate(frame)
        memory.prompt(2, click, afresh=False)
        assert set(memory.bank.conditioning) == conditioning
        assert (2 in memory.bank.propagated) is official


def test_weights_that_give_nan_are_an_error(clip: Clip) -> None:
    broken = small_sam2()
    broken.memory_attention.norm.weight.fill_(float("nan"))
    memory = Sam2Memory(broken, clip, CPU)
    memory.prompt(0, SlicePrompt((4.0, 5.0, 20.0, 25.0)))
    with pytest.raises(ModelError, match="NaN or infinity"):
        memory.propagate(1)


@pytest.mark.parametrize(
    ("frame", "limit", "chosen"),
    [
        (5, None, {0, 4, 6, 9, 20}),
        (5, 5, {0, 4, 6, 9, 20}),
        (5, 4, {4, 6, 9, 0}),
        (5, 2, {4, 6}),
        (6, 2, {4, 6}),  # itself counts as after
        (19, 3, {9, 20, 6}),
        (30, 3, {20, 9, 6}),
    ],
)
def test_the_nearest_conditioning_frames(frame: int, limit: int | None, chosen: set[int]) -> None:
    none = torch.zeros(1)
    frames = {k: Remembered(Seen(none, none, none, none), None, True) for k in (20, 0, 9, 4, 6)}
    near, others = nearest(frames, frame, limit)
    assert set(near) == chosen
    assert set(others) == set(frames) - chosen
