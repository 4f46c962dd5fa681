"""Label files -> the true objects on the grid of their image."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.datasets.classes import Classes, TruthSegment
from promptseg.datasets.listing import shortened
from promptseg.errors import GeometryError, InputError
from promptseg.formats import format_by_suffix, is_dicom_file, read_labels
from promptseg.formats.layers import read_layers
from promptseg.image import Image, Segment, Segmentation

__all__ = [
    "check_same_grid",
    "holds_objects",
    "is_nameless",
    "objects_in",
    "objects_of_instances",
    "objects_of_labels",
    "on_grid",
    "read_truth",
    "truth_of",
]

_TOLERANCE = 1e-3  # mm for spacing and origin, cosine for directions


def read_truth(path: Path, image: Image, classes: Classes) -> Segmentation:
    """The objects of a label file.

    A label image has one object per value. Objects of other files (DICOM SEG, RTSTRUCT, layers) keep
    the names they have there; objects without one are named by their label.

    Raises:
        InputError: no labels, or values that are no class.
        GeometryError: labels on another grid than the image.
    """
    if holds_objects(path, image):
        return truth_of(_with_targets(objects_in(path, image), classes), image)
    labels = read_labels(path)
    check_same_grid(labels, image, path)
    return truth_of(objects_of_labels(on_grid(labels.voxels, image), classes, path), image)


def truth_of(segments: Iterable[TruthSegment], image: Image) -> Segmentation:
    """Objects as the truth of an image."""
    return Segmentation(list(segments), image.geometry, image.source, image=image)


def holds_objects(path: Path, image: Image) -> bool:
    """Whether a file keeps objects with names or layers of their own, and is no mere label image."""
    if path.name.lower().endswith(".seg.nrrd") or is_dicom_file(path):
        return True
    known = format_by_suffix(path)
    if known is None or not path.is_file() or (known.name == "tiff" and image.kind != "picture"):
        return False
    with contextlib.suppress(Exception):  # a broken file: its reader says it better
        return read_layers(path, known.name) is not None
    return False


def check_same_grid(labels: Image | Segmentation, image: Image, path: Path) -> None:
    """Refuse labels that lie elsewhere than their image.

    Labels that know no millimetres (PNG, a bare npz) need the same shape only.

    Raises:
        GeometryError: another shape; or a spacing (mm), origin (mm) or direction (cosine) that
            differs by more than 1e-3.
    """
    mine, its = labels.geometry, image.geometry
    do = "resample the labels to the image with nearest neighbours"
    shape = mine.shape[1:] if its.ndim == 2 and mine.shape[:1] == (1,) else mine.shape
    if shape != its.shape:
        raise GeometryError(
            f"labels of the shape of {image.name}, {_by(its.shape)}", f"{path}: {_by(shape)}", do
        )
    if "pixel" in (mine.unit, its.unit) or its.ndim == 2:
        return
    for what, of_labels, of_image in (
        ("spacing", mine.spacing, its.spacing),
        ("orientation", mine.direction, its.direction),
        ("origin", mine.origin, its.origin),
    ):
        if np.abs(of_labels - of_image).max() > _TOLERANCE:
            raise GeometryError(
                f"labels with the {what} of {image.name}, {_numbers(of_image)}",
                f"{path}: {_numbers(of_labels)}",
                f"{do}, or correct its header if the voxels do correspond",
            )


def on_grid(labels: NDArray[Any], image: Image) -> NDArray[Any]:
    """Labels of one slice as those of a picture, where the image is one."""
    return labels.reshape(image.geometry.shape)


def objects_of_labels(labels: NDArray[Any], classes: Classes, where: Path) -> list[TruthSegment]:
    """One object per class that is there.

    Args:
        labels: whole numbers from 0, (z, y, x), (t, y, x) or (y, x).
        classes: what they stand for.
        where: the file, for messages.

    Raises:
        InputError: values that are no class, or voxels to be ignored.
    """
    boxes = {k: box for k, box in enumerate(ndimage.find_objects(labels), 1) if box is not None}
    if classes.ignore is not None and classes.ignore in boxes:
        raise InputError(
            "labels for every voxel",
            f"{where} with the value to be ignored, {classes.ignore}",
            "leave this case out",
        )
    if classes.names and (strange := sorted(set(boxes) - classes.values)):
        raise InputError(
            f"labels out of {', '.join(map(str, sorted(classes.values)))} (dataset.json)",
            f"{where} with {shortened([str(v) for v in strange])}",
            "name them in dataset.json or correct the labels",
        )
    names = classes.object_names() or {k: f"label {k}" for k in boxes}
    objects = []
    for label, name in names.items():
        target = classes.names.get(label, name)
        values = classes.regions.get(label, (label,))
        if there := [boxes[value] for value in values if value in boxes]:
            box = _around(there)
            crop = np.isin(labels[box], values)
            objects.append(TruthSegment(name, label, crop, box, target=target))
    return objects


def objects_of_instances(
    ids: NDArray[Any], labels: NDArray[Any] | None, classes: Classes, where: Path
) -> list[TruthSegment]:
    """One object per instance id, of the class that most of its voxels have.

    Args:
        ids: whole numbers from 0.
        labels: class of every voxel, same shape; None where there is one class only.
        classes: what the labels stand for.
        where: the file of the ids, for messages.

    Raises:
        InputError: an instance whose class cannot be known.
    """
    alone = next(iter(classes.names.values()), "object") if len(classes.names) < 2 else None
    objects = []
    for number, box in enumerate(ndimage.find_objects(ids), 1):
        if box is None:
            continue
        crop = ids[box] == number
        target = alone or _class_inside(labels, box, crop, classes)
        if target is None:
            raise InputError(
                "instances that lie on one class of masks/ each",
                f"{where}: instance {number}",
                "correct masks/",
            )
        name = f"{target} {number}"
        objects.append(TruthSegment(name, number, crop, box, target=target, instance=True))
    return objects


def _around(boxes: list[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The smallest box that holds all of some boxes."""
    return tuple(
        slice(min(s.start for s in sides), max(s.stop for s in sides))
        for sides in zip(*boxes, strict=True)
    )


def _class_inside(
    labels: NDArray[Any] | None,
    box: tuple[slice, ...],
    crop: NDArray[np.bool_],
    classes: Classes,
) -> str | None:
    if labels is None:
        return None
    inside = labels[box][crop]
    counts = np.bincount(inside[inside > 0].astype(np.int64))
    return classes.names.get(int(counts.argmax())) if counts.size else None


def objects_in(path: Path, image: Image) -> list[Segment]:
    """The objects of any mask file on the grid of an image, as they are called there.

    What there is to note of the file is added to the notes of the image.

    Raises:
        InputError: no mask file.
        GeometryError: masks on another grid.
    """
    from promptseg.formats.masks import read_masks

    found = read_masks(path, image if is_dicom_file(path) else None)
    check_same_grid(found, image, path)
    if found.source is not image.source:
        image.source.notes += [f"{path.name}: {note}" for note in found.source.notes]
    dimensions = image.geometry.ndim  # a format without pictures holds one as a slice
    return [
        replace(s, crop=s.crop.reshape(s.crop.shape[-dimensions:]), region=s.region[-dimensions:])
        for s in found.segments
        if not s.is_empty
    ]


def is_nameless(segment: Segment) -> bool:
    """Whether an object of a mask file is called by its label alone."""
    return segment.name in ("object", f"label {segment.label}")


def _with_targets(found: list[Segment], classes: Classes) -> Iterable[TruthSegment]:
    """Objects of a file that names them, or leaves that to the dataset."""
    targets = [_target_in(segment, classes) for segment in found]
    counts = Counter(targets)
    for segment, target in zip(found, targets, strict=True):
        name = f"{target} {segment.label}" if counts[target] > 1 else target
        yield TruthSegment(name, segment.label, segment.crop, segment.region, target=target)


def _target_in(segment: Segment, classes: Classes) -> str:
    if not is_nameless(segment):
        return segment.name
    return classes.names.get(segment.label, f"label {segment.label}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape[::-1])


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{v:.5g}" for v in values.ravel())
