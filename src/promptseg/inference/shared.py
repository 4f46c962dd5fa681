"""Batches that several images share: slices that their threads want encoded at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptsegError
from promptseg.inference.predictor import Predictor
from promptseg.models.protocol import Embedding

__all__ = ["SharedBatches"]

_WAIT = 0.05  # seconds that a slice waits for company


@dataclass(eq=False)
class _Asked:
    """Slices that a thread waits for."""

    slices: Sequence[NDArray[np.uint8]]
    kind: tuple[Any, ...]
    until: float
    answer: list[Embedding] | None = None
    alone: bool = False
    taken: bool = False


class SharedBatches:
    """Stand-in for a `Predictor` for threads with an image each; in all else it is the predictor.

    Slices of one shape, whoever wants them, form a batch as soon as there are enough of them, when
    every thread at work waits, or when the first of them has waited 50 ms. A batch that fails is
    encoded anew, each thread's slices apart, so that one bad image harms no other.

    Args:
        predictor: the model.
        batch: slices of a batch.
    """

    def __init__(self, predictor: Predictor, batch: int) -> None:
        self._own, self._most = predictor, batch
        self._changed = Condition()
        self._asked: list[_Asked] = []
        self._at_work = 0
        self.shared = 0
        """Batches so far that held slices of more than one thread."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a thread as at work from reading an image on: a batch waits for no other threads."""
        with self._changed:
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """Encode slices as `Predictor.encode` does, in batches shared with other threads."""
        if parallel or len(slices) >= self._most or not slices:
            return self._own.encode(slices, pixel, parallel)
        mine = _Asked(slices, (slices[0].shape, pixel), time.monotonic() + _WAIT)
        with self._changed:
            self._asked.append(mine)
            self._changed.notify_all()
            while not (mine.taken or self._is_due(mine)):
                self._changed.wait(max(0.0, mine.until - time.monotonic()))
            group = [] if mine.taken else self._take(mine)
        if group:
            self._encode(group, pixel)
        with self._changed:
            self._changed.wait_for(lambda: mine.answer is not None or mine.alone)
        return self._own.encode(slices, pixel) if mine.answer is None else mine.answer

    def _is_due(self, mine: _Asked) -> bool:
        waiting = sum(len(one.slices) for one in self._asked if one.kind == mine.kind)
        return (
            waiting >= self._most
            or len(self._asked) >= self._at_work
            or time.monotonic() >= mine.until
        )

    def _take(self, mine: _Asked) -> list[_Asked]:
        """A batch with these slices, and others of their kind in the order in which they came."""
        group, count = [mine], len(mine.slices)
        for one in self._asked:
            if one is not mine and one.kind == mine.kind and count + len(one.slices) <= self._most:
                group.append(one)
                count += len(one.slices)
        for one in group:
            one.taken = True
            self._asked.remove(one)
        self.shared += len(group) > 1
        return group

    def _encode(self, group: list[_Asked], pixel: tuple[float, float]) -> None:
        found: list[Embedding] | None = None
        try:
            found = self._own.encode([each for one in group for each in one.slices], pixel)
        except (PromptsegError, RuntimeError, MemoryError):
            if len(group) == 1:
                raise
        finally:
            with self._changed:
                for one in group:
                    if found is None:
                        one.alone = True
                    else:
                        one.answer, found = found[: len(one.slices)], found[len(one.slices) :]
                self._changed.notify_all()
