"""The networks for inference are the same functions as the plain ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from promptseg.models.families.sam import Sam
from promptseg.runtime.engines import engine_named
from promptseg.runtime.machine import has_bfloat16
from promptseg.runtime.parts import parts_of
from promptseg.runtime.rewrite import prepare
from promptseg.runtime.rewrite.ops import graph_in
from runtime.small import distance, plain, tiny

CPU = torch.device("cpu")
NETWORKS: list[Callable[[], Sam]] = [tiny, lambda: tiny(4), plain, lambda: plain(640)]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_embeddings_are_those_of_the_plain_network(
    make: Callable[[], Sam], fused: bool, batch: int
) -> None:
    network = make()
    ready = prepare(make(), CPU)
    size = ready.image_encoder.img_size
    slices = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.encode(slices)
    with torch.inference_mode() if fused else torch.enable_grad():  # fused only without gradients
        found = ready.encode(slices)
    assert distance(found, expected) < 1e-5


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16 arithmetic")
@torch.inference_mode()
def test_attention_in_bfloat16_with_amx_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepare(plain(640), CPU)
    slices = torch.randn(1, 3, 640, 640, generator=torch.Generator().manual_seed(1))
    part, found = parts_of(ready)["encoder"], {}
    for amx in (True, False):
        monkeypatch.setattr("promptseg.runtime.rewrite.attention.has_amx", lambda amx=amx: amx)
        found[amx] = engine_named("eager-bf16").compile(part, 1)(slices)
        assert 0 < distance(found[amx], ready.encode(slices)) < 0.005
    assert 0 < distance(found[True], found[False]) < 0.005


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_graphs_of_large_grids_hold_no_channels_that_cost(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare(plain(640), CPU)
    slices = torch.randn(1, 3, 640, 640, generator=torch.Generator().manual_seed(1))
    for amx in (True, False):
        monkeypatch.setattr("promptseg.runtime.rewrite.attention.has_amx", lambda amx=amx: amx)
        with graph_in(dtype):
            traced = torch.jit.trace(ready.image_encoder, slices, check_trace=False)
        assert distance(traced(slices), ready.encode(slices)) < 1e-5
        side = 640 // 16
        one_hot = f"Float({side * side}, {2 * side + 32}"  # rows, columns and what fills them up
        assert (one_hot in str(traced.inlined_graph)) == (amx and dtype == torch.bfloat16)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", ["boxes", "points", "masks", "all"])
def test_masks_are_those_of_the_plain_network(prompt: str, multimask: bool) -> None:
    network = tiny().double()  # where rounding hides nothing
    ready = prepare(network, CPU)
    rng = torch.Generator().manual_seed(2)
    embedding = torch.randn(1, 256, 16, 16, generator=rng).double()
    every = {
        "boxes": torch.tensor([[1.0, 2, 30, 40], [5, 5, 50, 20], [0, 0, 63, 63]]),
        "points": (torch.rand(3, 4, 2, generator=rng) * 64, torch.tensor([[1.0, 0, 1, -1]] * 3)),
        "masks": torch.randn(3, 1, 64, 64, generator=rng).double(),
    }
    given = every if prompt == "all" else {prompt: every[prompt]}
    with torch.inference_mode():
        expected = network.decode(embedding, **given, multimask=multimask)  # type: ignore[arg-type]
        found = ready.decode(embedding, **given, multimask=multimask)  # type: ignore[arg-type]
    assert found[0].shape == expected[0].shape == (3, 3 if multimask else 1, 64, 64)
    assert distance(found[0], expected[0]) < 1e-6
    assert distance(found[1], expected[1]) < 1e-6


def test_prompts_on_images_of_their_own() -> None:
    network, ready = tiny(), prepare(tiny(), CPU)
    embeddings = torch.randn(2, 256, 16, 16, generator=torch.Generator().manual_seed(3))
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 50, 20]])
    with torch.inference_mode():
        expected = network.decode(embeddings, boxes=boxes)[0]
        assert distance(ready.decode(embeddings, boxes=boxes)[0], expected) < 1e-4


@pytest.mark.parametrize("make", [tiny, plain])
def test_a_traced_graph_is_the_same_function(make: Callable[[], Sam]) -> None:
    ready = prepare(make(), CPU)
    size = ready.image_encoder.img_size
    slices = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        traced = torch.jit.trace(ready.image_encoder, slices, check_trace=False)
        assert distance(traced(slices), ready.encode(slices)) < 1e-5
