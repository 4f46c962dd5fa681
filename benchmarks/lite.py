"""promptseg-lite beside its start: boxes, clicks and corrections on internal and external test images.

A sample of what recipes/lite/evaluate.yaml asks for (--images in all, datasets and patients in turn),
with the same simulated user and the same DSC. Where two models have one encoder, float16 rounding
aside, images are encoded once for both. Means are over datasets of the mean DSC of a dataset;
intervals of 95 % come from drawing patients within each dataset; datasets of one patient, which cannot
be drawn from, are counted.

    python benchmarks/lite.py COLLECTION -o RESULTS/internal --model mobile-sam --model lite-medsam \
        --model promptseg-lite --start mobile-sam --start lite-medsam --images 60

Predicted IoU is what the networks say; lite_calibration.py measures the maps of a card. Answers are
written after every twenty images; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample
from promptseg.formats.files import atomic_path
from promptseg.inference.predictor import Predictor
from promptseg.models.checkpoint import build_network, read_checkpoint
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.simulate.first import Clicking
from promptseg.train.kept import keep_embeddings
from promptseg.train.setting import StartingWeights
from promptseg.train.validate import Answer, Validation, choose_validation, validate

CELLS = (("box", 0), ("box", 1), ("box", 8), ("point", 0), ("point", 8))
RESAMPLES, BINS, FEW = 1000, 10, 6
BATCH = 20  # images between two writes

Cell = tuple[str, int]


def predictors(names: list[str], engine: str) -> dict[str, Predictor]:
    """Models by their names; a file has the architecture of the first model."""
    first = StartingWeights.load(names[0], quiet=False)
    found = {}
    for name in names:
        label, _, file = name.rpartition("=")
        if not label:
            found[name] = Predictor.load(name, "cpu", True, engine)
            found[name].calibration = ()
            continue
        network = build_network(first.card, read_checkpoint(Path(file)), Path(file))
        found[label] = Predictor.of_network(
            first.card, network, torch.device("cpu"), Path(file), engine
        )
    return found


def one_encoder(a: Predictor, b: Predictor) -> bool:
    """Whether the encoders differ by the rounding of float16 at most."""
    files = (read_checkpoint(p.weights) for p in (a, b))
    own, other = ({k: v for k, v in f.items() if k.startswith("image_encoder.")} for f in files)
    shared = own.keys() & other.keys()  # MobileSAM's file has a classifier besides
    return bool(shared) and all(torch.equal(own[k].half(), other[k].half()) for k in shared)


def asked(
    models: dict[str, Predictor],
    collection: Collection,
    samples: list[Sample],
    options: argparse.Namespace,
) -> dict[str, list[Answer]]:
    """What every model makes of the same prompts; written after every batch, and gone on from there."""
    first = next(iter(models.values()))
    keys = {s.key for s in samples}
    there = {name: _there(model, collection, options, name) for name, model in models.items()}
    shared = {name: one_encoder(first, model) for name, model in models.items()}
    with step_progress("images", len(samples)) as update:
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            kept = keep_embeddings(first, collection, batch, options.embeddings, lambda *_: None)
            for name, model in models.items():
                found = there[name]
                missing = [s for s in batch if s.key not in found.embeddings]
                more = validate(
                    *(model, collection, missing),
                    corrections=options.corrections,
                    max_objects=options.objects,
                    clicking=options.clicks,
                    kept=kept if shared[name] else None,
                )
                found.answers += more.answers
                found.embeddings |= more.embeddings
                found.write(options.output / f"{name}.npz")
            update(start + len(batch), "")
    return {name: [a for a in found.answers if a.sample in keys] for name, found in there.items()}


def _there(
    model: Predictor, collection: Collection, options: argparse.Namespace, name: str
) -> Validation:
    """The answers of the same model to the same questions, as far as an earlier call came."""
    about = json.dumps(
        [
            *(model.weights_sha256, collection.sha256, options.engine, options.corrections),
            *(options.objects, options.clicks),
        ]
    )
    path = options.output / f"{name}.npz"
    found = Validation.read(path) if path.exists() else Validation(about=about)
    return found if found.about == about else Validation(about=about)


def macro(answers: list[Answer], cell: Cell) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Dataset -> patient -> DSC of its objects."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for a in answers:
        if (a.prompt, a.step) == cell:
            found[a.dataset][a.patient].append(a.dsc)
    return {d: {p: np.array(v) for p, v in ps.items()} for d, ps in sorted(found.items())}


def mean_of(values: dict[str, dict[str, NDArray[np.float64]]]) -> float:
    """Mean over datasets of the mean over objects."""
    return float(np.mean([np.concatenate(list(ps.values())).mean() for ps in values.values()]))


def interval(one: list[Answer], other: list[Answer], cell: Cell) -> tuple[float, float]:
    """Of the difference of the macro means, patients drawn within datasets.

    A dataset of one patient adds its difference to all draws; NaN where all datasets are such.
    """
    rng = np.random.default_rng(0)
    a, b = macro(one, cell), macro(other, cell)
    if max(len(patients) for patients in a.values()) < 2:
        return np.nan, np.nan
    draws = np.zeros((RESAMPLES, len(a)))
    for k, dataset in enumerate(a):
        patients = list(a[dataset])
        difference = np.array([(b[dataset][p] - a[dataset][p]).sum() for p in patients])
        count = np.array([len(a[dataset][p]) for p in patients])
        times = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), RESAMPLES)
        draws[:, k] = times @ difference / (times @ count)
    low, high = np.quantile(draws.mean(1), [0.025, 0.975])
    return float(low), float(high)


def calibration(answers: list[Answer], prompt: str, step: int) -> float:
    """Expected calibration error of the predicted IoU, in bins of equal count."""
    pairs = [
        (a.predicted_iou, a.dsc / (2 - a.dsc))
        for a in answers
        if (a.prompt, a.step) == (prompt, step)
    ]
    ordered = np.array(sorted(pairs))
    bins = np.array_split(ordered, min(BINS, len(ordered)))
    return float(sum(len(b) * abs(b[:, 0].mean() - b[:, 1].mean()) for b in bins) / len(ordered))


def tables(answers: dict[str, list[Answer]], cells: list[Cell], starts: list[str]) -> list[str]:
    """Every model and cell, against the better of the starts there; then per modality and dataset."""
    names = list(answers)
    first = answers[names[0]]
    title = [f"{p}+{s}" if s else p for p, s in cells]
    lines = [f"| mean DSC over datasets | {' | '.join(title)} |", "|---" * (len(cells) + 1) + "|"]
    for name in names:
        means = [mean_of(macro(answers[name], cell)) for cell in cells]
        lines.append(f"| {name} | {' | '.join(f'{m:.3f}' for m in means)} |")
    for name in (n for n in names if n not in starts):
        row = []
        for cell in cells:
            better = max(starts, key=lambda n: mean_of(macro(answers[n], cell)))
            gain = mean_of(macro(answers[name], cell)) - mean_of(macro(answers[better], cell))
            low, high = interval(answers[better], answers[name], cell)
            bounds = "" if np.isnan(low) else f" ({100 * low:+.1f} to {100 * high:+.1f})"
            row.append(f"{100 * gain:+.1f}{bounds}")
        lines.append(f"| {name}, points over the better start | {' | '.join(row)} |")
    lines += ["", f"| calibration error of the predicted IoU | {' | '.join(title)} |"]
    lines.append("|---" * (len(cells) + 1) + "|")
    for name in names:
        errors = [calibration(answers[name], *cell) for cell in cells]
        lines.append(f"| {name} | {' | '.join(f'{e:.3f}' for e in errors)} |")
    for what in ("modality", "dataset"):
        lines += ["", f"| {what} | patients | objects | {' | '.join(title)} |"]
        lines.append("|---" * (len(cells) + 3) + "|")
        for group in sorted({getattr(a, what) for a in first}):
            of = {n: [a for a in answers[n] if getattr(a, what) == group] for n in names}
            patients = len({(a.dataset, a.patient) for a in of[names[0]]})
            objects = len({(a.sample, a.target) for a in of[names[0]]})
            row = [
                " -> ".join(f"{mean_of(macro(of[n], cell)):.3f}" for n in names) for cell in cells
            ]
            few = "" if patients >= FEW else " (few)"
            lines.append(f"| {group} | {patients}{few} | {objects} | {' | '.join(row)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("collection", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True, help="name, or NAME=FILE")
    parser.add_argument("--start", action="append", required=True, help="what others are against")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--corrections", type=int, default=8)
    parser.add_argument("--clicks", default="random", choices=get_args(Clicking))
    parser.add_argument("--embeddings", type=Path, default=Path("runs/embeddings"))
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    set_threads(options.threads)
    collection = Collection(options.collection)
    samples = choose_validation(collection.of(options.part), options.images, 0)
    options.output.mkdir(parents=True, exist_ok=True)
    answers = asked(predictors(options.model, options.engine), collection, samples, options)
    with (options.output / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", *Answer._fields])
        for name, each in answers.items():
            writer.writerows([name, *a] for a in each)
    cells = [cell for cell in CELLS if cell[1] <= options.corrections]
    count = f"{len(samples)} of {len(collection.of(options.part))} images"
    rule = f"{options.objects} objects of each at most; {options.clicks} clicks"
    lines = [f"{count} of the {options.part} part, {rule}.", ""]
    lone = sum(len(ps) < 2 for ps in macro(answers[options.start[0]], cells[0]).values())
    if lone:
        lines[:1] = [f"{lines[0]} {lone} datasets have one patient, and no part in the intervals."]
    lines += tables(answers, cells, options.start)
    with atomic_path(options.output / "summary.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[: 6 + len(answers)]))


if __name__ == "__main__":
    main()
