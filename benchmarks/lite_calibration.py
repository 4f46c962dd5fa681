"""What the predicted IoU of promptseg-lite means: maps fitted on validation, measured elsewhere.

A map per kind of prompt (a lone click, a box alone, anything more; `promptseg.models.calibration`),
fitted by cross-entropy to the true IoU of validation images, every dataset with the same weight. It
is kept only where it pays on the validation part itself: fitted without a patient and tried on that
patient's masks, all patients in turn. Then raw and mapped predicted IoU are measured on answers of
other parts, which nothing is chosen by: the expected calibration error in ten bins of equal count, and
what a threshold of doubt flags.

    python benchmarks/lite_calibration.py COLLECTION -o RESULTS --embeddings runs/embeddings \\
        --model mobile-sam --model promptseg-lite --measure internal=EV/internal/rows.csv

The models before the last only find kept embeddings, where they have its encoder. Rows to measure are
those of benchmarks/lite.py.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lite import BINS, one_encoder, predictors
from numpy.typing import NDArray
from scipy.optimize import minimize

from promptseg.datasets.collection import Collection
from promptseg.models.calibration import Asked, IouMap
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.train.kept import keep_embeddings
from promptseg.train.validate import Answer, choose_validation, validate

KINDS: tuple[Asked, ...] = ("click", "box", "more")
PAYS = 0.01  # least gain of the calibration error for which a map is kept: less is chance
BAD = 1 / 3  # IoU of a mask whose DSC is 0.5
BATCH = 10


class Pairs(NamedTuple):
    """Masks of one kind of prompt: who they are of, what was said of them, what is true."""

    dataset: NDArray[np.str_]
    patient: NDArray[np.str_]
    said: NDArray[np.float64]
    true: NDArray[np.float64]

    def chosen(self, which: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(*(each[which] for each in self))


def kind_of(answer: Answer) -> Asked:
    """Corrections give the mask before them back to the model."""
    if answer.step:
        return "more"
    return "click" if answer.prompt == "point" else "box"


def pairs_of(answers: Sequence[Answer], kind: Asked) -> Pairs:
    own = [a for a in answers if kind_of(a) == kind]
    return Pairs(
        np.array([a.dataset for a in own]),
        np.array([f"{a.dataset}/{a.patient}" for a in own]),
        np.array([a.predicted_iou for a in own]),
        np.array([a.dsc / (2 - a.dsc) for a in own]),
    )


def fitted(kind: Asked, pairs: Pairs) -> IouMap:
    """The map of least cross-entropy; every dataset weighs the same."""
    sizes = {d: (pairs.dataset == d).sum() for d in np.unique(pairs.dataset)}
    weight = np.array([1 / sizes[d] for d in pairs.dataset])
    said = pairs.said.clip(1e-4, 1 - 1e-4)
    odds = np.log(said) - np.log1p(-said)

    def loss(values: NDArray[np.float64]) -> float:
        z = np.exp(values[0]) * odds + values[1]
        return float(weight @ (np.logaddexp(0, z) - pairs.true * z) / weight.sum())

    slope, shift = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return IouMap(kind, round(float(np.exp(slope)), 3), round(float(shift), 3))


def without_own_patient(kind: Asked, pairs: Pairs) -> NDArray[np.float64]:
    """What maps say of every mask that were fitted without its patient."""
    mapped = np.empty_like(pairs.said)
    for patient in np.unique(pairs.patient):
        own = pairs.patient == patient
        mapped[own] = fitted(kind, pairs.chosen(~own))(pairs.said[own])
    return mapped


def error(said: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Expected calibration error in bins of equal count."""
    order = np.argsort(said, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    off = (len(b) * abs(float(said[b].mean() - true[b].mean())) for b in bins)
    return sum(off) / len(order)


def floor_of(said: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """The error that so few masks would show of a score without any, by chance alone.

    The errors of single masks, less their means in the bins, are drawn anew around the score.
    """
    chance, order = np.random.default_rng(0), np.argsort(said, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    rest = np.concatenate([true[b] - true[b].mean() for b in bins])
    scores = np.concatenate([said[b] for b in bins])
    found = [error(scores, scores + chance.choice(rest, len(rest))) for _ in range(200)]
    return float(np.mean(found))


def flagged(said: NDArray[np.float64], true: NDArray[np.float64], low: float) -> tuple[str, str]:
    """Sensitivity and specificity for bad masks of a threshold."""
    bad = true < BAD
    shares = [(said < low)[bad].mean() if bad.any() else np.nan, (said >= low)[~bad].mean()]
    return f"{shares[0]:.2f}", f"{shares[1]:.2f}"


def ask(options: argparse.Namespace) -> list[Answer]:
    """Answers of the last model on the part that is fitted on; what is written already is kept."""
    path = options.output / "validation_rows.csv"
    collection = Collection(options.collection)
    samples = choose_validation(collection.of("validation"), options.images, 0)
    model_name = options.model[-1]
    if not path.exists():
        path.write_text(",".join(["model", *Answer._fields]) + "\n", encoding="utf-8")
    done = {a.sample for a in read(path, model_name)}
    missing = [s for s in samples if s.key not in done]
    if missing:
        models = list(predictors(options.model, options.engine).values())
        model, first = models[-1], models[0]
        assert one_encoder(first, model)
    with step_progress("images", len(missing)) as update:
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            kept = keep_embeddings(first, collection, batch, options.embeddings, lambda *_: None)
            answers: list[Answer] = []
            for seed in range(options.seeds):
                rounds = options.corrections if seed == 0 else 0
                found = validate(
                    *(model, collection, batch), corrections=rounds, seed=seed, kept=kept
                )
                answers += [a for a in found.answers if seed == 0 or a.prompt == "point"]
            with path.open("a", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerows([model_name, *a] for a in answers)
            update(start + len(batch), "")
    chosen = {s.key for s in samples}
    return [a for a in read(path, model_name) if a.sample in chosen]


def read(path: Path, model: str = "promptseg-lite") -> list[Answer]:
    """Rows of one model."""
    with path.open(encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r.pop("model") == model]
    return [
        Answer(
            **{k: r[k] for k in Answer._fields[:6]},
            step=int(r["step"]),
            dsc=float(r["dsc"]),
            predicted_iou=float(r["predicted_iou"]),
        )
        for r in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("collection", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", action="append", help="the last one is fitted")
    parser.add_argument("--measure", action="append", default=[], help="NAME=rows.csv")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--corrections", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="lone clicks on every object")
    parser.add_argument("--low", type=float, default=0.66, help="threshold of doubt")
    parser.add_argument("--embeddings", type=Path, default=Path("runs/embeddings"))
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    options.model = options.model or ["mobile-sam", "promptseg-lite"]
    set_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    answers = ask(options)
    measured = {"validation": answers}
    measured |= {n: read(Path(f)) for n, _, f in (m.partition("=") for m in options.measure)}
    print(
        "| part | prompt | masks | patients | error | mapped | by chance alone | flagged, raw |"
        " flagged, mapped |"
    )
    print("|---" * 9 + "|")
    maps: dict[Asked, IouMap] = {}
    verdicts = []
    for kind in KINDS:
        pairs = pairs_of(answers, kind)
        maps[kind] = fitted(kind, pairs)
        raw = error(pairs.said, pairs.true)
        crossed = error(without_own_patient(kind, pairs), pairs.true)
        pays = raw - crossed >= PAYS
        verdicts.append(
            f"{maps[kind]}: {raw:.4f} -> {crossed:.4f} without the own patient: "
            + ("kept" if pays else "not kept")
        )
    for name, each in measured.items():
        groups: dict[str, list[Answer]] = defaultdict(list)
        for a in each:
            groups[f"{a.prompt}+{a.step}" if a.step else a.prompt].append(a)
        for label, own in groups.items():
            kind = kind_of(own[0])
            pairs = pairs_of(own, kind)
            mapped = maps[kind](pairs.said).astype(np.float64)
            cells = [
                *(name, label, str(len(own)), str(len(np.unique(pairs.patient)))),
                *(f"{error(said, pairs.true):.3f}" for said in (pairs.said, mapped)),
                f"{floor_of(mapped, pairs.true):.3f}",
                *(" / ".join(flagged(s, pairs.true, options.low)) for s in (pairs.said, mapped)),
            ]
            print(f"| {' | '.join(cells)} |")
    print()
    print("\n".join(verdicts))


if __name__ == "__main__":
    main()
