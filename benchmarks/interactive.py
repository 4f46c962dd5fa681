"""DSC and predicted IoU as a simulated user corrects a mask, over the real images of PROMPTSEG_DATA.

Rule: each object starts twice, from one click on its deepest point and from its exact box, and gets 8
rounds of corrections after each (`promptseg.simulate`): a click on the deepest point of the
missing region and one on that of the false region, the previous logits as mask prompt. A lone click is
answered by the best of three masks by the model's own score.

Objects and slices are those of `exact_box.py`, thinned: the first 5 cases of a dataset, at most 6
slices of a case (spread evenly from its first to its last) and at most 3 objects of a slice (the
largest, the middle one and the smallest). Intensity and preprocessing are the product's own.

The rows of a finished case are in the file at once and whole; a second run goes on from there.

    python benchmarks/interactive.py -o benchmarks/results/2026-11-21_interactive_mobile-sam.csv
    python benchmarks/interactive.py --model lite-medsam --start box --rounds 0 \
        -o benchmarks/results/2026-11-21_interactive_lite-medsam.csv
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, TypeVar, get_type_hints

import numpy as np
from cases import Case, SliceObjects, cases, data_root, datasets, objects_by_slice
from exact_box import dsc
from numpy.typing import NDArray

from promptseg.formats.files import atomic_path
from promptseg.inference.predictor import Predictor
from promptseg.intensity import choose_intensity
from promptseg.progress import step_progress
from promptseg.prompts import box_of_mask
from promptseg.runtime import set_threads
from promptseg.simulate import FirstPrompt, first_click, interactive_rounds

CASES, SLICES, OBJECTS = 5, 6, 3
Start = Literal["point", "box"]
_STARTS: dict[str, tuple[Start, ...]] = {
    "both": ("point", "box"),
    "point": ("point",),
    "box": ("box",),
}
_SHOWN_ROUNDS = (0, 1, 8)

T = TypeVar("T")


class Row(NamedTuple):
    """One object on one slice after one round."""

    model: str
    dataset: str
    case: str
    label: int
    slice: int
    start: str
    round: int
    dsc: float
    predicted_iou: float


def thinned(case: Case) -> Iterator[SliceObjects]:
    """The slices and objects of a case that are left of the rule of `exact_box.py`."""
    for index, objects in spread(objects_by_slice(case), SLICES):
        by_size = sorted(objects, key=lambda entry: (-int(entry[1].sum()), entry[0]))
        yield index, spread(by_size, OBJECTS)


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[k] for k in np.linspace(0, len(items) - 1, count).round().astype(int)]


def evaluate(
    predictor: Predictor, case: Case, starts: Sequence[Start] = ("point", "box"), rounds: int = 8
) -> Iterator[Row]:
    """Rows of one case."""
    intensity = choose_intensity(case.image, keep_8bit=predictor.card.keep_8bit)
    for index, objects in thinned(case):
        pixels = np.ascontiguousarray(intensity.apply(case.image.slice(index)))
        embedding = predictor.encode([pixels])[0]
        for label, truth in objects:
            for start in starts:
                found = interactive_rounds(predictor, embedding, truth, first(start, truth), rounds)
                for number, (mask, iou) in enumerate(found):
                    yield Row(
                        *(predictor.card.name, case.dataset, case.name, label, index),
                        *(start, number, round(dsc(truth, mask), 4), round(iou, 4)),
                    )


def first(start: Start, truth: NDArray[np.bool_]) -> FirstPrompt:
    """The exact box of an object, or a click on its deepest point."""
    if start == "box":
        return FirstPrompt(box=box_of_mask(truth))
    return FirstPrompt(clicks=(first_click(truth),))


def read_rows(path: Path) -> list[Row]:
    """The rows of a result file; none if there is no such file."""
    if not path.exists():
        return []
    kinds = get_type_hints(Row)
    with path.open(newline="") as stream:
        return [
            Row(**{name: kinds[name](text) for name, text in line.items()})
            for line in csv.DictReader(stream)
        ]


def write_rows(rows: list[Row], path: Path) -> None:
    """Write a result file at once, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(rows)


def check_same_work(rows: list[Row], model: str, starts: Sequence[Start], rounds: int) -> None:
    """Check that the rows to go on from are of the same work.

    Raises:
        SystemExit: they are of another model, or have other starts or rounds.
    """
    wanted = {(model, start, number) for start in starts for number in range(rounds + 1)}
    found = {(row.model, row.start, row.round) for row in rows}
    if found and found != wanted:
        raise SystemExit(
            "expected rows of the same model, starts and rounds in the output, got others; "
            "name another file"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", default="mobile-sam")
    parser.add_argument("--start", choices=_STARTS, default="both")
    parser.add_argument("--rounds", type=int, default=8, help="corrections after the first prompt")
    parser.add_argument("--datasets", nargs="*", help="only these")
    parser.add_argument("--cases", type=int, default=CASES, help="of each dataset")
    arguments = parser.parse_args()
    set_threads()
    root = data_root()
    names = arguments.datasets or [*datasets("picture", root), *datasets("volume", root)]
    starts = _STARTS[arguments.start]
    rows = read_rows(arguments.output)
    predictor = Predictor.load(arguments.model, quiet=False)
    check_same_work(rows, predictor.card.name, starts, arguments.rounds)
    finished = {(row.dataset, row.case) for row in rows}
    with step_progress("datasets", len(names)) as update:
        for done, name in enumerate(names):
            for case in cases(name, root, arguments.cases):
                update(done, f"{name} {case.name}")
                if (name, case.name) not in finished:
                    rows += evaluate(predictor, case, starts, arguments.rounds)
                    write_rows(rows, arguments.output)
    print(summary(rows, names))


def summary(rows: list[Row], names: Sequence[str]) -> str:
    """A Markdown table: a line per dataset, a column per start and shown round, the mean of means."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    columns: list[str] = []
    for start in ("point", "box"):
        first = "click" if start == "point" else "box"
        for number in _SHOWN_ROUNDS:
            column = f"{first} + {number}" if number else first
            of_column = [r for r in rows if (r.start, r.round) == (start, number)]
            columns += [column] if of_column else []
            for row in of_column:
                scores[row.dataset][column].append(row.dsc)
    present = [name for name in names if name in scores]
    lines = ["| dataset | objects | " + " | ".join(columns) + " |"]
    lines.append("|---|---|" + "---|" * len(columns))
    means: dict[str, list[float]] = defaultdict(list)
    for name in present:
        for column in columns:
            means[column].append(fmean(scores[name][column]))
        cells = " | ".join(f"{means[column][-1]:.3f}" for column in columns)
        lines.append(f"| {name} | {len(scores[name][columns[0]])} | {cells} |")
    cells = " | ".join(f"{fmean(means[column]):.3f}" for column in columns)
    total = sum(len(scores[name][columns[0]]) for name in present)
    lines.append(f"| mean of {len(present)} datasets | {total} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
