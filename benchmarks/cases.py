"""The real images with expert masks that PROMPTSEG_DATA names, one case at a time."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.formats import read
from promptseg.image import Image

__all__ = [
    "VOLUMES",
    "Case",
    "SliceObjects",
    "cases",
    "data_root",
    "datasets",
    "modality_of",
    "objects_by_slice",
]

SliceObjects = tuple[int, list[tuple[int, NDArray[np.bool_]]]]

_PICTURE_MODALITY = {
    "chest_xray": "XR",
    "dermoscopy": "dermoscopy",
    "em": "microscopy",
    "endoscopy": "endoscopy",
    "fundus": "fundus",
    "mammography": "MG",
    "microscopy": "microscopy",
    "oct": "OCT",
    "pathology": "pathology",
    "ultrasound": "US",
}
_OBJECTS_PER_PICTURE = 5

# Datasets whose objects are followed through volumes.
VOLUMES = (
    "ct__ibsi_sts",
    "ct__medsam2_recist_lesion",
    "mr__acdc_cardiac",
    "mr__ibsi_sts_t1",
    "mr__msd_hippocampus",
    "pet__ibsi_sts",
)
_MIN_PIXELS = 20
_SLICES = 8


@dataclass
class Case:
    """One image and its expert labels.

    Attributes:
        dataset: folder name of the dataset.
        name: of the case.
        image: the image, its modality set.
        labels: integer labels on the image's grid; 0 is background.
        chosen: the label ids to evaluate.
    """

    dataset: str
    name: str
    image: Image
    labels: NDArray[Any]
    chosen: list[int]


def data_root() -> Path:
    """The folder of real images.

    Raises:
        SystemExit: PROMPTSEG_DATA does not name it.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("PROMPTSEG_DATA", default))
    if not root.is_dir():
        raise SystemExit(f"PROMPTSEG_DATA: expected the folder of real images, got {root}")
    return root


def datasets(kind: str, root: Path | None = None) -> list[str]:
    """Names of the datasets of a kind, "picture" or "volume"."""
    folder = (root or data_root()) / kind
    return sorted(p.name for p in folder.iterdir() if (p / "dataset.json").exists())


def modality_of(dataset: str, root: Path | None = None) -> str:
    """The modality of a dataset's images."""
    root = root or data_root()
    if (root / "picture" / dataset).is_dir():
        return _PICTURE_MODALITY[dataset.split("__")[0]]
    declared = json.loads((root / "volume" / dataset / "dataset.json").read_text("utf-8"))
    return next(m for m in ("CT", "MR", "PET") if m in declared["modality"])


def cases(dataset: str, root: Path | None = None, limit: int | None = None) -> Iterator[Case]:
    """The first `limit` cases of a dataset, in order of name."""
    root = root or data_root()
    folder = root / "picture" / dataset
    make = _pictures if folder.is_dir() else _volumes
    if not folder.is_dir():
        folder = root / "volume" / dataset
    for number, case in enumerate(make(folder)):
        if limit is not None and number >= limit:
            return
        yield case


def objects_by_slice(case: Case) -> list[SliceObjects]:
    """The slices to evaluate of a case, each with its objects.

    A picture is one slice with every chosen label. Of a volume each label has the slices (array axis
    z) with more than 20 of its pixels, every max(1, n // 8)-th of them.

    Returns:
        (slice, [(label, (rows, columns) boolean mask)]) in order of slice.
    """
    found: dict[int, list[tuple[int, NDArray[np.bool_]]]] = defaultdict(list)
    for label in case.chosen:
        masks = case.labels == label
        if case.image.kind == "picture":
            found[0].append((label, masks))
            continue
        usable = np.flatnonzero(masks.sum(axis=(1, 2)) > _MIN_PIXELS)
        for index in usable[:: max(1, len(usable) // _SLICES)]:
            found[int(index)].append((label, masks[index]))
    return sorted(found.items())


def _pictures(folder: Path) -> Iterator[Case]:
    modality = modality_of(folder.name, folder.parents[1])
    instances = (folder / "instances").is_dir()
    for path in sorted((folder / "images").iterdir()):
        image = read(path, modality=modality)
        kind = "instances" if instances else "masks"
        labels = read(folder / kind / f"{path.stem}.png").voxels
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        chosen = [int(i) for i in ids]
        if instances:
            largest = np.lexsort((-ids.astype(int), -areas))[:_OBJECTS_PER_PICTURE]
            chosen = [int(i) for i in ids[largest]]
        yield Case(folder.name, path.stem, image, labels, chosen)


def _volumes(folder: Path) -> Iterator[Case]:
    modality = modality_of(folder.name, folder.parents[1])
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz":
            image = read(path, modality=modality)
            with np.load(path) as archive:
                labels = archive["gts"]
            name = path.stem
        elif "_image" in path.name:
            name = path.name.partition("_image")[0]
            image = read(path, modality=modality)
            found = next(p for p in folder.iterdir() if p.name.startswith(f"{name}_label"))
            labels = np.round(read(found).voxels).astype(np.int32)
        else:
            continue
        chosen = [int(i) for i in np.unique(labels) if i]
        yield Case(folder.name, name, image, labels, chosen)
