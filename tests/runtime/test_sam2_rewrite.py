"""A SAM 2 for inference is the same function as the plain network, and every engine runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from promptseg.models.families.sam2.build import SHAPES
from promptseg.models.families.sam2.network import Features, MemoryTokens, Sam2, Shape
from promptseg.models.families.sam2.trunk import TrunkSize
from promptseg.runtime.check import check
from promptseg.runtime.engines import engine_named
from promptseg.runtime.rewrite import FusedSam2, prepare_sam2
from promptseg.runtime.rewrite.hiera import nested
from promptseg.runtime.rewrite.ops import graph_in
from promptseg.runtime.rewrite.sam2 import can_prepare_sam2
from promptseg.runtime.runner import Sam2Runner
from runtime.small import distance
from small_sam2 import SHAPE, small_sam2

CPU = torch.device("cpu")
PADDED = TrunkSize(8, 1, (1, 2, 3, 1), (4,))  # windows of 14 on a grid of 20: one whole, five cut
LARGE = TrunkSize(8, 2, (1, 1, 2, 1), (3,), (8, 4, 16, 8), background=14)

NETWORKS: dict[str, Callable[[], Sam2]] = {
    "2.1": small_sam2,
    "2.0": lambda: small_sam2(dated_pointers=False),
    "cut windows": lambda: made(replace(SHAPE, trunk=PADDED, image_size=320)),
    "windows of l": lambda: made(replace(SHAPE, trunk=LARGE, image_size=256)),
}


def made(shape: Shape) -> Sam2:
    torch.manual_seed(0)
    return Sam2(shape).eval().requires_grad_(False)


def unlike_zero(network: Sam2) -> Sam2:
    """The network with positions, biases and norms as after training: none at 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2 or "pos" in name or "no_" in name:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def some_memory(network: FusedSam2, maps: int, pointers: int) -> MemoryTokens:
    full, cells = network.full_memory(), maps * network.grid**2
    return MemoryTokens(
        full.maps[:, :cells],
        full.places[:, :cells],
        full.pointers[:, :pointers],
        full.times[:, :pointers],
    )


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_the_rewritten_network_is_the_same_function(name: str) -> None:
    plain = unlike_zero(NETWORKS[name]())
    fast = prepare_sam2(plain, CPU)
    size = plain.image_size
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    features = plain.encode(2 * pixels - 1)
    for found, expected in zip(fast.encode(2 * pixels - 1), features, strict=True):
        assert found.shape == expected.shape
        assert distance(found, expected) < 1e-5
    one = Features(*(level[:1] for level in features))
    for memory in (some_memory(fast, 1, 0), some_memory(fast, 3, 8)):
        expected = plain.condition(one.coarse, memory)
        assert distance(fast.condition(one.coarse, memory), expected) < 1e-5
        assert distance(expected, one.coarse) > 0.1  # it does something
    corners = torch.rand(3, 2, 2) * size, torch.tensor([[2, 3]] * 3)
    mask_prompts = torch.randn(3, 1, 4 * plain.grid, 4 * plain.grid)
    for masks in (None, mask_prompts):
        for multimask in (False, True):
            wanted = plain.decode(one, corners, masks, multimask)
            found = fast.decode(one, corners, masks, multimask)
            for part in ("logits", "iou", "tokens", "presence"):
                assert distance(getattr(found, part), getattr(wanted, part)) < 1e-5, part


@pytest.mark.parametrize("engine", ["eager", "eager-bf16", "openvino", "openvino-bf16"])
@torch.inference_mode()
def test_engines_answer_as_eager_float32_whatever_is_remembered(
    engine: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))
    executor = engine_named(engine)
    if reason := executor.missing(CPU):
        pytest.skip(reason)
    fast = prepare_sam2(unlike_zero(small_sam2()), CPU)
    runner = Sam2Runner(fast, executor, 1, "small")
    agreement = check(runner)
    limit = 1e-4 if executor.dtype == torch.float32 else 0.1  # random weights amplify rounding
    assert agreement.embedding < limit
    assert agreement.logits < limit
    asked = runner.asked
    slices = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    features = fast.encode(slices)
    for parallel in (False, True):
        for found, expected in zip(asked.encode(slices, parallel), features, strict=True):
            assert found.dtype == torch.float32
            assert distance(found, expected) < limit
    one = Features(*(level[:1] for level in features))
    for maps, pointers in ((1, 0), (4, 6), (10, 40)):  # no shape is compiled in
        memory = made_memory(fast, maps, pointers)
        wanted = fast.condition(one.coarse, memory)
        assert distance(asked.condition(one.coarse, memory), wanted) < limit
    for count in (1, 3):
        corners = torch.rand(count, 2, 2) * 128, torch.tensor([[2, 3]] * count)
        answer, expected_answer = asked.decode(one, corners), fast.decode(one, corners)
        assert distance(answer.logits, expected_answer.logits) < limit
        assert distance(answer.presence, expected_answer.presence) < limit


def made_memory(network: FusedSam2, maps: int, pointers: int) -> MemoryTokens:
    generator = torch.Generator().manual_seed(4)
    cells, narrow = maps * network.grid**2, network.shape.memory

    def some(count: int) -> Tensor:
        return torch.randn(1, count, narrow, generator=generator)

    return MemoryTokens(some(cells), some(cells), some(pointers), some(pointers))


@torch.inference_mode()
def test_a_graph_attends_in_steps_and_gives_the_same() -> None:
    """Traced as for other engines, with more queries than are attended at a time."""
    plain = unlike_zero(made(replace(SHAPE, image_size=512)))
    attention = prepare_sam2(plain, CPU).memory_attention
    inputs = (torch.randn(1, 32, 32, 32), *(torch.randn(1, n, 16) for n in (1024, 1024, 4, 4)))
    with graph_in(torch.float32):
        traced = torch.jit.trace(attention, inputs, check_trace=False)
    assert sum(n.kind() == "aten::softmax" for n in traced.inlined_graph.nodes()) == 16
    assert distance(traced(*inputs), attention(*inputs)) < 1e-5


@pytest.mark.parametrize(("side", "window"), [(16, 8), (20, 14), (8, 14), (64, 14), (32, 16)])
def test_tokens_lie_window_by_window_and_four_that_pooling_joins_are_neighbours(
    side: int, window: int
) -> None:
    order = nested(side, window)
    assert torch.equal(order.sort().values, torch.arange(side * side))
    rows, columns = (order // side).view(-1, 4), (order % side).view(-1, 4)
    for lines in (rows, columns):
        assert torch.equal(lines.amin(1) // 2, lines.amax(1) // 2)
    halved = (rows[:, 0] // 2) * (side // 2) + columns[:, 0] // 2
    assert torch.equal(halved, nested(side // 2, window // 2))
    windows = (order // side // window) * 100 + order % side // window
    assert len(windows.unique_consecutive()) == len(windows.unique())


def test_all_published_networks_can_be_rewritten_and_others_run_as_they_are() -> None:
    with torch.device("meta"):
        assert all(can_prepare_sam2(Sam2(shape)) for shape in SHAPES.values())
        uneven = TrunkSize(8, 1, (1, 1, 1, 1), (), (8, 8, 14, 7))
        assert not can_prepare_sam2(Sam2(replace(SHAPE, trunk=uneven)))
