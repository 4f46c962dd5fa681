"""DSC of whole volumes from one box on the middle slice of each label, over PROMPTSEG_DATA.

Rule: every label of every case is an object; the prompt is the exact box of its middle slice (the
middle one of the slices it occupies), followed up and down by the product's own propagation; DSC
over the whole volume, against the whole label. `--search` compares settings instead, `--modes` the
projection modes of MedicoSAM; slices are encoded once and the settings share them. So do models whose
encoders are the same but for the rounding to float16, and later calls, with `--embeddings`.

    python benchmarks/volumes.py -o benchmarks/results/2026-11-21_volumes.csv
    python benchmarks/volumes.py --model mobile-sam promptseg-lite -o RESULTS/volumes.csv
    python benchmarks/volumes.py --search --cases 3 -o benchmarks/results/2026-11-21_volumes_search.csv
"""

from __future__ import annotations

import argparse
import copy
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from cases import VOLUMES, Case, cases, data_root
from lite import one_encoder

from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.intensity import choose_intensity
from promptseg.models.protocol import ConditioningPrompt, SliceMasks
from promptseg.progress import step_progress
from promptseg.prompts import Box, box_of_mask
from promptseg.runtime import set_threads
from promptseg.segment.choices import resolved
from promptseg.segment.options import SegmentOptions
from promptseg.segment.postprocess import largest_component, smooth_across_slices
from promptseg.segment.projection import MEMORY, MODES, kinds_of
from promptseg.segment.slice_to_slice import gathered, propagate
from promptseg.segment.trackers import tracker_for
from promptseg.segment.volume import PropagationRule

_MODEL = ("mode", "margin", "margin_pixels")
_RULE = ("mode", "margin", "margin_pixels", "min_iou", "min_area", "min_quality", "max_growth")
NO_LIMIT = 1e6  # GiB
DEFAULTS = {name: getattr(SegmentOptions(), name) for name in _RULE if name not in _MODEL}
MARGINS = (
    {"margin": 0.0, "margin_pixels": 0.0},
    {"margin": 0.0, "margin_pixels": 1.0},
    {"margin": 0.05, "margin_pixels": 1.0},
)
SEARCH: tuple[dict[str, Any], ...] = (
    {},
    {"margin": 0.0, "margin_pixels": 0.0},
    {"margin": 0.0, "margin_pixels": 1.0},
    {"margin": 0.0, "margin_pixels": 2.0},
    {"margin": 0.05, "margin_pixels": 0.0},
    {"margin": 0.1, "margin_pixels": 0.0},
    {"margin": 0.1, "margin_pixels": 1.0},
    {"margin": 0.03, "margin_pixels": 1.0},
    {"margin": 0.05, "margin_pixels": 1.5},
    {"min_area": 0.0},
    {"min_area": 0.1},
    {"min_area": 0.2},
    {"min_area": 0.4},
    {"min_area": 0.5},
    {"min_area": 0.6},
    {"min_iou": 0.4},
    {"min_iou": 0.6},
    {"min_iou": 0.75},
    {"min_iou": 0.85},
    {"max_growth": 1.3},
    {"max_growth": 3.0},
    {"min_quality": 0.6},
    {"min_quality": 0.8},
    {"smooth_slices": 1},
    {"smooth_slices": 2},
    {"largest_component": True},
)


class Row(NamedTuple):
    """One object under one setting of one model."""

    model: str
    setting: str
    dataset: str
    case: str
    label: int
    dsc: float
    slices_true: int
    slices_found: int


def evaluate(
    name: str,
    predictor: Predictor,
    case: Case,
    settings: tuple[dict[str, Any], ...],
    store: EmbeddingStore | None,
) -> Iterator[Row]:
    """Rows of one case under each setting, of a model by its name."""
    card = predictor.card
    own = {"mode": card.propagate, "margin": card.margin, "margin_pixels": card.margin_pixels}
    defaults = {**DEFAULTS, **own}
    intensity = choose_intensity(case.image, keep_8bit=predictor.card.keep_8bit)
    stack = EmbeddedImage(case.image, "z", intensity, predictor, cache_bytes=2 << 30, store=store)
    for label in case.chosen:
        truth = case.labels == label
        occupied = np.flatnonzero(truth.any(axis=(1, 2)))
        start = int(occupied[len(occupied) // 2])
        box = Box(box_of_mask(truth[start]) or (), start)
        condition = ConditioningPrompt(start, box=box, reach=(0, len(stack) - 1))
        followed: dict[PropagationRule, SliceMasks] = {}
        for setting in settings:
            values = {**defaults, **setting}
            rule = PropagationRule(**{name: values[name] for name in _RULE})
            if rule not in followed:
                followed[rule] = _propagated(stack, condition, rule)
            found = np.zeros(truth.shape, dtype=bool)
            for index, mask in followed[rule].masks.items():
                found[index] = mask
            found = smooth_across_slices(found, values.get("smooth_slices", 0))
            if values.get("largest_component"):
                found = largest_component(found)
            score = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            said = ", ".join(f"{k}={v}" for k, v in setting.items()) or "default"
            reached = int(found.any(axis=(1, 2)).sum())
            yield Row(
                *(name, said, case.dataset, case.name, label, round(float(score), 4)),
                *(len(occupied), reached),
            )


def _propagated(
    stack: EmbeddedImage, condition: ConditioningPrompt, rule: PropagationRule
) -> SliceMasks:
    """Slice to slice, or with memory where that is the model's own way."""
    if rule.mode != MEMORY:
        return propagate(stack, [condition], rule)
    options = resolved(SegmentOptions(), stack.predictor.card)
    tracker = tracker_for(stack.predictor, options, several=True, video=False)
    (found,) = gathered(tracker.track(stack, [condition]), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", nargs="+", default=["lite-medsam"])
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--datasets", nargs="*", default=list(VOLUMES))
    parser.add_argument("--cases", type=int, help="only so many cases of each dataset")
    parser.add_argument("--splits", type=Path, help="table of dataset, case, patient and part")
    parser.add_argument("--part", default="test", help="of the table")
    parser.add_argument("--search", action="store_true", help="compare settings")
    parser.add_argument("--modes", action="store_true", help="compare projection modes")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps them")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    models = {n: Predictor.load(n, "cpu", True, arguments.engine) for n in arguments.model}
    first = next(iter(models.values()))
    store = EmbeddingStore(arguments.embeddings, NO_LIMIT) if arguments.embeddings else None
    for name, model in models.items():
        if model is not first and one_encoder(first, model):
            models[name] = _finding(model, first)
    rows: list[Row] = []
    with step_progress("datasets", len(arguments.datasets)) as update:
        for done, name in enumerate(arguments.datasets):
            update(done, name)
            for case in _chosen(name, arguments):
                for called, model in models.items():
                    rows += evaluate(called, model, case, _settings(model, arguments), store)
            _write(rows, arguments.output)
    _summary(rows, arguments.datasets)


def _finding(model: Predictor, first: Predictor) -> Predictor:
    """A model that finds the embeddings that another one with its encoder has made."""
    found = copy.copy(model)
    found.card = replace(model.card, name=first.card.name)
    found.weights_sha256 = first.weights_sha256
    return found


def _chosen(dataset: str, arguments: argparse.Namespace) -> Iterator[Case]:
    """The cases of a dataset, of the part that was asked for."""
    found = cases(dataset, data_root())
    if arguments.splits:
        with arguments.splits.open(encoding="utf-8") as stream:
            rows = [r for r in csv.DictReader(stream) if r["dataset"] == dataset]
        names = {r["case"] for r in rows if r["part"] == arguments.part}
        found = (case for case in found if case.name in names)
    return islice(found, arguments.cases)


def _settings(model: Predictor, arguments: argparse.Namespace) -> tuple[dict[str, Any], ...]:
    if arguments.modes:
        able = [m for m in MODES if kinds_of(m) <= model.card.prompts]
        return tuple({"mode": mode, **margin} for mode in able for margin in MARGINS)
    return SEARCH if arguments.search else ({},)


def _write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def _summary(rows: list[Row], names: list[str]) -> None:
    """A line per model and setting, a column per dataset, and the mean of the datasets."""
    names = [n for n in names if any(row.dataset == n for row in rows)]
    print("| model, setting | " + " | ".join(names) + " | mean |")
    print("|---|" + "---|" * (len(names) + 1))
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        scores[f"{row.model}, {row.setting}"][row.dataset].append(row.dsc)
    for setting, table in scores.items():
        means = [fmean(table[name]) for name in names]
        cells = " | ".join(f"{m:.3f}" for m in means)
        print(f"| {setting} | {cells} | {fmean(means):.4f} |")


if __name__ == "__main__":
    main()
