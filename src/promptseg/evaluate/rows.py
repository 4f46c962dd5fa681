"""The rows of an evaluation: one per object, slice or step, each with all it takes to read it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path
from promptseg.formats.text import read_text
from promptseg.metrics.scores import METRICS
from promptseg.names import for_csv, from_csv

__all__ = ["COLUMNS", "PROMPTED", "Row", "read_rows", "write_rows"]

PROMPTED = "prompted"
"""What is noted of an object of a video on the frame where it was prompted."""


class Row(NamedTuple):
    """One object under one model and prompt.

    Attributes:
        model: its name, or that of the folder of predictions.
        dataset, modality, kind: of the image; the kind is "picture", "volume" or "video".
        protocol: "2d", "3d", "interactive-2d", "interactive-3d", "interactive-3d-search", "video",
            "sam2-paper", "classes" or "predictions".
        prompt: "box", "jittered-box", "point", "text", "synonym text" (another phrase for it),
            "text instance" (one object), "absent text" (a name of what is not there; nothing found
            counts 1), "mask", "mask of MODEL", with "+corrections" where clicks follow
            it; empty for predictions and classes.
        case, patient: patients are what statistics pair.
        target, object: name of the class and of the object.
        slice: index along z; None for a whole volume or a 2D image.
        frame: index of a video's frame; else None.
        step: 0 for the first prompt, then the number of the correction.
        setting: the propagation options, where several are compared; else empty.
        dsc, nsd, iou, hd95, asd, volume_difference: see `promptseg.metrics`.
        predicted_iou: the model's own opinion; None if it has none.
        truth_size, found_size: pixels or voxels.
        seconds: for the answer, once the slices are encoded; None for predictions.
        note: what is special about it.
        trained_on: why the model counts as trained on the image: "same voxels", "looks alike"; else
            empty.
        instances: how many instances a phrase found; None where they were not counted.
    """

    model: str
    dataset: str
    modality: str
    kind: str
    protocol: str
    prompt: str
    case: str
    patient: str
    target: str
    object: str
    slice: int | None
    frame: int | None
    step: int
    setting: str
    dsc: float
    nsd: float
    iou: float
    hd95: float
    asd: float
    volume_difference: float
    predicted_iou: float | None
    truth_size: int
    found_size: int
    seconds: float | None
    note: str = ""
    trained_on: str = ""
    instances: int | None = None

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Return patient, case, object, slice and frame, as written: they say which mask was scored."""
        return self.patient, self.case, self.object, _text(self.slice), _text(self.frame)


COLUMNS: tuple[str, ...] = Row._fields
_LATER: dict[str, Any] = {**dict.fromkeys(METRICS, math.nan), **Row._field_defaults}
"""What columns hold that a file does not have, because they came after it was written."""
_WHOLE = {"slice", "frame", "step", "truth_size", "found_size", "instances"}
_REAL = {*METRICS, "predicted_iou", "seconds"}


def write_rows(rows: Iterable[Sequence[Any]], path: Path) -> None:
    """Write rows as CSV, whole or not at all; six digits, nothing for None."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_text(value) for value in row] for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a CSV that `write_rows` wrote.

    Raises:
        InputError: no such file, or other columns.
    """
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""))
        columns = tuple(next(reader, ()))
        _check_columns(columns, path)
        return [_row(columns, line) for line in reader]
    except OSError as error:
        raise InputError("rows of an evaluation", f"{path} ({error.strerror})") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError("rows of an evaluation", f"{path} ({error})") from error


def _check_columns(columns: Sequence[str], path: Path) -> None:
    """Refuse a table of something else; a metric may have come after it was written."""
    missing = [name for name in COLUMNS if name not in columns and name not in _LATER]
    unknown = sorted(set(columns) - set(COLUMNS))
    if missing or unknown or len(set(columns)) < len(columns):
        said = [*(f"no {name}" for name in missing), *unknown] or ["a column twice"]
        raise InputError("the columns of promptseg evaluate", f"{path} with {', '.join(said)}")


def _row(columns: Sequence[str], line: Sequence[str]) -> Row:
    if len(line) != len(columns):
        raise ValueError(f"a line of {len(line)} values under {len(columns)} columns")
    return Row(
        **{**_LATER, **{name: _value(name, t) for name, t in zip(columns, line, strict=True)}}
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return for_csv(str(value))


def _value(column: str, text: str) -> Any:
    if column in _WHOLE:
        return int(text) if text else None
    if column in _REAL:
        return float(text) if text else None
    return from_csv(text)
