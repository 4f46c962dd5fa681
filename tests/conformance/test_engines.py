"""What every engine must do with a rewritten network; those that cannot run here say why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from promptseg.models.families.sam.build import Sam
from promptseg.runtime import Runner, prepare
from promptseg.runtime.check import check
from promptseg.runtime.engines import ENGINES, CompileError, Engine, engine_named
from runtime.small import distance, plain, tiny

CPU = torch.device("cpu")
SIDE = {"tiny": 64, "plain": 160}
NETWORKS: dict[str, Callable[[], Sam]] = {"tiny": tiny, "plain": lambda: plain(160)}

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def own_home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))


def runner_of(name: str, network: str) -> Runner:
    engine = engine_named(name)
    if reason := engine.missing(CPU):
        pytest.skip(f"{name}: {reason}")
    torch.manual_seed(0)
    runner = Runner(prepare(NETWORKS[network](), CPU), engine, 2)
    try:
        runner.warm()
    except CompileError as error:
        if name.startswith(("eager", "openvino")):
            raise
        pytest.skip(f"{name}: {error}")  # code of our own is for one encoder
    return runner


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_says_what_it_is(name: str) -> None:
    engine: Engine = engine_named(name)
    assert engine.name == name
    assert engine.dtype.is_floating_point
    assert isinstance(engine.parallel, bool)
    for device in ("cpu", "cuda"):
        reason = engine.missing(torch.device(device))
        assert reason is None or (len(reason) > 10 and "\n" not in reason)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_answers_as_eager_float32_whatever_it_is_asked(name: str, network: str) -> None:
    runner = runner_of(name, network)
    exact = runner.engine.dtype == torch.float32
    tolerance = 1e-3 if exact else 0.5  # random weights amplify; the check has the real limit
    # A predicted IoU near zero has no relative distance worth the name where bfloat16 rounds.
    quality = distance if exact else lambda a, b: float((a - b).abs().max())
    plain_one = runner.network
    side = SIDE[network]
    slices = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 50, 20], [0, 0, 63, 63]])
    points = (boxes.view(3, 2, 2), torch.tensor([[1.0, 0]] * 3))
    low = 4 * plain_one.prompt_encoder.grid
    with torch.inference_mode():
        expected = plain_one.encode(slices)
        together = runner.encode(slices)
        assert together.shape == expected.shape
        assert together.dtype == torch.float32
        assert distance(together, expected) < tolerance
        for k in range(3):  # alone, in a batch and beside other threads
            alone = runner.encode(slices[k : k + 1])
            assert distance(alone, together[k : k + 1]) < tolerance
            assert torch.equal(alone, runner.encode(slices[k : k + 1]))
            beside = runner.encode(slices[k : k + 1], parallel=True)
            assert distance(beside, alone) < tolerance
        mask_prompts = torch.zeros(3, 1, low, low)
        asked = (
            {"boxes": boxes},
            {"boxes": boxes[:1]},
            {"points": points},
            {"points": points, "boxes": boxes, "masks": mask_prompts},
        )
        for given in asked:
            for multimask in (False, True):
                answer = runner.decode(expected[:1], **given, multimask=multimask)  # type: ignore[arg-type]
                again = runner.decode(expected[:1], **given, multimask=multimask)  # type: ignore[arg-type]
                wanted = plain_one.decode(expected[:1], **given, multimask=multimask)  # type: ignore[arg-type]
                for one, same, other in zip(answer, again, wanted, strict=True):
                    assert one.shape == other.shape
                    assert one.dtype == torch.float32
                    assert torch.equal(one, same)
                for apart in (distance(answer[0], wanted[0]), quality(answer[1], wanted[1])):
                    assert apart < tolerance


@pytest.mark.parametrize("name", ENGINES)
def test_the_check_of_an_engine_finds_no_nan(name: str) -> None:
    agreement = check(runner_of(name, "tiny"))
    assert agreement.embedding == agreement.embedding < 1
    exact = engine_named(name).dtype == torch.float32
    assert agreement.tolerance == (1e-3 if exact else 0.035)
