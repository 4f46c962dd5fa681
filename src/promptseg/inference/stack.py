"""The slices of an image as a model sees them, each encoded at most once while memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.geometry import Axis
from promptseg.image import Image
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity
from promptseg.models.protocol import Embedding

__all__ = ["SliceStack"]

_CACHE_BYTES = 512 << 20
_HELD_BYTES = 2 << 30


class SliceStack:
    """Slices along one axis, with their embeddings.

    Args:
        image: the picture (one slice) or volume.
        axis: the axis slices are taken along.
        intensity: how values become 0..255.
        predictor: the model that encodes.
        batch: slices encoded at a time.
        cache_bytes: embeddings kept; the least recently used go first.
        on_encoded: called with the number of slices encoded so far.
        store: embeddings on disk, looked up before a slice is encoded.
        look_ahead: whether slices on the way are encoded in the background, where the engine gains
            from it; the slice at hand is decoded meanwhile.
    """

    def __init__(
        self,
        image: Image,
        axis: Axis,
        intensity: Intensity,
        predictor: Predictor,
        batch: int = 1,
        cache_bytes: int = _CACHE_BYTES,
        on_encoded: Callable[[int], None] | None = None,
        store: EmbeddingStore | None = None,
        look_ahead: bool = True,
    ) -> None:
        self.image, self.axis, self.intensity, self.predictor = image, axis, intensity, predictor
        self.batch, self.cache_bytes = batch, cache_bytes
        self.on_encoded, self.store = on_encoded, store
        self.encoded = self.recalled = 0
        steps = np.linalg.norm(image.geometry.in_plane(axis if len(self) > 1 else "z"), axis=0)
        self.pixel = (float(steps[0]), float(steps[1]))
        self._cache: OrderedDict[int, Embedding] = OrderedDict()
        self._parallel = predictor.parallel if look_ahead else 1
        self._held: frozenset[int] = frozenset()
        self._ahead: dict[int, Future[tuple[list[Embedding], int]]] = {}

    def __len__(self) -> int:
        return self.image.geometry.slice_count(self.axis)

    @property
    def cached(self) -> list[int]:
        """The slices whose embeddings are at hand."""
        return sorted(self._cache)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """(rows, columns[, 3]) slice as 0..255."""
        return np.ascontiguousarray(self.intensity.apply(self.image.slice(index, self.axis)))

    def _encode(self, indices: list[int], parallel: bool = False) -> tuple[list[Embedding], int]:
        """The embeddings of slices, and how many of them had to be encoded."""
        slices = [self.pixels(k) for k in indices]
        if self.store:
            return self.store.encode(self.predictor, slices, self.pixel, parallel)
        return self.predictor.encode(slices, self.pixel, parallel), len(slices)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._parallel, thread_name_prefix="encode")

    def _look_ahead(self, way: range) -> None:
        """Begin to encode the first slices of the way that nobody has begun."""
        for k in way[: 2 * self._parallel]:
            if k not in self._cache and k not in self._ahead:
                self._ahead[k] = self._workers.submit(self._encode, [k], True)

    def _wait_for(self, index: int) -> tuple[list[Embedding], int]:
        """What the background makes of a slice; nothing more is begun if it fails or is interrupted."""
        try:
            return self._ahead.pop(index).result()
        except BaseException:
            for future in self._ahead.values():
                future.cancel()
            self._ahead.clear()
            raise

    def _keep(self, indices: list[int], embeddings: list[Embedding], encoded: int) -> None:
        self._cache.update(zip(indices, embeddings, strict=True))
        self.encoded += encoded
        self.recalled += len(indices) - encoded
        if self.on_encoded:
            self.on_encoded(self.encoded)

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """Embedding of one slice; on a miss, slices on the way `towards` another are encoded too."""
        step = 1 if towards is None or towards >= index else -1
        way = range(index, index + step if towards is None else towards + step, step)
        if self._parallel > 1 and len(way) > 1:
            self._look_ahead(way)
        if index in self._ahead:
            self._keep([index], *self._wait_for(index))
        elif index not in self._cache:
            missing = [k for k in way if k not in self._cache][: self.batch]
            self._keep(missing, *self._encode(missing))
        self._cache.move_to_end(index)
        embedding = self._cache[index]
        self._forget()
        return embedding

    def hold(self, slices: Collection[int]) -> None:
        """Do not forget these slices, which will be asked for again, until others are held.

        Of more than `_HELD_BYTES` the least recently used are forgotten all the same.
        """
        self._held = frozenset(slices)
        self._forget()

    def _forget(self) -> None:
        """Forget the least recently used embeddings beyond the limits; never those of one batch."""
        size = sum(embedding.nbytes for embedding in self._cache.values())
        for limit, held in ((self.cache_bytes, False), (max(self.cache_bytes, _HELD_BYTES), True)):
            for k in list(self._cache)[: max(0, len(self._cache) - self.batch)]:
                if size <= limit:
                    return
                if held or k not in self._held:
                    size -= self._cache.pop(k).nbytes
