"""All chance of one iteration, drawn beforehand: the same in whatever order, batch or process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from promptseg.simulate.seeds import generator
from promptseg.train.objectives.settings import Objective

__all__ = ["Uniforms"]


@dataclass(frozen=True)
class Uniforms:
    """Numbers drawn uniformly from [0, 1), for N objects.

    Attributes:
        box: (N,) below p_box: the first prompt is a box (u_box, line 7).
        point: (N,) which pixel the first click takes.
        distortion: (N, 4) how far each edge of the box moves.
        clicks: (N, n_steps, K) which pixels the clicks of a round take; K is 2, positive then
            negative, or the most that a round may have.
        mask: (N, n_steps) below p_mask: the round gets the mask it corrects (u_mask, line 25).
        count: (n_steps,) how many clicks a round has, the same for all objects of an iteration.
    """

    box: Tensor
    point: Tensor
    distortion: Tensor
    clicks: Tensor
    mask: Tensor
    count: Tensor

    def to(self, device: torch.device) -> Uniforms:
        """Return the numbers on another device; those that decide between branches stay on the CPU."""
        precise = torch.float32 if device.type == "mps" else torch.float64  # all that MPS has
        moved = {k: getattr(self, k).to(device, precise) for k in ("point", "distortion", "clicks")}
        return replace(self, **moved)

    @classmethod
    def draw(
        cls, objective: Objective, objects: Iterable[Sequence[object]], seed: int, iteration: int
    ) -> Uniforms:
        """Draw the numbers of one iteration.

        Args:
            objective: says how many are needed.
            objects: what names each object, such as (sample, target).
            seed: of the training.
            iteration: its number.
        """
        steps, clicks = objective.n_steps, max((2, *objective.points_per_step))
        rows = [
            generator(seed, "prompts", iteration, *name).random(6 + steps * (clicks + 1))
            for name in objects
        ]
        table = torch.from_numpy(np.array(rows).reshape(len(rows), 6 + steps * (clicks + 1)))
        rest = table[:, 6:].reshape(len(rows), steps, clicks + 1)
        count = torch.from_numpy(generator(seed, "count", iteration).random(steps))
        return cls(table[:, 0], table[:, 1], table[:, 2:6], rest[..., 1:], rest[..., 0], count)
