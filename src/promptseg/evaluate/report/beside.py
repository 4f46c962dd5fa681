"""Published figures that belong beside a run: same kind of image, same target where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from promptseg.evaluate.report.published import SOURCES, Figure, published
from promptseg.evaluate.report.quantities import MAIN, QUANTITIES
from promptseg.evaluate.report.results import Row
from promptseg.evaluate.report.tables import Table, score
from promptseg.metrics.statistics import summarise

__all__ = ["published_tables", "published_training_sizes"]

_THEIRS = {  # our names of modalities -> the papers'
    "XR": ("CXR", "X-Ray"),
    "US": ("US", "Ultrasound"),
    "MG": ("Mammography",),
    "microscopy": ("Light Microscope",),
    **{name: (name.capitalize(),) for name in ("endoscopy", "dermoscopy", "fundus", "pathology")},
}
_RESULTS = tuple(f"Table {i}" for i in range(6, 12))


def published_tables(rows: Sequence[Row]) -> list[Table]:
    """Return tables of published scores for the modalities and targets of a run, except empty ones."""
    modalities = {m for row in rows for m in _THEIRS.get(row.modality, (row.modality,))}
    targets = {
        (m, _key(row.target)) for row in rows for m in _THEIRS.get(row.modality, (row.modality,))
    }
    figures = [f for f in published() if f.modality in modalities]
    medsam = [f for f in figures if f.source == "medsam" and f.table in _RESULTS]
    tables = [
        _same_targets([f for f in medsam if (f.modality, _key(f.target)) in targets]),
        _per_modality(medsam),
        _means([f for f in figures if f.source == "sam2" and not f.target]),
    ]
    if any(row.prompt == "text" for row in rows):
        tables.append(_means(published("medical-sam3")))
    return [table for table in tables if table.body]


def published_training_sizes() -> dict[str, dict[float, list[float]]]:
    """Return the medians of DSC of MedSAM's Tables 12-14, by validation set and number of images."""
    curves: dict[str, dict[float, list[float]]] = {}
    for f in published("medsam"):
        if f.train_size and f.metric == "dsc":
            points = curves.setdefault(f"MedSAM, {f.validation} validation", {})
            points.setdefault(float(f.train_size), []).append(f.value)
    return curves


def _key(target: str) -> str:
    return " ".join(target.lower().replace("_", " ").replace("-", " ").split())


def _same_targets(figures: Sequence[Figure]) -> Table:
    body = [
        [f.target, f.modality, f.validation, f.model, f.metric.upper(), _value(f), f.table]
        for f in figures
    ]
    head = ["Target", "Modality", "Validation", "Model", "Metric", "Median (quartiles)", "Source"]
    caption = (
        f"{SOURCES['medsam']}: targets named as in this run. Prompt: box. In percent. "
        "* better than SAM, \u2020 worse than MedSAM (p < 0.05)."
    )
    return Table(caption, head, body, words=5)


def _per_modality(figures: Iterable[Figure]) -> Table:
    groups: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for f in figures:
        values = groups.setdefault((f.modality, f.validation, f.model), {})
        values.setdefault(f.metric, []).append(f.value)
    body = []
    for key, values in groups.items():
        spreads = [summarise(np.array(values.get(q.name, []))) for q in MAIN]
        cells = [
            f"{score(s.median, q)} ({score(s.q1, q)}, {score(s.q3, q)})"
            for s, q in zip(spreads, MAIN, strict=True)
        ]
        body.append([*key, f"{spreads[0].n}", *cells])
    head = ["Modality", "Validation", "Model", "Tasks", *(f"{q.label} of tasks" for q in MAIN)]
    caption = (
        f"{SOURCES['medsam']}, Tables 6-11: median (quartiles) of the published medians of all tasks "
        "of a modality. Prompt: box. In percent."
    )
    return Table(caption, head, body, words=3)


def _means(figures: Sequence[Figure]) -> Table:
    body = [
        [f.kind, f.modality, f.model, f.prompt, f.validation, f.metric.upper(), _value(f), f.table]
        for f in figures
    ]
    head = ["Kind", "Modality", "Model", "Prompt", "Validation", "Metric", "Mean", "Source"]
    source = SOURCES[figures[0].source] if figures else ""
    return Table(f"{source}: means, in percent.", head, body, words=6)


def _value(f: Figure) -> str:
    quantity = QUANTITIES[f.metric]
    if f.statistic == "mean":
        return score(f.value, quantity)
    quartiles = f"{score(f.q1, quantity)}, {score(f.q3, quantity)}"
    return f"{score(f.value, quantity)} ({quartiles}){f.marks}"
