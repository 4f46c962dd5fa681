"""Picture/mask folders: `images/` beside `masks/` or `labels/`, and `instances/` where there are any.

Files of a case have the same stem. Masks hold class ids; instances hold object ids, whose class is the
one that `masks/` has under them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    label_reader,
    modality_of,
)
from promptseg.datasets.classes import Classes
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import read_description
from promptseg.datasets.listing import by_case, kind_of, paired
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.truth import (
    labels_in,
    objects_of_instances,
    truth_of,
)
from promptseg.errors import InputError
from promptseg.formats.options import Resample
from promptseg.image import Image, Segmentation

__all__ = ["open_dataset", "recognises"]


def recognises(root: Path) -> bool:
    """Tell whether a folder has images and their masks in folders side by side."""
    return (root / "images").is_dir() and any(
        (root / name).is_dir() for name in ("masks", "labels", "instances")
    )


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases of a folder with images and their masks in folders side by side.

    Raises:
        InputError: pairs that are incomplete, or nothing at all.
    """
    described = read_description(root)
    classes = described.classes
    masks = _folder(root, ("masks", "labels"))
    instances = _folder(root, ("instances",))
    images = by_case(root / "images")
    by_label = by_case(masks) if masks else {}
    by_instance = by_case(instances) if instances else {}
    if instances and masks is None and len(classes.names) > 1:
        raise InputError(
            "masks/ beside instances/, to tell which class each is of", f"{root} without", "add it"
        )
    pairs = paired(images, by_instance if instances else by_label, root, options)
    reader = (
        partial(_read_instances, classes=classes, resample=options.resample)
        if instances
        else label_reader(classes, options.resample)
    )
    readers = image_reader(modality_of(described, options), described.reading), reader
    cases = []
    for name, (image, truth) in pairs.items():
        files = (truth, by_label[name]) if instances and name in by_label else (truth,)
        cases.append(case_of(name, image, files, readers, described.patients, options))
    return dataset_of(
        root,
        "pictures",
        kind_of(cases[0].image),
        described,
        cases,
        options,
        missing=pairs.missing,
        notes=["every instance is an object"] if instances else [],
    )


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _read_instances(
    case: CaseFiles, image: Image, classes: Classes, resample: Resample
) -> Segmentation:
    """Instances from the first file, their classes from the second."""
    found = []
    for number, path in enumerate(case.truth):
        how = classes if number else Classes()  # colours code classes, not instances
        found.append(labels_in(path, image, how, resample))
    ids, labels_of = found[0], found[1] if len(found) > 1 else None
    return truth_of(objects_of_instances(ids, labels_of, classes, case.truth[0]), image)
