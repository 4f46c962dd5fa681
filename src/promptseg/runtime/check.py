"""The self-check: an engine answers a made picture as eager float32 does, or it is not used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.runtime.rewrite import FastSam
from promptseg.runtime.runner import Runner

__all__ = ["TOLERANCE", "Agreement", "answers", "check", "check_input", "check_picture"]

# Relative L2 distance allowed to eager float32, of embeddings and of mask logits.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.035, torch.float16: 0.035}


@dataclass(frozen=True)
class Agreement:
    """How far an engine is from eager float32 on the made picture.

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
        """Whether the engine may be used; not where anything is no number."""
        return self.embedding <= self.tolerance and self.logits <= self.tolerance

    def __str__(self) -> str:
        return (
            f"relative distance to eager float32: embedding {self.embedding:.2g}, mask logits "
            f"{self.logits:.2g} (allowed {self.tolerance:g})"
        )


def check_picture(size: int) -> NDArray[np.float32]:
    """A made slice that looks like a scan: ellipses in each other, shading, texture.

    Args:
        size: side length.

    Returns:
        (3, size, size) float32 from 0 to 1, the same at every call; 256 grey values.
    """
    rng = np.random.default_rng(20240122)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    values = np.zeros((size, size))
    for value, cx, cy, rx, ry in (
        (0.35, 0.0, 0.0, 0.85, 0.65),
        (0.25, -0.3, -0.1, 0.4, 0.35),
        (-0.2, 0.35, 0.1, 0.25, 0.3),
        (0.3, 0.4, -0.25, 0.08, 0.12),
        (0.4, 0.0, 0.5, 0.1, 0.08),
    ):
        values[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] += value
    values += 0.08 * x + 0.05 * np.sin(9 * y) + rng.normal(0, 0.02, values.shape)
    grey = np.round(255 * np.clip(values, 0, 1)) / 255
    grey[:, int(0.9 * size) :] = 0  # as a padded slice
    return np.repeat(grey[None], 3, axis=0).astype(np.float32)


def check_input(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The made picture as a network's input, (1, 3, size, size), and a box on it, (1, 4)."""
    picture = torch.from_numpy(check_picture(size))[None].to(device)
    if size > 256:  # the SAMs of 1024 pixels see standardised values
        picture = (picture - 0.45) / 0.225
    return picture, torch.tensor([[0.15, 0.27, 0.55, 0.63]], device=device) * size


@torch.inference_mode()
def answers(network: FastSam, model: FastSam | Runner) -> tuple[Tensor, Tensor]:
    """The embedding of the made picture and the mask logits of a box on it, as a model gives them."""
    device = next(network.parameters()).device
    picture, box = check_input(network.image_encoder.img_size, device)
    embedding = model.encode(picture)
    return embedding, model.decode(embedding, boxes=box)[0]


def check(runner: Runner, expected: tuple[Tensor, Tensor] | None = None) -> Agreement:
    """Compare a runner with eager float32 on the same device.

    Args:
        runner: what is to be checked.
        expected: the `answers` of eager float32, if they are known.

    Raises:
        CompileError: its engine cannot run the network.
    """
    found = answers(runner.network, runner)
    wanted = expected or answers(runner.network, runner.network)
    embedding, logits = (_distance(f, w) for f, w in zip(found, wanted, strict=True))
    return Agreement(embedding, logits, TOLERANCE[runner.engine.dtype])


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())
