"""A collection as nnU-Net's folders.

    raw/Dataset001_NAME/dataset.json
    raw/Dataset001_NAME/imagesTr/case0000_0000.nii.gz   one file for each channel
    raw/Dataset001_NAME/labelsTr/case0000.nii.gz
    cases.csv                                           what each case is of

The other way, `promptseg curate -i raw/Dataset001_NAME` reads such a folder as any of nnU-Net's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample, masks_of
from promptseg.formats.files import write_csv
from promptseg.models.nnunet.model import box_on, channels, spacing_of
from promptseg.simulate.boxes import Jitter, jittered_box
from promptseg.simulate.seeds import generator
from promptseg.train.semantic.classes import class_map

__all__ = ["NUMBER", "Written", "dataset_name", "write_raw"]

NUMBER = 1
"""Of the dataset, in folders of its own."""

_GRAY, _COLOUR, _BOX = "zscore", "rgb_to_0_1", "noNorm"
_ENDING = ".nii.gz"

Group = tuple[Sample, ...]
"""Neighbouring slices that make one case, or a single sample."""


@dataclass(frozen=True)
class Written:
    """The cases that were written, by part, and the channels of their images.

    Attributes:
        train, validation: names of the cases.
        channels: of the 2D images, 1 or 3; the box, if there is one, comes after them.
    """

    train: list[str]
    validation: list[str]
    channels: int


@dataclass(frozen=True)
class _Case:
    """One case.

    Attributes:
        about: what it is of.
        planes: (channels, slices, rows, columns) float32.
        labels: (slices, rows, columns) uint8.
        spacing: between slices, rows and columns.
    """

    about: str
    planes: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing: tuple[float, float, float]


def dataset_name(collection: Collection) -> str:
    """Return the name of the dataset for nnU-Net."""
    names = sorted({s.dataset for s in collection.samples})
    word = names[0] if len(names) == 1 else "collection"
    return f"Dataset{NUMBER:03d}_{''.join(c if c.isalnum() else '_' for c in word)[:60]}"


def write_raw(
    root: Path,
    collection: Collection,
    parts: tuple[Sequence[Group], Sequence[Group]],
    names: Sequence[str],
    boxes: Jitter | None = None,
    seed: int = 0,
) -> Written:
    """Write the folders that nnU-Net plans and trains from.

    Args:
        root: the folder `raw` is made in.
        collection: the data.
        parts: what is learnt from, and what is watched.
        names: of the classes; with `boxes`, of what boxes are drawn around.
        boxes: how far the edges of boxes move, where every object is a case of its own, a box its last
            channel; None for classes.
        seed: of those moves, which are drawn once.

    Returns:
        The names of the cases.
    """
    folder = root / "raw" / dataset_name(collection)
    for sub in ("imagesTr", "labelsTr"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    every = [sample for part in parts for group in part for sample in group]
    count = 3 if any(_is_coloured(collection, s) for s in every) else 1
    written: tuple[list[str], list[str]] = ([], [])
    rows: list[tuple[str, str]] = []
    for part, into in zip(parts, written, strict=True):
        for group in part:
            cases = (
                _with_boxes(collection, group[0], count, boxes, seed)
                if boxes is not None
                else _of_classes(collection, group, count, names)
            )
            for case in cases:
                name = f"case{len(rows):05d}"
                _write(folder, name, case)
                into.append(name)
                rows.append((name, case.about))
    kinds = [_COLOUR] * 3 if count == 3 else [_GRAY]
    kinds += [_BOX] * (boxes is not None)
    labels = ["object"] if boxes is not None else list(names)
    content = {
        "channel_names": {str(k): name for k, name in enumerate(kinds)},
        "labels": {"background": 0, **{name: k for k, name in enumerate(labels, 1)}},
        "numTraining": len(rows),
        "file_ending": _ENDING,
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    write_csv(root / "cases.csv", ("case", "of"), rows)
    return Written(*written, count)


def _is_coloured(collection: Collection, sample: Sample) -> bool:
    return collection.read(sample)[0].ndim == 3


def _of_classes(
    collection: Collection, group: Group, count: int, names: Sequence[str]
) -> Iterator[_Case]:
    """A sample, or a stack of them."""
    read = [collection.read(sample) for sample in group]
    labels = [class_map(s.targets, each, names) for s, (_, each) in zip(group, read, strict=True)]
    yield _Case(
        " ".join(dict.fromkeys((group[0].key, group[-1].key))),
        channels([picture for picture, _ in read], count),
        np.stack(labels).astype(np.uint8),
        spacing_of(group[0].pixel, len(group) > 1),
    )


def _with_boxes(
    collection: Collection, sample: Sample, count: int, boxes: Jitter, seed: int
) -> Iterator[_Case]:
    """Every object of a sample, with a box around it."""
    picture, labels = collection.read(sample)
    planes = channels([picture], count)
    for target, mask in zip(sample.targets, masks_of(sample.targets, labels), strict=True):
        rng = generator(seed, "box", sample.key, target.id, target.layer)
        box = jittered_box(mask, rng, boxes)
        yield _Case(
            f"{sample.key} {target.name} {target.id}",
            np.concatenate([planes, box_on(sample.shape, box)[None, None]]),
            mask[None].astype(np.uint8),
            spacing_of(sample.pixel, deep=False),
        )


def _write(folder: Path, name: str, case: _Case) -> None:
    for number, plane in enumerate(case.planes):
        _save(plane, case, folder / "imagesTr" / f"{name}_{number:04d}{_ENDING}")
    _save(case.labels, case, folder / "labelsTr" / f"{name}{_ENDING}")


def _save(voxels: NDArray[np.generic], case: _Case, path: Path) -> None:
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(case.spacing[::-1])
    SimpleITK.WriteImage(image, str(path), useCompression=True)
