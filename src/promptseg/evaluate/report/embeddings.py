"""Image embeddings seen along the axes on which they spread most (MedicoSAM, Fig. 5b)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.archive import open_archive
from promptseg.formats.text import csv_table

__all__ = ["Embeddings", "component_picture", "principal_components", "read_embeddings"]

Floats = NDArray[np.float64]

_NOISE = 1e-9
_FORM = "write `vectors` (n, d) or `maps` (n, channels, rows, columns), and `labels` (n,)"


class Embeddings(NamedTuple):
    """The embeddings of some images, with their labels.

    Attributes:
        labels: one per image, such as its modality or data set.
        vectors: (n, d) one vector per image; n of 0 if none are given.
        maps: (m, channels, rows, columns) the encoder's output for some; m of 0 if none are given.
        map_labels: one per map.
    """

    labels: list[str]
    vectors: Floats
    maps: Floats
    map_labels: list[str]


def read_embeddings(path: Path) -> Embeddings:
    """Read embeddings and their labels from a file.

    Args:
        path: .npz with `labels` and `vectors` or `maps` or both (maps may have `map_labels` of their
            own, and of several `models` the first one's vectors are taken), or .csv with a column
            `label` and d columns of numbers.

    Raises:
        InputError: it holds something else.
    """
    try:
        found = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise InputError("embeddings with labels", f"{path} ({error})", _FORM) from error
    shapes = found.vectors.shape, found.maps.shape
    counts = len(found.labels), len(found.map_labels)
    fits = all(shape[0] in (0, count) for shape, count in zip(shapes, counts, strict=True))
    fits = fits and any(shape[0] for shape in shapes)
    if not (fits and len(shapes[0]) == 2 and len(shapes[1]) == 4):
        got = f"{path}: {counts} labels, vectors {shapes[0]}, maps {shapes[1]}"
        raise InputError("as many labels as embeddings", got, _FORM)
    return found


def _read_npz(path: Path) -> Embeddings:
    with open_archive(path, "file of embeddings") as archive:
        vectors = archive.take("vectors") if "vectors" in archive else np.zeros((0, 0))
        maps = archive.take("maps") if "maps" in archive else np.zeros((0, 0, 0, 0))
        labels = archive.take("labels")
        map_labels = archive.take("map_labels") if "map_labels" in archive else labels
        if "models" in archive:  # those of several models share no space
            models = archive.take("models")
            first = models == models[0]
            vectors, labels = vectors[first], labels[first]
    return Embeddings(
        [str(label) for label in labels],
        vectors.astype(np.float64),
        maps.astype(np.float64),
        [str(label) for label in map_labels],
    )


def _read_csv(path: Path) -> Embeddings:
    lines = list(csv_table(path))
    labels = [line.pop("label") for line in lines]
    vectors = np.array([[float(v) for v in line.values()] for line in lines])
    return Embeddings(labels, vectors, np.zeros((0, 0, 0, 0)), [])


def principal_components(vectors: Floats, count: int = 2) -> tuple[Floats, Floats]:
    """Project vectors on the axes along which they spread most.

    Args:
        vectors: (n, d), finite, n of at least 2.
        count: axes wanted; those beyond n or d are zero.

    Returns:
        (n, count) coordinates, and (count,) the share of the variance that each axis explains. The
        sign of an axis is such that its largest coordinate is positive.

    Raises:
        InputError: not such an array.
    """
    if vectors.ndim != 2 or len(vectors) < 2 or not np.isfinite(vectors).all():
        raise InputError("(n, d) finite embeddings, n of at least 2", f"shape {vectors.shape}")
    left, size, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    found, share = np.zeros((len(vectors), count)), np.zeros(count)
    shown = min(count, len(size))
    found[:, :shown] = (left * size)[:, :shown]
    share[:shown] = size[:shown] ** 2 / max(float((size**2).sum()), np.finfo(float).tiny)
    largest = found[np.abs(found).argmax(axis=0), np.arange(count)]
    return found * np.where(largest < 0, -1, 1), share


def component_picture(features: Floats) -> NDArray[np.uint8]:
    """Draw the three main components of an encoder's output as red, green and blue.

    Args:
        features: (channels, rows, columns), finite.

    Returns:
        (rows, columns, 3); each component runs from its 1st to its 99th percentile.

    Raises:
        InputError: not such an array.
    """
    if features.ndim != 3:
        raise InputError("(channels, rows, columns) features", f"shape {features.shape}")
    channels, rows, columns = features.shape
    found, _ = principal_components(features.reshape(channels, -1).T, 3)
    low, high = np.percentile(found, [1, 99], axis=0)
    spread = high - low
    spread[spread <= _NOISE * spread.max()] = np.inf  # an axis of rounding noise stays dark
    if not np.isfinite(spread).any():
        return np.zeros((rows, columns, 3), dtype=np.uint8)
    picture: NDArray[np.uint8] = (
        (255 * np.clip((found - low) / spread, 0, 1)).round().astype(np.uint8)
    )
    return picture.reshape(rows, columns, 3)
