"""A SAM with memory for inference is the same function as the plain network, on every engine."""

from __future__ import annotations

import pytest
import torch

from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Features, Memory, Seen
from promptseg.runtime.check import check
from promptseg.runtime.engines import engine_named
from promptseg.runtime.rewrite import FusedMemorySam, rewritten
from promptseg.runtime.rewrite.memory_sam import can_prepare_memory
from promptseg.runtime.runner import Sam2Runner
from runtime.small import distance
from small_memory_sam import SIZE, small_memory_sam, small_network

CPU = torch.device("cpu")
BOX = torch.tensor([[[40.0, 60.0], [170.0, 200.0]]]), torch.tensor([[2, 3]])


def pixels(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return 2 * torch.rand(count, 3, SIZE, SIZE, generator=generator) - 1


def prepared() -> tuple[MemorySam, FusedMemorySam]:
    fast = rewritten(small_memory_sam(), CPU)
    assert isinstance(fast, FusedMemorySam)
    return small_memory_sam(), fast


def seen_twice(network: MemorySam, slices: torch.Tensor) -> list[Seen]:
    """A box on one frame, and what is made of the next with that in memory."""
    first, second = (
        Features(*(level[k : k + 1] for level in network.encode(slices))) for k in range(2)
    )
    shown = network.see(first, BOX)
    map_ = network.remember(first.coarse, shown, prompted=True)
    return [shown, network.propagate(second, Memory([(map_, 0)], [(shown.pointer, 1)], 1))]


@torch.inference_mode()
def test_the_rewritten_network_is_the_same_function() -> None:
    plain, fast = prepared()
    slices = pixels(2)
    for found, expected in zip(fast.encode(slices), plain.encode(slices), strict=True):
        assert found.shape == expected.shape
        assert expected.numel() == 0 or distance(found, expected) < 1e-5
    for mine, theirs in zip(seen_twice(fast, slices), seen_twice(plain, slices), strict=True):
        for part in ("logits", "iou", "pointer", "presence"):
            assert distance(getattr(mine, part), getattr(theirs, part)) < 1e-4, part


@pytest.mark.parametrize("engine", ["eager", "openvino"])
@torch.inference_mode()
def test_engines_answer_as_eager_float32(
    engine: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))
    executor = engine_named(engine)
    if reason := executor.missing(CPU):
        pytest.skip(reason)
    plain, fast = prepared()
    runner = Sam2Runner(fast, executor, 1, "small-memory")
    agreement = check(runner)
    assert agreement.embedding < 1e-4
    assert agreement.logits < 1e-4
    slices = pixels(2)
    found, expected = seen_twice(runner.asked, slices), seen_twice(plain, slices)
    for mine, theirs in zip(found, expected, strict=True):
        assert distance(mine.logits, theirs.logits) < 1e-3


def test_another_encoder_runs_as_it_is() -> None:
    network = small_network()
    network.image_encoder["trunk"] = torch.nn.Identity()
    assert not can_prepare_memory(network)
    assert rewritten(network, CPU) is None
