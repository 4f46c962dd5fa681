"""Clips of all volumes of PROMPTSEG_DATA to train a memory on, and the split of their patients.

    python benchmarks/volume_clips.py -o data/volume-clips --other data/clips

For what a memory learns of as many kinds of volumes as there are: weights that come of it are measured,
and not published, as not every licence allows it. From the middle of what is labelled there is a clip
over either end, of up to 12 slices with all labels and the body around them (recipes/memory/clips.py);
a volume of up to 16 slices is one clip. `--other` adds clips of sarcoma that recipes/memory/clips.py
made. The folder holds split.csv, the part of every volume, and splits.csv for `promptseg curate`.

A patient is in one part alone. Whom PROMPTSEG_POOL's split.csv has stays there, as promptseg-lite was
trained on its training part. Of other datasets with three patients and more a quarter is for testing, a
sixth for validation, by the order of a hash; of smaller ones `UNSEEN` are for testing, and all others
for training.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cases import Case, cases, datasets, modality_of
from numpy.typing import NDArray

from promptseg.intensity import choose_intensity

sys.path.append(str(Path(__file__).resolve().parents[1] / "recipes" / "memory"))
from clips import VOLUMES as SARCOMA
from clips import Clip, body, write

UNSEEN = ("mr__sct_spinal_cord", "pet__qin_headneck_seg")
WHOLE, LONGEST, BEYOND = 16, 12, 3  # slices: of a volume that is one clip; of others; after an end
_LABELS = 12  # of a volume, the largest


class Part(NamedTuple):
    """Where a volume belongs to; a row of split.csv."""

    dataset: str
    case: str
    patient: str
    part: str


def patient_of(dataset: str, case: str) -> str:
    """The patient of a case: frames of a heart and lesions of one scan have one patient."""
    if "ibsi_sts" in dataset:
        return f"IBSI_{case}"
    if lesion := re.match(r"CT_Lesion_(\d+)_", case):
        return lesion[1]
    return re.sub(r"_E[DS]$", "", case)


def split(names: Sequence[tuple[str, str]], known: dict[str, str]) -> list[Part]:
    """The part of every (dataset, case); `known` patients have theirs already."""
    patients: dict[str, set[str]] = {}
    for dataset, case in names:
        patients.setdefault(dataset, set()).add(patient_of(dataset, case))
    parts = {}
    for dataset, some in patients.items():
        order = sorted(some - set(known), key=lambda p: sha256(f"{dataset}/{p}".encode()).digest())
        test = round(len(order) / 4) if len(order) > 2 else 0
        validation = test + (len(order) // 6 if len(order) > 2 else 0)
        for k, patient in enumerate(order):
            part = "test" if k < test else "validation" if k < validation else "train"
            parts[dataset, patient] = "test" if dataset in UNSEEN else part
        parts |= {(dataset, patient): known[patient] for patient in some & set(known)}
    found = ((dataset, case, patient_of(dataset, case)) for dataset, case in names)
    return [Part(d, case, patient, parts[d, patient]) for d, case, patient in found]


def clips_of(case: Case) -> Iterator[tuple[str, Clip]]:
    """(name, frames and masks) of the clips of a volume."""
    sizes = Counter(case.labels[case.labels > 0].tolist())
    chosen = [label for label, _ in sizes.most_common(_LABELS)]
    labels = np.where(np.isin(case.labels, chosen), case.labels, 0).astype(np.uint8)
    around = max(case.chosen) + 1
    count = len(labels)
    there = np.flatnonzero(labels.any(axis=(1, 2)))
    middle = int(there[len(there) // 2])
    high, low = min(count - 1, int(there[-1]) + BEYOND), max(0, int(there[0]) - BEYOND)
    ways = {"whole": range(count)}
    if count > WHOLE:
        ways = {
            "up": range(middle, high + 1, ceil((high + 1 - middle) / LONGEST)),
            "down": range(middle, low - 1, -ceil((middle + 1 - low) / LONGEST)),
        }
    intensity = choose_intensity(case.image)
    for name, way in ways.items():
        shown = [intensity.apply(case.image.slice(k)) for k in way]
        masks: list[NDArray[np.uint8]] = []
        for k, picture in zip(way, shown, strict=True):
            rest = (labels[k] == 0) & body(picture)
            masks.append(np.where(rest, around, labels[k]).astype(np.uint8))
        yield name, (shown, masks)


def main(words: Sequence[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--other", type=Path, help="clips of recipes/memory/clips.py")
    arguments = parser.parse_args(words)
    with Path(os.environ["PROMPTSEG_POOL"], "split.csv").open(newline="") as stream:
        known = {row["patient"]: row["part"] for row in csv.DictReader(stream)}
    names = [(d, case.name) for d in datasets("volume") for case in cases(d) if case.chosen]
    found = split(names, known)
    arguments.output.mkdir(parents=True)
    _table(arguments.output / "split.csv", Part._fields, found)
    parts = {(one.dataset, one.case): one.part for one in found}
    rows = [] if arguments.other is None else list(_taken_over(arguments.other, arguments.output))
    for dataset in sorted({d for d, _ in names} - set(SARCOMA)):
        folder = arguments.output / dataset
        for case in cases(dataset):
            part = parts.get((dataset, case.name), "test")
            if part == "test":
                continue
            for way, clip in clips_of(case):
                name = f"{case.name}_{way}"
                write(folder / name, clip)
                rows.append((dataset, name, part))
        if folder.is_dir():
            described = {"name": dataset, "modality": modality_of(dataset), "licence": "mixed"}
            (folder / "dataset.json").write_text(json.dumps(described))
    _table(arguments.output / "splits.csv", ("dataset", "case", "part"), rows)


def _taken_over(clips: Path, output: Path) -> Iterator[tuple[str, str, str]]:
    """Copy the clips of sarcoma; their parts are the pool's."""
    with (clips / "splits.csv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["dataset"].startswith("volumes_")]
    for dataset in sorted({row["dataset"] for row in rows}):
        shutil.copytree(clips / dataset, output / dataset)
    yield from ((row["dataset"], row["case"], row["part"]) for row in rows)


def _table(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
