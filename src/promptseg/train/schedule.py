"""The schedule of a training: which images each update takes, and how large its step is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, pi

import numpy as np
from numpy.typing import NDArray

from promptseg.train.order import epoch_order
from promptseg.train.samples import Place

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """A training, update by update.

    Attributes:
        weights: share of each image in an epoch, (samples,).
        batch_size: images per update, all processes together.
        micro_batch: images of a process at a time.
        updates: of the whole training.
        learning_rate: at the beginning.
        decay: factor after every epoch.
        warmup: updates over which the learning rate rises.
        seed: of the order.
        restarted: the update at which the optimizer was new; the warm-up begins there.
        end: share of the learning rate that a cosine over all updates ends with.
        timescale, cooldown: see `promptseg.train.objectives.settings.Rates`.
    """

    weights: NDArray[np.float64]
    batch_size: int
    micro_batch: int
    updates: int
    learning_rate: float
    decay: float
    warmup: int
    seed: int
    restarted: int = 0
    end: float = 1.0
    timescale: int = 0
    cooldown: int = 0

    @property
    def per_epoch(self) -> int:
        """Return the number of updates in an epoch; the last one may be of fewer images."""
        return ceil(len(self.weights) / self.batch_size)

    def rate(self, update: int) -> float:
        """Return the learning rate of an update."""
        rate = self.learning_rate * self.decay ** (update // self.per_epoch)
        if self.end != 1:
            left = (1 + cos(pi * update / max(1, self.updates))) / 2
            rate *= self.end + (1 - self.end) * left
        if self.timescale and update > self.warmup:
            rate *= (1 + (update - self.warmup) / self.timescale) ** -0.5
        if self.cooldown:
            rate *= min(1.0, (self.updates - update) / self.cooldown)
        return rate * min(1.0, (update - self.restarted + 1) / (self.warmup + 1))

    def share(self, update: int, rank: int, count: int) -> list[list[Place]]:
        """Return the images that one of `count` processes takes in an update, by micro-batch."""
        epoch, k = divmod(update, self.per_epoch)
        order = self._order(epoch)[k * self.batch_size : (k + 1) * self.batch_size]
        mine = [(update, p, int(n)) for p, n in enumerate(order)][rank::count]
        return [mine[i : i + self.micro_batch] for i in range(0, len(mine), self.micro_batch)]

    def shares(self, first: int, rank: int, count: int) -> Iterator[list[Place]]:
        """Yield all micro-batches of a process from an update on."""
        for update in range(first, self.updates):
            yield from self.share(update, rank, count)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return _epoch_order(self.weights.tobytes(), self.seed, epoch)


@lru_cache(maxsize=2)
def _epoch_order(weights: bytes, seed: int, epoch: int) -> NDArray[np.int64]:
    return epoch_order(np.frombuffer(weights), seed, epoch)
