"""Run lengths in a table, as competitions keep masks: a `dataset.json` says how the table is written.

    {"image_files": "train_images/{case}.tiff",
     "run_lengths": {"file": "train.csv", "id": "id", "pixels": "rle"}}

The column `pixels` holds pairs of a start and a length. Tables differ in how they count, and nothing
in them tells, so it is said here: `order` ("columns", down the columns, which is usual; or "rows"),
`first` (number of the first pixel: 1, or 0) and `relative` (whether a start is counted from the end of
the run before: false). `class` names the column with the class of a row. Every row is an object; rows
without numbers, or with -1, say that there is none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.build import case_of, dataset_of, image_reader, modality_of
from promptseg.datasets.classes import TruthSegment
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import read_description, read_json
from promptseg.datasets.files import named_file
from promptseg.datasets.listing import Missing, check_complete, kind_of, no_cases
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.patterns import find_files
from promptseg.datasets.truth import truth_of
from promptseg.errors import InputError
from promptseg.formats.text import composed, csv_table
from promptseg.image import Image, Segmentation, bounding_region

__all__ = ["Counting", "decode_rle", "open_dataset", "recognises"]

_EMPTY = ("", "-1", "nan")
_LONGEST = 1 << 30  # characters of one cell; slides have some million


@dataclass(frozen=True, kw_only=True)
class Counting:
    """The way in which a table counts pixels.

    Attributes:
        order: "columns", down the columns from the left; or "rows", along the rows from the top.
        first: number of the first pixel, 0 or 1.
        relative: whether a start counts from the end of the run before.
    """

    order: Literal["columns", "rows"] = "columns"
    first: int = 1
    relative: bool = False


def recognises(root: Path) -> bool:
    """Tell whether a folder has a dataset.json that names images and a table of run lengths."""
    path = root / "dataset.json"
    if not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content.get("run_lengths"), dict) and "image_files" in content


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the 2D images that the table has rows for.

    Raises:
        InputError: a table that cannot be read or lacks a column, 2D images that are not there or have
            no row.
    """
    content = read_json(root / "dataset.json")
    said = content["run_lengths"]
    table, counting = _table(root, said), _counting(root, said)
    described = read_description(root)
    reader = image_reader(modality_of(described, options), described.reading)
    lone = next(iter(described.classes.names.values()), "object")
    rows: dict[str, list[tuple[str, str]]] = {}
    for row in _rows(table, said):
        target = str(row[said["class"]]) if said.get("class") else lone
        rows.setdefault(composed(str(row[said["id"]]).strip()), []).append(
            (target, row[said["pixels"]])
        )
    cases, missing = [], []
    for file in find_files(root, str(content["image_files"])):
        name = file.names["case"]
        if name not in rows:
            missing.append(Missing(name, "labels", f"{file.path.name} has no row"))
            continue
        readers = reader, partial(_read, rows=tuple(rows.pop(name)), counting=counting)
        cases.append(case_of(name, file.path, [table], readers, described.patients, options))
    missing += [Missing(name, "image", f"{name} has no 2D image") for name in rows]
    check_complete(missing, root, options)
    if not cases:
        raise no_cases(root, missing)
    kind = kind_of(cases[0].image)
    notes = ["every row is an object"]
    return dataset_of(root, "rle", kind, described, cases, options, missing=missing, notes=notes)


def decode_rle(text: str, size: tuple[int, int], counting: Counting) -> NDArray[np.bool_]:
    """Decode run lengths, pairs of a start and a length, to a mask.

    Args:
        text: whole numbers, separated by blanks.
        size: (rows, columns) of the 2D image.
        counting: what the starts mean.

    Raises:
        ValueError: no pairs, or runs that lead out of the 2D image.
    """
    rows, columns = size
    beyond = f"runs that lead out of {columns} x {rows} pixels"
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except OverflowError:
        raise ValueError(beyond) from None
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers, which are no pairs")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() <= rows * columns:
        raise ValueError(beyond)  # before they are summed, for sums may wrap around
    starts, lengths = numbers[::2], numbers[1::2]
    if counting.relative:
        starts = np.cumsum(starts) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = starts - counting.first
    ends = starts + lengths
    if len(starts) and (starts.min() < 0 or lengths.min() < 1 or ends.max() > rows * columns):
        raise ValueError(beyond)
    flat = np.zeros(rows * columns, dtype=np.bool_)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        flat[start:end] = True
    return (
        flat.reshape(rows, columns) if counting.order == "rows" else flat.reshape(columns, rows).T
    )


def _read(
    case: CaseFiles, image: Image, rows: tuple[tuple[str, str], ...], counting: Counting
) -> Segmentation:
    """Read the rows of one 2D image as its objects."""
    shape = image.geometry.shape
    if len(shape) != 2:
        raise InputError(
            "pictures where run lengths are", f"{case.image}: {image.kind}", "leave this case out"
        )
    objects = []
    for label, (target, text) in enumerate(rows, 1):
        if text.strip().lower() in _EMPTY:
            continue
        try:
            mask = decode_rle(text, (shape[0], shape[1]), counting)
        except ValueError as error:
            raise InputError(
                "pairs of start and length", f"{case.truth[0]}: {case.name} ({error})", "correct it"
            ) from None
        region = bounding_region(mask)
        name = f"{target} {label}" if len(rows) > 1 else target
        crop = mask[region].copy()
        objects.append(TruthSegment(name, label, crop, region, target=target, instance=True))
    return truth_of(objects, image)


def _table(root: Path, said: Mapping[str, Any]) -> Path:
    """The table, which lies in the folder."""
    path = named_file(root, str(said.get("file", "")), "dataset.json")
    if not path.is_file():
        raise InputError("a table of run lengths in its folder", f"{path}", "correct dataset.json")
    return path


def _counting(root: Path, said: Mapping[str, Any]) -> Counting:
    known = {f.name for f in fields(Counting)}
    if unknown := set(said) - known - {"file", "id", "pixels", "class"}:
        raise InputError(
            f"file, id, pixels, class, {', '.join(sorted(known))} in run_lengths",
            f"{root}: {', '.join(sorted(unknown))}",
            "correct dataset.json",
        )
    counting = Counting(**{key: value for key, value in said.items() if key in known})
    if counting.order not in ("columns", "rows") or counting.first not in (0, 1):
        raise InputError(
            'order "columns" or "rows" and first 0 or 1',
            f"{root}: {counting}",
            "correct dataset.json",
        )
    return counting


def _rows(path: Path, said: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The rows of the table; blanks around the names of columns do not count."""
    before = csv.field_size_limit(_LONGEST)
    try:
        reader = csv_table(path)
        columns = list(reader.fieldnames or ())
        wanted = [said.get("id"), said.get("pixels"), said.get("class")]
        lost = [str(name) for name in wanted[:2] if name not in columns]
        lost += [str(name) for name in wanted[2:] if name and name not in columns]
        if lost:
            raise InputError(
                f"columns out of {', '.join(columns)}",
                f"{path}: {', '.join(lost)}",
                "correct run_lengths in dataset.json",
            )
        for row in reader:  # a row that is cut short lacks its last cells
            yield {str(name): str(value or "") for name, value in row.items()}
    except (OSError, ValueError, csv.Error) as error:
        raise InputError("a CSV table of run lengths", f"{path} ({error})", "correct it") from None
    finally:
        csv.field_size_limit(before)
