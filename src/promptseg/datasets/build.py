"""Functions that all layouts share: cases out of names, and a dataset out of cases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from promptseg.datasets.classes import Classes
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import Description
from promptseg.datasets.listing import Missing, natural, no_cases
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.patients import patient_of
from promptseg.datasets.truth import read_truth
from promptseg.errors import InputError
from promptseg.formats import read
from promptseg.formats.options import ReadOptions, Resample
from promptseg.image import Image, Kind, Segmentation
from promptseg.parsing import name_fault

__all__ = ["case_of", "dataset_of", "image_reader", "label_reader", "modality_of"]

_OPTION = re.compile(r"--(series|frame|stack|suv|region|microns|nan-as)\b")

ImageReader = Callable[[CaseFiles], Image]
TruthReader = Callable[[CaseFiles, Image], Segmentation]


def case_of(
    name: str,
    image: Path,
    truth: Iterable[Path],
    readers: tuple[ImageReader, TruthReader],
    patients: dict[str, str],
    options: DatasetOptions,
    annotated: tuple[int, ...] | None = None,
    absent: tuple[str, ...] | None = None,
) -> CaseFiles:
    """Build a case, with the patient it shows.

    Raises:
        InputError: a name that no table could hold.
    """
    if fault := name_fault(name):
        raise InputError("names of cases in valid Unicode", fault, f"rename {image.name!r}")
    patient = patient_of(name, patients, options, image)
    read_image, read_truth = readers
    return CaseFiles(
        name,
        patient,
        image,
        truth=tuple(truth),
        image_reader=read_image,
        truth_reader=read_truth,
        annotated=annotated,
        absent=absent,
    )


def dataset_of(
    root: Path,
    layout: str,
    kind: Kind,
    described: Description,
    cases: list[CaseFiles],
    options: DatasetOptions,
    *,
    missing: Iterable[Missing] = (),
    notes: Iterable[str] = (),
) -> Dataset:
    """Build a dataset of at least one case, in natural order of the cases.

    Raises:
        InputError: no case, or two of one name.
    """
    missing = list(missing)
    if not cases:
        raise no_cases(root, missing)
    counts = Counter(case.name for case in cases)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise InputError("cases of different names", f"{root}: {twice[0]} twice", "rename one")
    notes = list(notes)
    if missing:
        notes.append(f"{len(missing)} incomplete cases left out")
    return Dataset(
        name=root.name if root.is_dir() else root.stem,
        title=described.title,
        modality=modality_of(described, options),
        kind=kind,
        classes=described.classes,
        cases=sorted(cases, key=lambda case: natural(case.name)),
        layout=layout,
        root=root,
        licence=described.licence,
        may_publish_images=described.may_publish_images,
        missing=missing,
        notes=notes,
    )


def modality_of(described: Description, options: DatasetOptions) -> str:
    """Return the modality of the images: the user's word, else the dataset's."""
    return options.dataset_modality or described.modality


def image_reader(modality: str, reading: ReadOptions | None = None) -> ImageReader:
    """Return a reader of image files, which tell the modality themselves where it is unknown.

    Args:
        modality: of the images.
        reading: what files leave open, as the dataset says it.
    """
    return partial(
        _read_image,
        modality=None if modality == "unknown" else modality,
        reading=reading or ReadOptions(),
    )


def label_reader(classes: Classes, resample: Resample = "never") -> TruthReader:
    """Return a reader of the first file of the truth as labels of these classes."""
    return partial(_read_labels, classes=classes, resample=resample)


def _read_image(case: CaseFiles, modality: str | None, reading: ReadOptions) -> Image:
    try:
        return read(case.image, reading, modality=modality)
    except InputError as error:  # a dataset has its own place for the options of one image
        do = _OPTION.sub(_in_dataset_json, error.do)
        raise type(error)(error.expected, error.got, do) from error.__cause__


def _in_dataset_json(option: re.Match[str]) -> str:
    return f'"read": {{"{option[1].replace("-", "_")}": ...}} in dataset.json'


def _read_labels(
    case: CaseFiles, image: Image, classes: Classes, resample: Resample
) -> Segmentation:
    return read_truth(case.truth[0], image, classes, resample)
