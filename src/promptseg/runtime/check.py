"""The self-check: an engine answers a synthetic phantom as eager float32 does, or it is not used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from promptseg.runtime.engines import Eager
from promptseg.runtime.names import TABLE
from promptseg.runtime.runner import NetworkRunner, runner_of

__all__ = ["Agreement", "check"]

_TOLERANCE = {entry.name: entry.tolerance for entry in TABLE}


@dataclass(frozen=True)
class Agreement:
    """Distance of an engine's answers from those of eager float32 on the synthetic phantom.

    Attributes:
        embedding: relative L2 distance of the embeddings.
        logits: relative L2 distance of the mask logits, each from the own embedding.
        tolerance: what is allowed.
    """

    embedding: float
    logits: float
    tolerance: float

    @property
    def good(self) -> bool:
        """Tell whether the engine agrees well enough to be used; NaN never does."""
        return self.embedding <= self.tolerance and self.logits <= self.tolerance

    def __str__(self) -> str:
        return (
            f"relative distance to eager float32: embedding {self.embedding:.2g}, mask logits "
            f"{self.logits:.2g} (allowed {self.tolerance:g})"
        )


@torch.inference_mode()
def check(runner: NetworkRunner, expected: tuple[Tensor, Tensor] | None = None) -> Agreement:
    """Compare a runner with eager float32 on the same device.

    Args:
        runner: what is to be checked.
        expected: what eager float32 answers (`NetworkRunner.answers`), if that is known.

    Raises:
        CompileError: its engine cannot run the network.
    """
    found = runner.answers()
    wanted = expected or runner_of(runner.network, Eager(), 1).answers()
    embedding, logits = (_distance(f, w) for f, w in zip(found, wanted, strict=True))
    return Agreement(embedding, logits, _TOLERANCE[runner.engine.name])


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())
