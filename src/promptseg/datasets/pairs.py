"""Folders of `<case>_image.*` and `<case>_label.*`, in any format.

An image may be a folder with a DICOM series. Where a case has no label file, its `<case>_seg.*` or
`<case>_rtstruct.*` is the truth.
"""

from __future__ import annotations

import re
from pathlib import Path

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    label_reader,
    modality_of,
)
from promptseg.datasets.dataset import Dataset
from promptseg.datasets.description import read_description
from promptseg.datasets.listing import is_image_file, kind_of, paired, require_target
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats.text import composed

__all__ = ["open_dataset", "recognises"]

_IMAGE = ("image",)
_TRUTH = ("label", "seg", "rtstruct")  # in order of preference


def recognises(root: Path) -> bool:
    """Tell whether a folder has files or folders called `<case>_image`."""
    return root.is_dir() and any(_ending(path, _IMAGE) for path in root.iterdir())


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases of a folder with files or folders called `<case>_image`.

    Raises:
        InputError: pairs that are incomplete, two files of one case, or nothing at all.
    """
    described = read_description(root)
    images = _by_case(root, _IMAGE)
    truths: dict[str, Path] = {}
    for ending in _TRUTH:
        truths = {**_by_case(root, (ending,)), **truths}
    pairs = paired(images, truths, root, options)
    readers = (
        image_reader(modality_of(described, options), described.reading),
        label_reader(described.classes, options.resample),
    )
    cases = [
        case_of(name, image, [truth], readers, described.patients, options)
        for name, (image, truth) in pairs.items()
    ]
    kind = kind_of(cases[0].image)
    return dataset_of(root, "pairs", kind, described, cases, options, missing=pairs.missing)


def _by_case(root: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        require_target(path)
        name = _ending(path, endings)
        if name is None:
            continue
        if name in found:
            raise InputError(
                "one image and one label file per case",
                f"{root}: {found[name].name} and {path.name}",
                "remove or rename one of them",
            )
        found[name] = path
    return found


def _is_truth(path: Path, endings: tuple[str, ...]) -> bool:
    return endings != _IMAGE and path.name.lower().endswith(".geojson")


def _ending(path: Path, endings: tuple[str, ...]) -> str | None:
    """Name of the case, if the file's name goes on with one of the endings."""
    match = re.fullmatch(rf"(.+)_({'|'.join(endings)})(\..+)?", path.name, re.I)
    if match is None:
        return None
    known = path.is_dir() if match[3] is None else is_image_file(path) or _is_truth(path, endings)
    return composed(match[1]) if known else None
