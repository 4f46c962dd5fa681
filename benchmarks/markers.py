"""MedSAM's annotation study with simulated markers, over the volumes of PROMPTSEG_DATA.

Long and short axis lines are drawn from every expert label on every 3rd, 5th and 10th slice, from
the first to the last; they become rectangles, interpolated over the slices, boxes and masks
(MedSAM, Methods, "Human annotation study"). DSC is over the whole volume. `decode_s` is the time
for all slices of the object once they are encoded, `encode_s` the time to encode them.

    python benchmarks/markers.py -o benchmarks/results/2026-11-21_markers.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from cases import VOLUMES, Case, cases, data_root

from promptseg.formats.files import atomic_path
from promptseg.progress import step_progress
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter, load
from promptseg.simulate.markers import markers_of_labels

EVERY = (3, 5, 10)


class Row(NamedTuple):
    """One object under one distance of markers."""

    dataset: str
    case: str
    label: int
    every: int
    markers: int
    slices: int
    dsc: float
    encode_s: float
    decode_s: float


def evaluate(segmenter: Segmenter, case: Case) -> Iterator[Row]:
    """Rows of one case."""
    spacing = case.image.geometry.spacing
    pixel = (float(spacing[0]), float(spacing[1]))
    options = SegmentOptions(propagate="none")
    for label in case.chosen:
        truth = case.labels == label
        for every in EVERY:
            markers = list(markers_of_labels(truth, every, "object", pixel))
            if len(markers) < 2:
                continue
            encode_s = 0.0
            if every == EVERY[0]:  # the same slices at every distance
                clock = time.perf_counter()
                segmenter.segment(case.image, *markers, options=options)
                first_s = time.perf_counter() - clock
            clock = time.perf_counter()
            result = segmenter.segment(case.image, *markers, options=options)
            decode_s = time.perf_counter() - clock
            if every == EVERY[0]:
                encode_s = max(first_s - decode_s, 0.0)
            found = result["object"]
            score = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            slices = int(truth.any(axis=(1, 2)).sum())
            yield Row(
                *(case.dataset, case.name, label, every, len(markers), slices),
                *(round(float(score), 4), round(encode_s, 2), round(decode_s, 2)),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--datasets", nargs="*", default=list(VOLUMES))
    parser.add_argument("--cases", type=int, help="only so many cases of each dataset")
    arguments = parser.parse_args()
    segmenter = load(arguments.model, quiet=False)
    rows: list[Row] = []
    with step_progress("datasets", len(arguments.datasets)) as update:
        for done, name in enumerate(arguments.datasets):
            update(done, name)
            for case in cases(name, data_root(), arguments.cases):
                rows += evaluate(segmenter, case)
            with atomic_path(arguments.output) as temporary, temporary.open("w") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(Row._fields)
                writer.writerows(rows)
    _summary(rows, arguments.datasets)


def _summary(rows: list[Row], names: list[str]) -> None:
    print("| dataset | objects | " + " | ".join(f"every {n}" for n in EVERY) + " | encoding, s |")
    print("|---|---|" + "---|" * (len(EVERY) + 1))
    for name in names:
        own = [r for r in rows if r.dataset == name]
        if not own:
            continue
        by = [[r for r in own if r.every == n] for n in EVERY]
        cells = [
            f"{fmean(r.dsc for r in part):.3f} ({fmean(r.decode_s for r in part):.1f} s)"
            for part in by
        ]
        encoding = fmean(r.encode_s for r in by[0])
        print(f"| {name} | {len(by[0])} | " + " | ".join(cells) + f" | {encoding:.1f} |")
    means = [
        fmean(fmean(r.dsc for r in rows if (r.dataset, r.every) == (name, n)) for name in names)
        for n in EVERY
    ]
    print("| mean of the datasets | | " + " | ".join(f"{m:.3f}" for m in means) + " | |")


if __name__ == "__main__":
    main()
