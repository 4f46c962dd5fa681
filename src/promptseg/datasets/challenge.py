"""The npz files of the "Segment Anything in Medical Images on Laptop" challenge, one or a folder.

Image (`imgs`) and truth (`gts`) of a case are in one file, see `promptseg.formats.npz`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from promptseg.datasets.build import case_of, dataset_of, modality_of
from promptseg.datasets.classes import Classes
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import modality_named, read_description
from promptseg.datasets.listing import by_case, files_in
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.truth import objects_of_labels, truth_of
from promptseg.errors import GeometryError, InputError
from promptseg.formats import read
from promptseg.formats.archive import open_archive
from promptseg.formats.whole import whole_labels
from promptseg.image import Image, Kind, Segmentation

__all__ = ["open_dataset", "recognises"]


def recognises(root: Path) -> bool:
    """Tell whether a path is a challenge npz file, or a folder with some."""
    if root.is_file():
        return root.suffix.lower() == ".npz" and bool({"imgs", "gts"} & set(_shapes(root)))
    return any("imgs" in _shapes(path) for path in _archives(root))


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases of a challenge npz file or of a folder of them.

    Raises:
        InputError: nothing there.
    """
    described = read_description(root if root.is_dir() else root.parent)
    files = by_case(root, [root] if root.is_file() else _archives(root))
    readers = (
        partial(_read_image, modality=modality_of(described, options)),
        partial(_read_gts, classes=described.classes),
    )
    cases = [
        case_of(name, path, [path], readers, described.patients, options)
        for name, path in files.items()
    ]
    kind = _kind(cases[0].image)
    found = dataset_of(root, "challenge", kind, described, cases, options)
    if found.modality == "unknown":  # 3DBox_CT_0566: the files say it
        said = {_modality_of(path) for path in files.values()}
        found.modality = said.pop() if len(said) == 1 else "unknown"
    return found


def _archives(folder: Path) -> list[Path]:
    return [path for path in files_in(folder) if path.suffix.lower() == ".npz"]


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the arrays of an npz, from their headers alone; nothing if it is no npz."""
    try:
        with open_archive(path) as archive:
            return {name: archive.shape(name) for name in archive.names}
    except InputError:
        return {}


def _kind(path: Path) -> Kind:
    shape = _shapes(path).get("imgs", (0, 0, 0))
    picture = len(shape) == 2 or (len(shape) == 3 and shape[-1] == 3)
    return "picture" if picture else "volume"


def _modality_of(path: Path) -> str:
    return modality_named(path.stem)


def _read_image(case: CaseFiles, modality: str) -> Image:
    said = _modality_of(case.image) if modality == "unknown" else modality
    return read(case.image, modality=said)


def _read_gts(case: CaseFiles, image: Image, classes: Classes) -> Segmentation:
    with open_archive(case.image) as archive:
        labels = archive.take("gts")
    if labels.shape != image.geometry.shape:
        raise GeometryError(
            f"gts of the shape of imgs, {image.geometry.shape}",
            f"{case.image}: {labels.shape}",
            "get it again",
        )
    labels = whole_labels(labels, case.image, image.source.notes)
    return truth_of(objects_of_labels(labels, classes, case.image), image)
