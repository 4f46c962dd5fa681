"""Label files -> the true objects on the grid of their image."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.datasets.classes import Classes, TruthSegment
from promptseg.datasets.listing import shortened
from promptseg.errors import InputError
from promptseg.formats import format_by_suffix, is_dicom_file, read_labels
from promptseg.formats.colour_coded import Colours, colours_text
from promptseg.formats.layers import read_layers
from promptseg.formats.options import MaskOptions, Resample
from promptseg.formats.placing import labels_on
from promptseg.image import Image, Segment, Segmentation

__all__ = [
    "holds_objects",
    "is_nameless",
    "labels_in",
    "objects_in",
    "objects_of_instances",
    "objects_of_labels",
    "read_truth",
    "truth_of",
]


def read_truth(
    path: Path, image: Image, classes: Classes, resample: Resample = "never"
) -> Segmentation:
    """Read the objects of a label file.

    A label image has one object per value. Objects of other files (DICOM SEG, RTSTRUCT, layers) keep
    the names they have there; objects without one are named by their label.

    Raises:
        InputError: no labels, or values that are no class.
        GeometryError: labels on another grid than the image.
    """
    if holds_objects(path, image) and not classes.colours:
        return truth_of(_with_targets(objects_in(path, image, resample), classes), image)
    labels = labels_in(path, image, classes, resample)
    return truth_of(objects_of_labels(labels, classes, path), image)


def labels_in(
    path: Path, image: Image, classes: Classes, resample: Resample = "never"
) -> NDArray[Any]:
    """Read the labels of a file, on the grid of an image, whose notes gain those of the file.

    Raises:
        InputError: no labels.
        GeometryError: labels on another grid than the image.
    """
    found = read_labels(path, classes.colours or None)
    labels: NDArray[Any] = labels_on(found, image, path, resample)
    return labels


def truth_of(segments: Iterable[TruthSegment], image: Image) -> Segmentation:
    """Build the truth of an image from its objects."""
    return Segmentation(list(segments), image.geometry, image.source, image=image)


def holds_objects(path: Path, image: Image) -> bool:
    """Tell whether a file keeps objects with names or layers of their own, and is no mere label
    image.
    """
    if path.name.lower().endswith(".seg.nrrd") or is_dicom_file(path):
        return True
    known = format_by_suffix(path)
    if known is None or not path.is_file():
        return False
    if known.outlines:
        return True
    with contextlib.suppress(Exception):  # a broken file: its reader says it better
        return read_layers(path, known.name, image) is not None
    return False


def objects_of_labels(labels: NDArray[Any], classes: Classes, where: Path) -> list[TruthSegment]:
    """Return one object per class that occurs in a label image.

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
    """Return one object per instance id, of the class that most of its voxels have.

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


def objects_in(
    path: Path, image: Image, resample: Resample = "never", colours: Colours | None = None
) -> list[Segment]:
    """Read the objects of a mask file of any format, on the grid of an image.

    They bear the names that the file gives them; empty ones are left out. What a reader notes of the
    file is added to the notes of the image.

    Args:
        path: NIfTI, NRRD, DICOM SEG, RTSTRUCT or any other format of masks.
        image: the image that the masks are of.
        resample: whether masks on another grid are resampled to that of the image, or refused.
        colours: which label each colour of a colour-coded mask stands for.

    Raises:
        InputError: no mask file.
        GeometryError: masks on another grid, where `resample` does not allow that.
    """
    from promptseg.formats.masks import read_masks

    found = read_masks(
        path, image, MaskOptions(resample=resample, colours=colours_text(colours or {}))
    )
    return [segment for segment in found.segments if not segment.is_empty]


def is_nameless(segment: Segment) -> bool:
    """Tell whether an object of a mask file has no name but its label."""
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
