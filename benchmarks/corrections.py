"""DSC of volumes after 0 to 5 simulated corrections of one slice each, over PROMPTSEG_DATA.

Rule: every label is an object, started from the exact box of its middle slice. A simulated
annotator then looks for the slice with the most wrong voxels among those not settled yet and
corrects it: `box` gives the exact box of the label there (or clears the slice where there is none),
`brush` paints the label, `clicks` clicks the deepest missing and the deepest wrong pixel (models
that take clicks). The product spreads the correction.

    python benchmarks/corrections.py --how box -o benchmarks/results/2026-11-21_corrections_box.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from cases import VOLUMES, Case, cases, data_root
from numpy.typing import NDArray

from promptseg.formats.files import atomic_path
from promptseg.progress import step_progress
from promptseg.prompts import box_of_mask
from promptseg.segment.projection import deepest_point
from promptseg.segment.segmenter import Segmenter, load
from promptseg.segment.session import Session

ROUNDS = 5


class Row(NamedTuple):
    """One object after one round."""

    dataset: str
    case: str
    label: int
    how: str
    round: int
    slice: int
    dsc: float


def evaluate(segmenter: Segmenter, case: Case, how: str) -> Iterator[Row]:
    """Rows of one case."""
    session = Session(segmenter, case.image)
    shape = case.image.geometry.shape
    for label in case.chosen:
        truth = case.labels == label
        occupied = np.flatnonzero(truth.any(axis=(1, 2)))
        if len(occupied) < 3:
            continue
        at = int(occupied[len(occupied) // 2])
        name = session.new_object()
        segment = session.add_box(box_of_mask(truth[at]) or (), slice=at)
        settled = {at}
        for done in range(ROUNDS + 1):
            found = segment.mask(shape)
            score = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            yield Row(case.dataset, case.name, label, how, done, at, round(float(score), 4))
            wrong = (found ^ truth).sum(axis=(1, 2))
            wrong[sorted(settled)] = 0
            if done == ROUNDS or not wrong.any():
                break
            at = int(wrong.argmax())
            settled.add(at)
            segment = _correct(session, name, how, at, truth[at], found[at])


def _correct(
    session: Session,
    name: str,
    how: str,
    at: int,
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
) -> Any:
    box = box_of_mask(truth)
    if how == "brush" or box is None:
        return session.add_mask(truth, at, name)
    if how == "box":
        return session.add_box(box, at, name)
    segment = None
    for region, positive in ((truth & ~found, True), (found & ~truth, False)):
        if region.any():
            segment = session.add_point(deepest_point(region), positive, at, name)
    return segment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--how", choices=("box", "brush", "clicks"), default="box")
    parser.add_argument("--datasets", nargs="*", default=list(VOLUMES))
    parser.add_argument("--cases", type=int, help="only so many cases of each dataset")
    arguments = parser.parse_args()
    segmenter = load(arguments.model, quiet=False)
    rows: list[Row] = []
    with step_progress("datasets", len(arguments.datasets)) as update:
        for done, name in enumerate(arguments.datasets):
            update(done, name)
            for case in cases(name, data_root(), arguments.cases):
                rows += evaluate(segmenter, case, arguments.how)
            with atomic_path(arguments.output) as temporary, temporary.open("w") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(Row._fields)
                writer.writerows(rows)
    _summary(rows, arguments.datasets)


def _summary(rows: list[Row], names: list[str]) -> None:
    """A line per dataset, a column per number of corrections; an object without an error stays."""
    print("| dataset | objects | " + " | ".join(map(str, range(ROUNDS + 1))) + " |")
    print("|---|---|" + "---|" * (ROUNDS + 1))
    means = []
    for name in names:
        own: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            if row.dataset == name:
                own.setdefault((row.case, row.label), []).append(row.dsc)
        if not own:
            continue
        scores = [[s[min(k, len(s) - 1)] for s in own.values()] for k in range(ROUNDS + 1)]
        means.append([fmean(part) for part in scores])
        print(f"| {name} | {len(own)} | " + " | ".join(f"{m:.3f}" for m in means[-1]) + " |")
    overall = [fmean(column) for column in zip(*means, strict=True)]
    print("| mean of the datasets | | " + " | ".join(f"{m:.3f}" for m in overall) + " |")


if __name__ == "__main__":
    main()
