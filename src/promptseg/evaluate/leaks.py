"""Whether a model may have seen the images it is evaluated on: they are compared with a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptsegError
from promptseg.evaluate.datasets import Dataset
from promptseg.evaluate.manifest import ManifestRow, perceptual_hashes, read_manifest
from promptseg.image import Image

__all__ = ["ALIKE", "Leak", "is_telling", "leaks_in"]

ALIKE = 32  # bits of 256 that differ at most
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)


@dataclass(frozen=True)
class Leak:
    """A case that the model has probably seen.

    Attributes:
        dataset, case: of the evaluation.
        reason: "same voxels", "looks alike" or "same patient".
        trained_on: the row of the manifest.
        distance: bits between the perceptual hashes, where they are alike.
    """

    dataset: str
    case: str
    reason: str
    trained_on: ManifestRow
    distance: float | None = None

    def __str__(self) -> str:
        seen = f"{self.trained_on.dataset}/{self.trained_on.case}"
        bits = "" if self.distance is None else f" ({self.distance:.0f} of 256 bits apart)"
        return (
            f"{self.dataset}/{self.case} is in the training manifest: {self.reason} as {seen}{bits}"
        )


def leaks_in(manifest: str | Path, datasets: Iterable[Dataset]) -> Iterator[Leak]:
    """The cases that occur in a training manifest, each once, for the strongest reason.

    Cases that cannot be read are passed over, for the evaluation names them.

    Args:
        manifest: as `read_manifest` takes it.
        datasets: what is to be evaluated; every image is read if the manifest knows images.

    Raises:
        InputError: no manifest.
    """
    trained = _Trained(read_manifest(manifest))
    for dataset in datasets:
        for case in dataset.cases:
            leak: tuple[str, ManifestRow, float | None] | None = None
            if trained.knows_images:
                try:
                    leak = trained.image_like(case.load_image())
                except PromptsegError:
                    continue
            if leak is None and (row := trained.patient(dataset.name, case.patient)):
                leak = "same patient", row, None
            if leak is not None:
                yield Leak(dataset.name, case.name, *leak)


class _Trained:
    """A manifest, ready to be asked."""

    def __init__(self, rows: list[ManifestRow]) -> None:
        self.by_voxels = {row.sha256: row for row in rows if row.sha256}
        self.patients = {(row.dataset, row.patient): row for row in rows if row.patient}
        self.people = {row.patient: row for row in rows if is_telling(row.patient)}
        hashed = [(row, row.phash.split()) for row in rows if row.phash]
        self.rows = [row for row, hashes in hashed for _ in hashes]
        self.first = np.cumsum([0] + [len(hashes) for _, hashes in hashed])
        self.bits = _bytes([each for _, hashes in hashed for each in hashes])
        self.knows_images = bool(self.by_voxels or self.rows)

    def image_like(self, image: Image) -> tuple[str, ManifestRow, float | None] | None:
        """The image that is the same, or else the one that is most alike."""
        if row := self.by_voxels.get(image.sha256()):
            return "same voxels", row, None
        hashes = perceptual_hashes(image)
        if not hashes or not self.rows:
            return None
        apart = np.stack([_ONES[self.bits ^ each].sum(axis=1) for each in _bytes(hashes)])
        distance, place = _nearest(apart, self.first)
        return ("looks alike", self.rows[place], distance) if distance <= ALIKE else None

    def patient(self, dataset: str, patient: str) -> ManifestRow | None:
        """An image of the same patient; of other datasets too, where the id tells persons apart."""
        return self.patients.get((dataset, patient)) or self.people.get(patient)


def _nearest(apart: NDArray[Any], first: NDArray[np.int64]) -> tuple[float, int]:
    """The smallest distance and where.

    Args:
        apart: (hashes of the image, hashes of the manifest) bits.
        first: where the hashes of each row of the manifest begin, and the end.

    Returns:
        Of rows with as many hashes as the image the mean over slice and slice; of others the smallest
        of any two. And the place of the row's first hash.
    """
    counts = np.diff(first)
    distances = np.minimum.reduceat(apart.min(axis=0), first[:-1]).astype(np.float64)
    alike = np.flatnonzero(counts == len(apart))
    places = first[:-1][alike][:, None] + np.arange(len(apart))
    distances[alike] = apart[np.arange(len(apart)), places].mean(axis=1)
    best = int(distances.argmin())
    return float(distances[best]), int(first[best])


def _bytes(hashes: list[str]) -> NDArray[np.uint8]:
    """(hashes, 32) bytes."""
    joined = bytes.fromhex("".join(hashes))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(hashes), 32)


def is_telling(patient: str) -> bool:
    """Whether an id is hardly that of two persons: letters and digits, and not short."""
    return len(patient) >= 6 and any(map(str.isdigit, patient)) and any(map(str.isalpha, patient))
