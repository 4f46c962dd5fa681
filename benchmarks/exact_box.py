"""DSC of a model with the exact box of every expert label, over the real images of PROMPTSEG_DATA.

Rule: pictures: every label id of a mask as one object, or the 5 largest objects where instance masks
exist; volumes: per label the slices (array axis z) with more than 20 pixels, every max(1, n // 8)-th of
them. The box is the smallest and largest pixel index, both inside. A mask that is empty where the label
is not counts 0. Intensity and preprocessing are the product's own.

    python benchmarks/exact_box.py -o benchmarks/results/2026-11-21_exact_box.csv \
        --reference ../shared/reference/litemedsam_reference.csv

With `--engine` and the float32 rows as reference it says what an engine changes:

    python benchmarks/exact_box.py --engine openvino-bf16 \
        -o benchmarks/results/2026-11-21_exact_box_openvino-bf16.csv \
        --reference benchmarks/results/2026-11-21_exact_box.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from cases import Case, cases, data_root, datasets, objects_by_slice
from numpy.typing import NDArray

from promptseg.inference.predictor import Predictor
from promptseg.intensity import choose_intensity
from promptseg.progress import step_progress
from promptseg.prompts import box_of_mask


class Row(NamedTuple):
    """One object on one slice."""

    dataset: str
    case: str
    label: int
    slice: int
    dsc: float
    area: int


def dsc(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient of a non-empty truth."""
    return float(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def evaluate(predictor: Predictor, case: Case, clip: bool = False, every: int = 1) -> Iterator[Row]:
    """Rows of one case.

    Args:
        predictor: the model.
        case: image and labels.
        clip: clip 8-bit pictures that the model's card would leave alone.
        every: of the slices of the rule, take each `every`-th alone.
    """
    keep = predictor.card.keep_8bit and not clip
    intensity = choose_intensity(case.image, keep_8bit=keep)
    for index, objects in objects_by_slice(case)[::every]:
        pixels = np.ascontiguousarray(intensity.apply(case.image.slice(index)))
        embedding = predictor.encode([pixels])[0]
        found = predictor.decode(embedding, boxes=[box_of_mask(mask) for _, mask in objects])
        for (label, mask), prediction in zip(objects, found.masks, strict=True):
            score = dsc(mask, prediction)
            yield Row(case.dataset, case.name, label, index, round(score, 4), int(mask.sum()))


def read_reference(path: Path) -> dict[str, dict[tuple[str, int, int], float]]:
    """Reference DSC by dataset and (case, label, slice)."""
    table: dict[str, dict[tuple[str, int, int], float]] = defaultdict(dict)
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            key = (row["case"], int(row["label"]), int(row["slice"]))
            table[row["dataset"]][key] = float(row["dsc"])
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--engine", default="eager", help="what executes the model")
    parser.add_argument("--reference", type=Path, help="CSV of reference rows to compare with")
    parser.add_argument("--datasets", nargs="*", help="only these")
    parser.add_argument("--cases", type=int, help="only so many cases of each dataset")
    parser.add_argument("--clip", action="store_true", help="clip 8-bit pictures by percentiles")
    arguments = parser.parse_args()
    root = data_root()
    names = arguments.datasets or [*datasets("picture", root), *datasets("volume", root)]
    predictor = Predictor.load(arguments.model, quiet=False, engine=arguments.engine)
    rows: list[Row] = []
    with step_progress("datasets", len(names)) as update:
        for done, name in enumerate(names):
            update(done, name)
            for case in cases(name, root, arguments.cases):
                rows += evaluate(predictor, case, arguments.clip)
            _write(rows, arguments.output)
    reference = read_reference(arguments.reference) if arguments.reference else {}
    return _summary(rows, reference, names)


def _write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def _summary(
    rows: list[Row], reference: dict[str, dict[tuple[str, int, int], float]], names: list[str]
) -> int:
    """Print a table; 1 if a dataset lies more than 0.003 below the reference."""
    worse, changes = 0, []
    print("| dataset | objects or slices | mean DSC | median | reference mean | difference |")
    print("|---|---|---|---|---|---|")
    for name in names:
        own = [r for r in rows if r.dataset == name]
        scores = [r.dsc for r in own]
        line = f"| {name} | {len(own)} | {fmean(scores):.4f} | {median(scores):.4f} |"
        known = [reference.get(name, {}).get((r.case, r.label, r.slice)) for r in own]
        if all(k is not None for k in known):
            mean = fmean(k for k in known if k is not None)
            worse += fmean(scores) < mean - 0.003
            line += f" {mean:.4f} | {fmean(scores) - mean:+.4f} |"
            changes.append(fmean(scores) - mean)
        else:
            line += " | |"
        print(line)
    if changes:
        worst = max(changes, key=abs)
        print(f"\nmean difference {fmean(changes):+.4f}, largest {worst:+.4f}")
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
