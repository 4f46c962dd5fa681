"""A check whether a model may have seen the images it is evaluated on, by a training manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from promptseg.datasets import Dataset
from promptseg.datasets.hashes import ALIKE, apart, by_count, packed
from promptseg.datasets.manifest import ManifestRow, perceptual_hashes, read_manifest
from promptseg.datasets.patients import person_of
from promptseg.errors import PromptsegError
from promptseg.image import Image

__all__ = ["Leak", "Trained", "leaks_in"]


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
    """Yield the cases that are in a training manifest, each once, for the strongest reason.

    Cases that cannot be read are passed over, for the evaluation names them.

    Args:
        manifest: as `read_manifest` takes it.
        datasets: what is to be evaluated; every image is read if the manifest knows images.

    Raises:
        InputError: no manifest.
    """
    trained = Trained(read_manifest(manifest))
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


class Trained:
    """A manifest, ready to be asked.

    Args:
        rows: of the manifest.
    """

    def __init__(self, rows: list[ManifestRow]) -> None:
        self.rows = rows
        self.by_voxels = {row.sha256: row for row in rows if row.sha256}
        self.people = {person_of(row.dataset, row.patient): row for row in rows if row.patient}
        self.hashes = by_count([row.phash.split() for row in rows])
        self.knows_images = bool(self.by_voxels or self.hashes)

    def image_like(self, image: Image) -> tuple[str, ManifestRow, float | None] | None:
        """Return the training image that is the same, or else the most alike; None if none is."""
        if row := self.by_voxels.get(image.sha256()):
            return "same voxels", row, None
        own = perceptual_hashes(image)
        if not own or not self.hashes:
            return None
        nearest: list[tuple[float, int]] = []
        for places, hashes in self.hashes.values():
            bits = apart(packed([own]), hashes)[0]
            best = int(bits.argmin())
            nearest.append((float(bits[best]), places[best]))
        distance, place = min(nearest)
        return ("looks alike", self.rows[place], distance) if distance <= ALIKE else None

    def has_seen(self, image: Image) -> str:
        """Tell why the image counts as trained on: "same voxels" or "looks alike"; "" if it does
        not.
        """
        found = self.image_like(image)
        return found[0] if found else ""

    def patient(self, dataset: str, patient: str) -> ManifestRow | None:
        """Return a training image of the same patient, in any dataset if the id tells persons apart."""
        return self.people.get(person_of(dataset, patient))
