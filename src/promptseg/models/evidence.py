"""Measurements of the models: the committed table that a choice goes by."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, get_type_hints

__all__ = ["ANY", "Evidence", "evidence", "evidence_from_csv", "evidence_to_csv", "look_up"]

ANY = "any"  # all modalities pooled


@dataclass(frozen=True)
class Evidence:
    """Result of one model with one kind of prompt on one modality.

    Models that are compared were measured on the same objects.

    Attributes:
        model: its name.
        weights_sha256: of the weights that were measured.
        modality: of the images; "any" for all of them.
        prompt: "box", "point", ..., or "box+corrections" for the last of its corrections.
        protocol: "2d" for single slices and 2D images, "3d" for volumes from a prompt on one slice.
        datasets, cases, objects: how many; an object of a volume counts once per slice in "2d".
        mean_dsc: mean of the datasets' mean DSC, so that no large dataset decides alone.
        q1, median, q3: quartiles of the objects' DSC.
        source: the result file.
        date: of the result, ISO.
    """

    model: str
    weights_sha256: str
    modality: str
    prompt: str
    protocol: str
    datasets: int
    cases: int
    objects: int
    mean_dsc: float
    q1: float
    median: float
    q3: float
    source: str
    date: str

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return asdict(self)


@cache
def evidence() -> tuple[Evidence, ...]:
    """Read the committed table, made by `benchmarks/evidence.py`."""
    text = files(__package__).joinpath("evidence.csv").read_text("utf-8")
    return tuple(evidence_from_csv(text))


def evidence_from_csv(text: str) -> list[Evidence]:
    """Parse a table that `evidence_to_csv` wrote."""
    kinds = get_type_hints(Evidence)
    return [
        Evidence(**{name: kinds[name](value) for name, value in line.items()})
        for line in csv.DictReader(io.StringIO(text))
    ]


def evidence_to_csv(rows: Iterable[Evidence]) -> str:
    """Format a table as CSV, DSC to four digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(f.name for f in fields(Evidence))
    for row in rows:
        writer.writerow(f"{v:.4f}" if isinstance(v, float) else v for v in astuple(row))
    return out.getvalue()


def look_up(
    table: Sequence[Evidence],
    models: Collection[str],
    modality: str,
    prompts: Sequence[str],
    protocol: str,
) -> list[Evidence]:
    """Choose the rows that say most about some models for a task, the best model first.

    Evidence on the modality comes before that on all modalities, and that of the protocol before that
    on single slices; evidence that compares at least two of the models before that on one.

    Args:
        table: what was measured.
        models: the models in question; earlier ones win ties.
        modality: of the image.
        prompts: kinds of prompts as the table names them, the most fitting first.
        protocol: "2d" or "3d".

    Returns:
        One row per model that was measured, all of one modality, prompt and protocol; none if nothing
        was.
    """
    order = {name: k for k, name in enumerate(models)}
    groups = [
        sorted(
            (
                row
                for row in table
                if row.model in order
                and (row.modality, row.prompt, row.protocol) == (known, prompt, how)
            ),
            key=lambda row: (-row.mean_dsc, order[row.model]),
        )
        for how in dict.fromkeys((protocol, "2d"))
        for prompt in prompts
        for known in dict.fromkeys((modality, ANY))
    ]
    comparing = [group for group in groups if len(group) > 1]
    return next(iter([*comparing, *filter(None, groups)]), [])
