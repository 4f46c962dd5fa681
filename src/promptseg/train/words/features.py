"""Embeddings of training images of words, in one file that is mapped into memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.inference.embeddings import EmbeddingKey, EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.models.preprocess import resize_bilinear
from promptseg.train.words.images import SIDE, WordImage, framed

__all__ = ["THUMBNAIL", "Facts", "WordFeatures"]

THUMBNAIL = 16
_CHANNELS, _GRID = 256, 64


@dataclass(frozen=True)
class Facts:
    """Facts on one image.

    Attributes:
        key, dataset, patient, modality, kind: as of `WordImage`.
        part: train, validation, test or external.
        known: places of the words that its dataset labels.
        there: those that are on it.
        extent: (rows, columns) it takes of the grid of masks.
        layers: of its labels, as of `WordImage`.
    """

    key: str
    dataset: str
    patient: str
    modality: str
    kind: str
    part: str
    known: tuple[int, ...]
    there: tuple[int, ...]
    extent: tuple[int, int]
    layers: int = 1


class WordFeatures:
    """Images of a folder: features, what is on them, facts. Images that are there are not made again.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / "images.jsonl"
        lines = index.read_text("utf-8").splitlines() if index.exists() else []
        self.facts = [_facts(json.loads(line)) for line in lines]
        self._starts = [0]  # layers before each image, as far as was asked for

    def __len__(self) -> int:
        return len(self.facts)

    def add(
        self,
        images: Iterable[tuple[WordImage, str]],
        predictor: Predictor,
        stores: Iterable[EmbeddingStore] = (),
        show: Callable[[int], None] = lambda _: None,
        as_named: Iterable[str] = (),
        only_kept: bool = False,
    ) -> None:
        """Encode images that are not there yet, one after the other.

        Args:
            images: each with its part.
            predictor: the base.
            stores: where embeddings may be kept already.
            show: told how many are done.
            as_named: names of models with the same encoder, under which they may be kept.
            only_kept: whether images whose embeddings are not kept are left out.
        """
        there = {facts.key for facts in self.facts}
        names = (predictor.card.name, *as_named)
        with (
            (self.folder / "features.f16").open("ab") as features,
            (self.folder / "masks.u8").open("ab") as masks,
            (self.folder / "thumbnails.u8").open("ab") as thumbnails,
            (self.folder / "images.jsonl").open("a", encoding="utf-8") as index,
        ):
            features.truncate(2 * _CHANNELS * _GRID**2 * len(self))  # what a kill left half-written
            masks.truncate(2 * SIDE**2 * sum(facts.layers for facts in self.facts))
            thumbnails.truncate(THUMBNAIL**2 * len(self))
            for done, (image, part) in enumerate(images):
                values = None
                if image.key not in there:
                    values = _kept(image, predictor, stores, names)
                    if values is None and not only_kept:
                        values = _encoded(image, predictor)
                if values is not None:
                    rows, columns = image.size
                    transform = predictor.card.preprocessing.input_transform(
                        rows, columns, image.pixel
                    )
                    labels, deep, extent = framed(image, transform.resized, transform.size)
                    places = values.reshape(_CHANNELS, -1).T  # a place is one piece of the file
                    features.write(places.astype(np.float16).tobytes())
                    masks.write(np.stack([labels, deep], axis=1).tobytes())
                    thumbnails.write(thumbnail(image.picture).tobytes())
                    present = tuple(int(k) - 1 for k in np.unique(labels) if k)
                    facts = Facts(
                        image.key,
                        image.dataset,
                        patient=image.patient,
                        modality=image.modality,
                        kind=image.kind,
                        part=part,
                        known=image.known,
                        there=present,
                        extent=extent,
                        layers=len(labels),
                    )
                    for stream in (features, masks, thumbnails):
                        stream.flush()
                    index.write(json.dumps(asdict(facts)) + "\n")
                    index.flush()
                    self.facts.append(facts)
                    there.add(image.key)
                show(done + 1)

    @property
    def places(self) -> NDArray[np.float16]:
        """Return the embeddings of all images, (images, 4096, 256), mapped into memory."""
        shape = (len(self), _GRID**2, _CHANNELS)
        return np.memmap(self.folder / "features.f16", np.float16, "r", shape=shape)

    def embedding(self, number: int) -> NDArray[np.float32]:
        """Return the (1, 256, 64, 64) embedding of one image."""
        grid = self.places[number].astype(np.float32).reshape(_GRID, _GRID, _CHANNELS)
        return np.ascontiguousarray(grid.transpose(2, 0, 1))[None]

    def maps(self, number: int) -> NDArray[np.uint8]:
        """Return the maps of one image, (layers, 2, 256, 256): labels, and depths in objects."""
        for facts in self.facts[len(self._starts) - 1 : number]:
            self._starts.append(self._starts[-1] + facts.layers)
        shape = (self.facts[number].layers, 2, SIDE, SIDE)
        start = 2 * SIDE**2 * self._starts[number]
        return np.memmap(self.folder / "masks.u8", np.uint8, "r", start, shape)

    @property
    def thumbnails(self) -> NDArray[np.uint8]:
        """Return the gray thumbnails (images, 16, 16), each image padded to a square."""
        shape = (len(self), THUMBNAIL, THUMBNAIL)
        return np.memmap(self.folder / "thumbnails.u8", np.uint8, "r", shape=shape)


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a gray thumbnail (16, 16) of a picture, padded to a square."""
    gray = picture if picture.ndim == 2 else picture.mean(-1).astype(np.uint8)
    rows, columns = gray.shape
    longest = max(rows, columns)
    size = [max(1, round(THUMBNAIL * side / longest)) for side in (rows, columns)]
    small = np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    small[: size[0], : size[1]] = resize_bilinear(gray, *size)
    return small


def _kept(
    image: WordImage,
    predictor: Predictor,
    stores: Iterable[EmbeddingStore],
    names: Iterable[str],
) -> NDArray[np.float32] | None:
    """The embedding of an image, if a store has it."""
    key = EmbeddingKey.of(predictor, image.picture, image.pixel)
    for store in stores:
        for name in names:
            facts = json.loads(key.facts)
            facts["encoder"]["model"] = name
            found = store.get(EmbeddingKey(json.dumps(facts, sort_keys=True)))
            if found is not None:
                return np.asarray(found["features"][0].float())
    return None


def _encoded(image: WordImage, predictor: Predictor) -> NDArray[np.float32]:
    (embedding,) = predictor.encode([image.picture], image.pixel)
    return np.asarray(embedding.view().cpu())


def _facts(said: dict[str, object]) -> Facts:
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    return Facts(**lists)  # type: ignore[arg-type]
