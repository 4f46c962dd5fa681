"""A table with an image and its labels in each row (docs/lists.md): for data that lie as they lie.

Columns: `image`, `label`, and maybe `case`, `patient`, `modality`. A `dataset.json` beside the table
says what it says in a folder: names of the labels, licence.
"""

from __future__ import annotations

from pathlib import Path

from promptseg.datasets.build import case_of, dataset_of, image_reader, label_reader, modality_of
from promptseg.datasets.case_list import Case, CaseList, Columns, is_case_list
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import modality_named, read_description
from promptseg.datasets.listing import Missing, case_name, check_complete, kind_of
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats.location import shown, storage_in

__all__ = ["LABELLED", "open_dataset", "recognises"]

LABELLED = Columns(paths=("label",), words=("case", "patient", "modality"), needed=("label",))
"""Columns of a list of labelled images."""


def recognises(root: Path) -> bool:
    """Tell whether a path is a table; one inside a folder has to be named itself."""
    return root.is_file() and is_case_list(root)


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the rows as cases.

    Raises:
        InputError: no such columns, files that are not there, or two cases of one name.
    """
    described = read_description(root.parent)
    labels = label_reader(described.classes, options.resample)
    usual = modality_of(described, options)
    cases: list[CaseFiles] = []
    missing: list[Missing] = []
    for row in CaseList(root, LABELLED):
        name, label = _name(row, root), Path(row.options["label"])
        for path in filter(storage_in, (row.image, label)):
            raise InputError(
                "labelled images on a disk",
                f"{shown(path)} in row {row.row}",
                "copy them, or mount the storage",
            )
        if not row.image.exists():
            missing.append(Missing(name, "image", f"row {row.row}: no {row.image.name}"))
        elif not label.exists():
            missing.append(Missing(name, "labels", f"row {row.row}: no {label.name}"))
        else:
            said = modality_named(row.options.get("modality", ""))
            modality = options.dataset_modality or (usual if said == "unknown" else said)
            readers = (image_reader(modality, described.reading), labels)
            known = described.patients
            if patient := row.options.get("patient"):
                known = {**known, name: patient}
            cases.append(case_of(name, row.image, [label], readers, known, options))
    check_complete(missing, root, options)
    kind = kind_of(cases[0].image) if cases else "volume"
    return dataset_of(root, "table", kind, described, cases, options, missing=missing)


def _name(row: Case, root: Path) -> str:
    """The name of a case: as the row says, or of the image's place below the table's folder."""
    if said := row.options.get("case"):
        return said
    place = row.image
    if place.is_relative_to(root.parent):
        place = place.relative_to(root.parent)
    else:
        place = Path(place.name)
    return "_".join([*place.parent.parts, case_name(place) if place.suffix else place.name])
