"""Figures of the papers, as facts with their source: other data than any run of ours.

`results.csv` has a line per published median or mean, `annotation.csv` per case and expert of MedSAM's
annotation study. Scores are shares (0..1), times are seconds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

__all__ = ["AnnotationTime", "Figure", "annotation_times", "published"]

SOURCES = {
    "medsam": "Ma et al., Segment anything in medical images, Nat. Commun. 15, 654 (2024), supplement",
    "sam2": "Ma et al., Segment anything in medical images and videos: benchmark and deployment, "
    "arXiv:2408.03322 (2024)",
    "medical-sam3": "Medical SAM3: a foundation model for universal prompt-driven medical image "
    "segmentation (second-hand: taken from a summary of it)",
}


class Figure(NamedTuple):
    """A published score.

    Attributes:
        source: key of `SOURCES`.
        table: where it stands there.
        validation: "internal" or "external"; empty where the paper makes no such difference.
        kind: "2D", "3D" or "video"; empty if not said.
        target, modality, model, prompt: as the paper names them; empty where it pools them.
        train_size: number of training images; 0 where it is not what varies.
        metric: "dsc" or "nsd".
        statistic: "median" or "mean".
        value, q1, q3: shares, 0..1; quartiles are NaN where none are given.
        marks: `*` better than SAM, a dagger worse than MedSAM (p < 0.05).
    """

    source: str
    table: str
    validation: str
    kind: str
    target: str
    modality: str
    model: str
    prompt: str
    train_size: int
    metric: str
    statistic: str
    value: float
    q1: float
    q3: float
    marks: str

    @property
    def citation(self) -> str:
        """Return paper and table as one text."""
        return f"{SOURCES[self.source]}, {self.table}"


class AnnotationTime(NamedTuple):
    """Seconds that an expert spent on a case, without and with MedSAM (its supplement, Table 15)."""

    case: str
    expert: str
    manual: float
    marker: float
    inference: float
    refinement: float


def published(source: str | None = None, table: str | None = None) -> list[Figure]:
    """Return the published scores, of one paper and table if named."""
    found = (_figure(line) for line in _lines("results.csv"))
    return [f for f in found if source in (None, f.source) and table in (None, f.table)]


def annotation_times() -> list[AnnotationTime]:
    """Return the times of MedSAM's annotation study: ten cases, two experts."""
    return [
        AnnotationTime(
            line["case"],
            line["expert"],
            *(float(line[k]) for k in ("manual", "marker", "inference", "refinement")),
        )
        for line in _lines("annotation.csv")
    ]


def _figure(line: dict[str, Any]) -> Figure:
    numbers = {name: float(line[name] or "nan") for name in ("value", "q1", "q3")}
    return Figure(**{**line, **numbers, "train_size": int(line["train_size"] or 0)})


def _lines(name: str) -> Iterator[dict[str, str]]:
    with (files(__package__) / name).open(encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
