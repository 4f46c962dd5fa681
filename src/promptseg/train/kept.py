"""Embeddings of the training images, kept on disk where the encoder does not learn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError, OutputError
from promptseg.inference.embeddings import EmbeddingKey, EmbeddingStore
from promptseg.inference.predictor import Predictor

__all__ = ["KeptEmbeddings", "keep_embeddings"]

_NO_LIMIT = 1e6  # GiB


@dataclass(frozen=True)
class KeptEmbeddings:
    """Sample -> its embedding; small enough to travel to the processes that read images.

    Attributes:
        folder: where they are.
        keys: of the samples' embeddings.
    """

    folder: Path
    keys: dict[str, EmbeddingKey]

    def __call__(self, sample: Sample) -> Tensor:
        """(C, h, w) on the CPU.

        Raises:
            InputError: it was removed.
        """
        kept = EmbeddingStore(self.folder, _NO_LIMIT).get(self.keys[sample.key])
        if kept is None:
            raise InputError(
                "the embeddings made at the start",
                f"{self.folder} without {sample.key}",
                "start again",
            )
        features: Tensor = kept["features"][0]
        return features


def keep_embeddings(
    predictor: Predictor,
    collection: Collection,
    samples: Sequence[Sample],
    folder: Path,
    show: Callable[[int, str], None],
) -> KeptEmbeddings:
    """Encode every sample once; those that are there already are left alone.

    Args:
        predictor: with the starting weights.
        collection: where the samples are from.
        samples: the training part.
        folder: for the embeddings.
        show: told how many are done.

    Raises:
        OutputError: not enough room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(1 for _ in folder.glob("*.safetensors"))
    missing, free = max(0, len(samples) - there), shutil.disk_usage(folder).free
    needed = missing * _bytes_each(predictor, collection, samples[0]) if missing else 0
    if needed > free:
        raise OutputError(
            f"{needed / 2**30:.1f} GiB for the embeddings of {len(samples)} images",
            f"{folder} with {free / 2**30:.1f} GiB free",
            "choose another --output, or leave them out with --no-keep-embeddings",
        )
    store = EmbeddingStore(folder, _NO_LIMIT)

    def keep(sample: Sample) -> EmbeddingKey:
        picture, _ = collection.read(sample, predictor.card.keep_8bit)
        store.encode(predictor, [picture], sample.pixel, parallel=predictor.parallel > 1)
        return EmbeddingKey.of(predictor, picture, sample.pixel)

    keys = {}
    with ThreadPoolExecutor(predictor.parallel) as pool:
        for number, (sample, key) in enumerate(zip(samples, pool.map(keep, samples), strict=True)):
            show(number, sample.dataset)
            keys[sample.key] = key
    store.check()
    return KeptEmbeddings(folder, keys)


def _bytes_each(predictor: Predictor, collection: Collection, sample: Sample) -> int:
    """Size of an embedding, of which all of a model are as large."""
    picture, _ = collection.read(sample, predictor.card.keep_8bit)
    return predictor.encode([picture], sample.pixel)[0].nbytes
