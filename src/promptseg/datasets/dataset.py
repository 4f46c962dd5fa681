"""A dataset: named cases that load one at a time, and what is known of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptseg.datasets.classes import Classes
from promptseg.datasets.listing import Missing
from promptseg.errors import damaged_as
from promptseg.formats.detached import files_of
from promptseg.image import Image, Kind, Segmentation

__all__ = ["CaseFiles", "Dataset"]


@dataclass(frozen=True)
class CaseFiles:
    """One case: an image and its truth, not read yet.

    Attributes:
        name: unique in its dataset.
        patient: whom the image shows; statistics pair patients, so two scans of one person share it.
        image: file or folder of the image; the folder of frames of a video.
        truth: the files of the truth.
        image_reader: reads the image; a module's function with its choices bound, so that cases
            travel to worker processes.
        truth_reader: reads the truth on the grid of the image.
        annotated: indices of the video frames that have a truth; None where all of the image has.
        absent: names that were looked for and are not there; None where the dataset outlines all that
            its names stand for, so that any other name is absent.

    Examples:
        >>> from promptseg.datasets import open_datasets
        >>> (dataset,) = open_datasets("pictures/us")
        >>> case = dataset.cases[0]
        >>> image, truth = case.load()
        >>> (case.name, image.kind, [segment.name for segment in truth.segments])
        ('a', 'picture', ['block'])
    """

    name: str
    patient: str
    image: Path
    truth: tuple[Path, ...]
    image_reader: Callable[[CaseFiles], Image] = field(repr=False)
    truth_reader: Callable[[CaseFiles, Image], Segmentation] = field(repr=False)
    annotated: tuple[int, ...] | None = None
    absent: tuple[str, ...] | None = None

    def load(self) -> tuple[Image, Segmentation]:
        """Load the image and its true objects (`TruthSegment`), on one grid.

        Raises:
            InputError: a file that cannot be read, or labels that mean nothing.
            GeometryError: image and truth on different grids.
        """
        image = self.load_image()
        files = ", ".join(map(str, self.truth[:2]))
        with damaged_as("readable labels", files or str(self.image), "correct or get them again"):
            return image, self.truth_reader(self, image)

    def load_image(self) -> Image:
        """Load the image alone.

        Raises:
            InputError: it cannot be read.
        """
        with damaged_as("a readable image", str(self.image), "get it again"):
            return self.image_reader(self)


@dataclass
class Dataset:
    """Cases of one kind with one set of classes.

    Attributes:
        name: of its folder or file.
        title: what its authors call it.
        modality: one of `promptseg.image.MODALITIES`; "unknown" where only the files may tell.
        kind: "picture", "volume" or "video".
        classes: what its labels stand for.
        cases: in natural order of their names.
        layout: name of the layout it was recognised by.
        root: its folder or file.
        licence: as the dataset states it; "" if it does not.
        may_publish_images: whether reports that go round may show its images.
        missing: cases that lack their image or their truth.
        notes: what the user should know of how it was read.

    Examples:
        >>> from promptseg.datasets import open_datasets
        >>> (dataset,) = open_datasets("pictures/us")
        >>> (dataset.layout, dataset.modality, dataset.targets, len(dataset.cases))
        ('pictures', 'US', {1: 'block'}, 1)
    """

    name: str
    title: str
    modality: str
    kind: Kind
    classes: Classes
    cases: list[CaseFiles]
    layout: str
    root: Path
    licence: str = ""
    may_publish_images: bool = False
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def targets(self) -> dict[int, str]:
        """Return the names of the classes by id; empty where they have none ("label 7")."""
        return dict(self.classes.names)

    def file_list_sha256(self) -> str:
        """Return the hash of the names and sizes of all files of the cases, relative to the root.

        It says whether two runs saw the same dataset without reading it.
        """
        base = self.root if self.root.is_dir() else self.root.parent
        paths = {path for case in self.cases for path in (case.image, *case.truth)}
        files = {file for path in paths for file in files_of(path)}
        digest = hashlib.sha256()
        for name, size in sorted((_relative(f, base), f.stat().st_size) for f in files):
            digest.update(f"{name}\t{size}\n".encode())
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the dataset as the record of a run keeps it."""
        return {
            "name": self.name,
            "title": self.title,
            "layout": self.layout,
            "modality": self.modality,
            "kind": self.kind,
            "targets": {str(k): v for k, v in self.targets.items()},
            "cases": len(self.cases),
            "sha256": self.file_list_sha256(),
            "licence": self.licence,
            "may_publish_images": self.may_publish_images,
            "notes": list(self.notes),
        }


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
