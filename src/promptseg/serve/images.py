"""An image whose slices are encoded in turn with those of others."""

from __future__ import annotations

from collections.abc import Callable

from promptseg.geometry import Axis
from promptseg.inference.embedded import EmbeddedImage, Visit
from promptseg.models.protocol import Embedding
from promptseg.serve.turns import Turns

__all__ = ["TurnImage"]


class TurnImage(EmbeddedImage):
    """An `EmbeddedImage` that rests before every slice, so that what is more urgent comes first."""

    turns: Turns

    @classmethod
    def of(cls, opened: EmbeddedImage, turns: Turns, cache_bytes: int) -> TurnImage:
        """Return an opened image, made ready for a device that several share.

        Args:
            opened: the image.
            turns: of the device.
            cache_bytes: embeddings kept.
        """
        image = cls(
            opened.image,
            opened.axis,
            opened.intensity,
            opened.predictor,
            opened.batch,
            cache_bytes,
            store=opened.store,
            look_ahead=False,
            asked=opened.asked,
        )
        image.turns = turns
        return image

    def along(self, axis: Axis) -> TurnImage:
        """See `EmbeddedImage.along`."""
        return TurnImage.of(super().along(axis), self.turns, self.cache_bytes)

    def visit(self, on_encoded: Callable[[int], None] | None = None) -> Visit:
        """See `EmbeddedImage.visit`."""
        return _TurnVisit(self, on_encoded)

    def next_to_encode(self, near: int) -> int | None:
        """Return the nearest slice that has no embedding yet; None if all have, or there is no room."""
        cached = set(self.cached)
        missing = [k for k in range(len(self)) if k not in cached]
        size = self.nbytes
        if not missing or (cached and size + size / len(cached) > self.cache_bytes):
            return None
        return min(missing, key=lambda k: (abs(k - near), k))


class _TurnVisit(Visit):
    """A run that rests before every slice."""

    embedded: TurnImage

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """See `EmbeddedImage.embedding`; of one slice, as others wait."""
        self.embedded.turns.rest()
        return super().embedding(index)
