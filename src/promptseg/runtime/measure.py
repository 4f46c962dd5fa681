"""Speed of engines on this machine: interleaved rounds, medians, share of what it could do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from promptseg.runtime.check import Agreement, check
from promptseg.runtime.engines import Eager
from promptseg.runtime.runner import NetworkRunner, runner_of

__all__ = ["Speed", "count_flops", "interleaved", "matmul_peak", "measure_runners", "spread"]

_SIDE = 2048  # of the matrices that the peak is measured with
_TRIES = 6


@dataclass(frozen=True)
class Speed:
    """Speed of one engine as it was measured, and its agreement with eager float32.

    Attributes:
        engine: its name.
        encode: seconds that one more slice costs, round by round; see `NetworkRunner.trial`.
        decode: seconds of answering one box, round by round.
        agreement: with eager float32 on the synthetic phantom.
    """

    engine: str
    encode: list[float]
    decode: list[float]
    agreement: Agreement


def measure_runners(
    runners: Sequence[NetworkRunner], rounds: int, done: Callable[[int], None] | None = None
) -> list[Speed]:
    """Time runners of one network in turn, one call of each in every round, after a warm-up.

    Args:
        runners: of one network on one device.
        rounds: how many.
        done: called with the number of rounds done.

    Raises:
        CompileError: an engine cannot run the network.
    """
    with torch.inference_mode():
        expected = runner_of(runners[0].network, Eager(), 1).answers()
        agreements = [check(runner, expected) for runner in runners]  # compiles and warms up, too
        device = next(runners[0].network.parameters()).device
        encoding, decoding = zip(*(runner.trial() for runner in runners), strict=True)
        encode = interleaved(encoding, rounds, device, done)
        decode = interleaved(decoding, rounds, device)
    return [
        Speed(runner.engine.name, encode[k], decode[k], agreements[k])
        for k, runner in enumerate(runners)
    ]


def interleaved(
    calls: Sequence[Callable[[], Any]],
    rounds: int,
    device: torch.device | None = None,
    done: Callable[[int], None] | None = None,
) -> list[list[float]]:
    """Time calls in rounds, each of which makes every call once; return the seconds of each call by
    round.
    """
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            own.append(time.perf_counter() - start)
        if done:
            done(number + 1)
    return times


def count_flops(module: nn.Module, *inputs: Any) -> int:
    """Count the floating-point operations of one call (a product and its sum count two).

    Args:
        module: a plain network; nothing is computed if it is on the meta device.
        inputs: of the call.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


def matmul_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the operations per second that a product of two large matrices reaches here."""
    a = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
    call = [lambda: a @ a]
    interleaved(call, 1, device)
    seconds = min(interleaved(call, _TRIES, device)[0])
    return 2 * _SIDE**3 / seconds


def spread(times: list[float]) -> str:
    """Format times as `median (fastest-slowest)` in milliseconds."""
    low, middle, high = (1e3 * t for t in (min(times), median(times), max(times)))
    return (
        f"{middle:.0f} ({low:.0f}-{high:.0f})"
        if middle >= 20
        else f"{middle:.1f} ({low:.1f}-{high:.1f})"
    )
