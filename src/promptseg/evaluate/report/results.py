"""A results folder as `promptseg evaluate` leaves it: rows.csv, and run.json where there is one."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from promptseg.errors import InputError
from promptseg.evaluate.report.quantities import NAMES
from promptseg.formats.files import require_file
from promptseg.formats.text import csv_table, read_text
from promptseg.names import from_csv
from promptseg.parsing import parse_json

__all__ = ["Results", "Row", "read_results"]

_NEEDED = ("model", "dataset", "protocol", "prompt", "case", "target", "dsc")
_WORDS = (
    *("model", "dataset", "modality", "kind", "protocol", "prompt", "setting"),
    *("case", "patient", "target", "object", "slice", "frame", "note", "trained_on"),
    *("truth_size", "found_size", "instances"),
)


class Row(NamedTuple):
    """One scored mask: a line of rows.csv.

    Attributes:
        scores: one value per name in `quantities.NAMES`; NaN where there is none.
        step: 0 for the first prompt, then the number of corrections.
        truth_size: pixels or voxels of the true mask, as written; empty if not said.
        predicted: the model's own estimate of its IoU; NaN if it gave none.
        train_size: images the model was trained on; NaN if not said.
        trained_on: why the model counts as trained on this image; empty if it does not.
        found_size: as `truth_size`, of the mask that was found.
        instances: how many of them a phrase found, as written; empty if they were not counted.
    """

    model: str
    dataset: str
    modality: str
    kind: str
    protocol: str
    prompt: str
    setting: str
    case: str
    patient: str
    target: str
    object: str
    slice: str
    frame: str
    note: str
    trained_on: str
    truth_size: str
    step: int
    scores: tuple[float, ...]
    predicted: float
    train_size: float
    found_size: str = ""
    instances: str = ""

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Return the facts that say which mask was scored; rows of two models that share them pair."""
        return self.patient, self.case, self.object, self.slice, self.frame


@dataclass
class Results:
    """Rows and how they came about.

    Attributes:
        folder: where they lie.
        rows: in the order of the file.
        run: content of run.json; empty without one.
        warnings: what the reader of a report should know about these files.
        alarms: what makes its figures worth less than they look.
    """

    folder: Path
    rows: list[Row]
    run: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def models(self) -> list[str]:
        """Return the names of the models, in the order of the run, then of the rows."""
        listed = [str(m.get("name", "")) for m in self.listed("models")]
        present = dict.fromkeys(row.model for row in self.rows)
        return [m for m in dict.fromkeys(listed) if m in present] + [
            m for m in present if m not in listed
        ]

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return a list of objects in run.json; empty where it is missing or something else."""
        value = self.run.get(name)
        return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def read_results(folder: Path) -> Results:
    """Read rows.csv and run.json.

    Raises:
        InputError: rows.csv is missing, empty, lacks a column, or has a value that cannot be read.
    """
    path = folder / "rows.csv"
    require_file(path, "a results folder with rows.csv")
    try:
        table = csv_table(path)
    except ValueError as error:
        raise InputError("a CSV file in UTF-8", f"{path} ({error})") from None
    rows = list(_rows(path, table))
    if not rows:
        raise InputError("at least one row", f"{path}: a header only", "run the evaluation first")
    results = Results(folder, rows)
    if (folder / "run.json").exists():
        results.run = _run(folder / "run.json")
    else:
        results.warnings.append(
            "run.json is missing: models, data sets, rules and versions are not known."
        )
    return results


def _run(path: Path) -> dict[str, Any]:
    try:
        run = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError("a readable run.json", f"{path} ({error})", "write it again") from error
    if not isinstance(run, dict):
        raise InputError("a JSON object in run.json", f"{path}: {type(run).__name__}")
    return run


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Row]:
    try:
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"the columns {', '.join(_NEEDED)}", f"{path}: no {', '.join(missing)}"
            )
        seen: set[tuple[object, ...]] = set()
        for line in reader:
            row = _row(path, reader.line_num, line)
            identity = (*row[:6], row.setting, row.target, row.step, row.place)
            if identity in seen:
                raise InputError(
                    "one row per model, prompt, object, slice and step",
                    f"{path}, line {reader.line_num}: {row.model}, {row.case}, {row.object} again",
                    "score the second run into a folder of its own",
                )
            seen.add(identity)
            yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("a CSV file in UTF-8", f"{path} ({error})") from error


def _row(path: Path, number: int, line: dict[str, str]) -> Row:
    words = {name: sys.intern(_printable(from_csv(line.get(name) or ""))) for name in _WORDS}
    words["patient"] = words["patient"] or words["case"]
    words["object"] = words["object"] or words["target"]
    try:
        return Row(
            **words,
            step=int(line.get("step") or 0),
            scores=tuple(_value(line.get(name)) for name in NAMES),
            predicted=_value(line.get("predicted_iou")),
            train_size=_value(line.get("train_size")),
        )
    except ValueError as error:
        raise InputError("numbers in rows.csv", f"{path}, line {number}: {error}") from None


def _printable(text: str) -> str:
    """Names without control characters, which no page, plot or LaTeX file may hold."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _value(text: str | None) -> float:
    return float(text) if text else math.nan
