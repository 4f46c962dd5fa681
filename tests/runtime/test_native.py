"""The first stage in C against the same layers in float32, and what happens where it cannot run."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.inference.predictor import Predictor
from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.runtime import machine
from promptseg.runtime.check import check
from promptseg.runtime.choose import choose_engine
from promptseg.runtime.engines import CompileError, engine_named
from promptseg.runtime.native import first_stage
from promptseg.runtime.native.first_stage import FirstStage
from promptseg.runtime.native.library import library, missing
from promptseg.runtime.parts import parts_of
from promptseg.runtime.rewrite import prepare
from promptseg.runtime.rewrite.tiny_vit import FusedTinyViT
from promptseg.runtime.runner import Runner
from runtime.small import distance, plain, randomised, tiny

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_home")
_REASON = missing()
runs_here = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> FusedTinyViT:
    """With the first stage's real sizes, and a patch embedding that is pointwise or not."""
    stride = getattr(request, "param", 1)
    network = TinyViT(64 * stride, stride, (64, 32, 32, 64), (2, 1, 1, 1), (1, 2, 2, 2))
    sam = randomised(Sam(network, PromptEncoder(64 * stride, grid=16)))
    fast = prepare(sam, CPU).image_encoder
    assert isinstance(fast, FusedTinyViT)
    return fast


def expected(encoder: FusedTinyViT, slices: Tensor) -> Tensor:
    strips = encoder.patch_embed(slices).split(8, dim=2)
    return torch.cat(encoder.first(strips), dim=2)


def slices_for(encoder: FusedTinyViT) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(1, 3, encoder.img_size, encoder.img_size, generator=generator)


@runs_here
@pytest.mark.parametrize("encoder", [1, 4], indirect=True, ids=["pointwise", "convolution"])
@torch.inference_mode()
def test_the_first_stage_is_that_in_float32_but_for_rounding(encoder: FusedTinyViT) -> None:
    slices = slices_for(encoder)
    embed = encoder.patch_embed if encoder.img_size > 64 else None
    found = FirstStage(encoder, embed, 1)(slices)
    assert found.dtype == torch.bfloat16
    wanted = expected(encoder, slices)
    assert distance(found.float(), wanted) < 0.01
    for rows in (slice(0, 1), slice(-1, None)):  # the image's edges
        assert distance(found.float()[:, :, rows], wanted[:, :, rows]) < 0.01
        assert distance(found.float()[..., rows], wanted[..., rows]) < 0.01


@runs_here
@torch.inference_mode()
def test_threads_change_nothing(encoder: FusedTinyViT) -> None:
    every = [slices_for(encoder) * factor for factor in (0.25, 0.5, 1, 2)]
    alone = FirstStage(encoder, None, 1)
    wanted = [alone(slices).clone() for slices in every]
    for threads in (1, 2, 3, 7):
        stage = FirstStage(encoder, None, threads)
        with ThreadPoolExecutor(4) as callers:

            def many(k: int, stage: FirstStage = stage) -> bool:
                with torch.inference_mode():
                    return all(torch.equal(stage(every[k]), wanted[k]) for _ in range(20))

            assert all(callers.map(many, range(4)))
        assert [torch.equal(stage(x), y) for x, y in zip(every, wanted, strict=True)] == [True] * 4


@runs_here
def test_it_reads_no_memory_but_its_own(encoder: FusedTinyViT) -> None:
    stage = FirstStage(encoder, None, 1)
    slices = slices_for(encoder)
    for wrong in (slices.double(), slices[..., :-1], slices.expand(2, -1, -1, -1), slices[0]):
        with pytest.raises(ValueError, match=r"expected \(1, 3, 64, 64\) of torch.float32"):
            stage(wrong)


@runs_here
def test_its_gelu() -> None:
    x = torch.linspace(-12, 12, 4801)
    pixels = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)
    weight, bias = torch.zeros(3, 32), torch.zeros(32)
    weight[0] = 1
    out = torch.empty(len(x), 32, dtype=torch.bfloat16)
    arguments = map(first_stage._as_c, (pixels, len(x), weight, bias, out))
    library().embed_pixels(*arguments)
    wanted = F.gelu(x)[:, None]
    assert ((out.float() - wanted).abs() <= 1e-4 + 2**-8 * wanted.abs()).all()
    assert (out[x < -5].float().abs() < 1e-4).all()


@runs_here
@pytest.mark.weights
def test_the_engine_agrees_with_eager(lite_medsam: Predictor) -> None:
    pytest.importorskip("openvino")
    runner = Runner(lite_medsam.runner.network, engine_named("native-bf16"), 2, "abc")
    agreement = check(runner)
    assert agreement.good
    assert agreement.embedding > 1e-3  # it is bfloat16
    picture = runner.parts["encoder"].example[0]
    with torch.inference_mode():
        alone = runner.encode(picture)
        assert torch.equal(runner.encode(picture, parallel=True), alone)


@runs_here
def test_other_networks_are_refused() -> None:
    pytest.importorskip("openvino")
    for make, said in ((plain, "got FusedViT"), (tiny, "own sizes in the first stage")):
        part = parts_of(prepare(make(), CPU))["encoder"]
        with pytest.raises(CompileError, match=said):
            engine_named("native-bf16").compile(part, 1)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "gcc '"])
def test_without_a_compiler_it_gives_way(
    compiler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "_instructions", lambda: ("amx_bf16", "avx512_bf16"))
    linux = {"system": "Linux x86_64"}
    monkeypatch.setattr("promptseg.runtime.native.library.describe_machine", lambda: linux)
    monkeypatch.setenv("CC", compiler)
    assert "no C compiler" in str(missing())
    with caplog.at_level(logging.WARNING):
        runner, _ = choose_engine(prepare(tiny(), CPU), CPU, 1, "small", "abc", "native-bf16")
    assert runner.engine.name == "eager"
    assert sum("native-bf16 is not used" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("instructions", [(), ("avx512_bf16",)])
def test_without_amx_it_is_missing(
    instructions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_instructions", lambda: instructions)
    assert missing() == "this processor has no AMX"


@runs_here
@pytest.mark.parametrize(
    "does",
    [
        "echo no luck >&2; exit 1",
        "echo >&2; exit 1",
        "true",  # nothing comes out
        'while [ "$1" != -o ]; do shift; done; echo text > "$2"',
    ],
)
def test_a_compiler_that_fails_is_an_error_of_the_engine(
    does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\n{does}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(CompileError, match="C code that"):
        library.__wrapped__()
    assert not list((tmp_path / "home" / "compiled").iterdir())  # nothing of it is kept
