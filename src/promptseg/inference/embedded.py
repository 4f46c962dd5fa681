"""An image as a model sees it, as a value: slices along one axis, each encoded at most once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from threading import RLock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.geometry import Axis
from promptseg.image import Image
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity
from promptseg.models.protocol import Embedding

__all__ = ["EmbeddedImage", "Visit"]

_CACHE_BYTES = 512 << 20
_HELD_BYTES = 2 << 30


class _Fetched(NamedTuple):
    """An embedding, and how many slices were encoded or read from the disk for it."""

    embedding: Embedding
    encoded: int = 0
    cache_hits: int = 0


class EmbeddedImage:
    """The slices of an image along one axis, with their embeddings as far as memory allows.

    Made once for an image and passed to everything that is done with it; any number of threads may use
    it at the same time. It is a sequence of `Frames` itself; `visit` gives one that counts for itself.

    Args:
        image: the 2D image (one slice) or volume.
        axis: the axis slices are taken along.
        intensity: how values become 0..255.
        predictor: the model that encodes.
        batch: slices encoded at a time.
        cache_bytes: embeddings kept; the least recently used go first.
        store: embeddings on disk, looked up before a slice is encoded.
        look_ahead: whether slices on the way are encoded in the background, where the engine gains
            from it; the slice at hand is decoded meanwhile.
        asked: modality and window that the user asked for in place of the image's own.

    Attributes:
        encoded, cache_hits: slices encoded, and read from the disk, so far.
    """

    def __init__(
        self,
        image: Image,
        axis: Axis,
        intensity: Intensity,
        predictor: Predictor,
        batch: int = 1,
        cache_bytes: int = _CACHE_BYTES,
        store: EmbeddingStore | None = None,
        look_ahead: bool = True,
        asked: tuple[str | None, str | None] = (None, None),
    ) -> None:
        self.image, self.axis, self.intensity, self.predictor = image, axis, intensity, predictor
        self.batch, self.cache_bytes, self.store, self.asked = batch, cache_bytes, store, asked
        self.encoded = self.cache_hits = 0
        steps = np.linalg.norm(image.geometry.in_plane(axis if len(self) > 1 else "z"), axis=0)
        self.pixel = (float(steps[0]), float(steps[1]))
        self._cache: OrderedDict[int, Embedding] = OrderedDict()
        self._held: dict[object, frozenset[int]] = {}
        self._look_ahead_asked = look_ahead
        self._parallel = predictor.parallel if look_ahead else 1
        self._ahead: dict[int, Future[tuple[list[Embedding], int]]] = {}
        self._one_at_a_time = RLock()

    def __len__(self) -> int:
        return self.image.geometry.slice_count(self.axis)

    @property
    def cached(self) -> list[int]:
        """Return the slices whose embeddings are at hand, without waiting for one being encoded."""
        return sorted(list(self._cache))  # noqa: C414 (a copy in one step, as others may add to it)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the embeddings at hand, without waiting, as `cached`."""
        return sum(embedding.nbytes for embedding in list(self._cache.values()))

    def along(self, axis: Axis) -> EmbeddedImage:
        """Return the same image in slices along another axis, shown to the model in the same way."""
        return EmbeddedImage(
            self.image,
            axis,
            self.intensity,
            self.predictor,
            self.batch,
            self.cache_bytes,
            store=self.store,
            look_ahead=self._look_ahead_asked,
            asked=self.asked,
        )

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return the slice, (rows, columns[, 3]), with values from 0 to 255."""
        return np.ascontiguousarray(self.intensity.apply(self.image.slice(index, self.axis)))

    def visit(self, on_encoded: Callable[[int], None] | None = None) -> Visit:
        """Return the same slices for one run, which has its own counts.

        Args:
            on_encoded: told the number of slices encoded in this run so far, whenever it grows.
        """
        return Visit(self, on_encoded)

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """Return the embedding of a slice; on a miss, encode those on the way `towards` another too."""
        return self.fetch(index, towards).embedding

    def hold(self, slices: Collection[int], whose: object = None) -> None:
        """Do not forget these slices, which will be asked for again, until others are held.

        Of more than `_HELD_BYTES` the least recently used are forgotten all the same.

        Args:
            slices: their indices; none lets go.
            whose: each owner holds its own.
        """
        with self._one_at_a_time:
            if slices:
                self._held[whose] = frozenset(slices)
            else:
                self._held.pop(whose, None)
            self._forget()

    def fetch(self, index: int, towards: int | None = None) -> _Fetched:
        """Return the embedding as `embedding` does, with what had to be done for it."""
        step = 1 if towards is None or towards >= index else -1
        way = range(index, index + step if towards is None else towards + step, step)
        with self._one_at_a_time:
            new = _Fetched(self._cache[index]) if index in self._cache else None
            if self._parallel > 1 and len(way) > 1:
                self._look_ahead(way)
            if index in self._ahead:
                new = self._keep([index], *self._wait_for(index))
            elif new is None:
                missing = [k for k in way if k not in self._cache][: self.batch]
                new = self._keep(missing, *self._encode(missing))
            self._cache.move_to_end(index)
            self._forget()
        return new

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

    def _keep(self, indices: list[int], embeddings: list[Embedding], encoded: int) -> _Fetched:
        self._cache.update(zip(indices, embeddings, strict=True))
        cache_hits = len(indices) - encoded
        self.encoded += encoded
        self.cache_hits += cache_hits
        return _Fetched(embeddings[0], encoded, cache_hits)

    def _forget(self) -> None:
        """Forget the least recently used embeddings beyond the limits; never those of one batch."""
        size = sum(embedding.nbytes for embedding in self._cache.values())
        held = frozenset[int]().union(*self._held.values())
        for limit, spared in ((self.cache_bytes, held), (max(self.cache_bytes, _HELD_BYTES), ())):
            for k in list(self._cache)[: max(0, len(self._cache) - self.batch)]:
                if size <= limit:
                    return
                if k not in spared:
                    size -= self._cache.pop(k).nbytes


class Visit:
    """One run over an embedded image: the same frames, counted for this run alone.

    Attributes:
        embedded: the image.
        encoded, cache_hits: slices encoded, and read from the disk, on behalf of this run.
    """

    def __init__(
        self, embedded: EmbeddedImage, on_encoded: Callable[[int], None] | None = None
    ) -> None:
        self.embedded, self.on_encoded = embedded, on_encoded
        self.encoded = self.cache_hits = 0

    def __len__(self) -> int:
        return len(self.embedded)

    @property
    def predictor(self) -> Predictor:
        """Return the model that encodes the slices."""
        return self.embedded.predictor

    @property
    def pixel(self) -> tuple[float, float]:
        """Return the width and height of the slices' pixels."""
        return self.embedded.pixel

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """See `EmbeddedImage.embedding`."""
        found = self.embedded.fetch(index, towards)
        self.encoded += found.encoded
        self.cache_hits += found.cache_hits
        if self.on_encoded and (found.encoded or found.cache_hits):
            self.on_encoded(self.encoded)
        return found.embedding

    def hold(self, slices: Collection[int]) -> None:
        """See `EmbeddedImage.hold`."""
        self.embedded.hold(slices, self)
