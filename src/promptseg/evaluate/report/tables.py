"""Tables as files: summary.csv with every number, and the printed tables as CSV and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from promptseg.evaluate.report.blocks import Section, Task
from promptseg.evaluate.report.compare import BETTER, LEVEL, WORSE, Line, Test
from promptseg.evaluate.report.latex import latex_table
from promptseg.evaluate.report.quantities import MAIN, Quantity
from promptseg.formats.files import atomic_path, write_csv

__all__ = [
    "Table",
    "cell",
    "marks_note",
    "number",
    "score",
    "shown_steps",
    "slug",
    "step_title",
    "task_table",
    "write_summary",
    "write_table",
]

_TEST = ("model", "pairs", "p", "note")
SUMMARY_COLUMNS = (
    *("protocol", "prompt", "setting", "step", "dataset", "target", "modality", "metric", "model"),
    *("rows", "missing", "unvalued", "n", "patients"),
    *("mean", "mean_low", "mean_high", "median", "median_low", "median_high", "q1", "q3"),
    *("min", "max", "marks"),
    *(f"baseline_{name}" for name in _TEST),
    *(f"best_{name}" for name in _TEST),
    *("ranked_patients", "mean_rank", "first", "second", "third"),
)


class Table:
    """A table for people: text cells under headings.

    Attributes:
        caption: what it shows, with the meaning of its marks.
        head: names of the columns.
        body: rows of as many cells.
        words: how many columns on the left hold words; the others hold numbers.
    """

    def __init__(
        self, caption: str, head: Sequence[str], body: Iterable[Sequence[str]], words: int
    ) -> None:
        self.caption, self.head, self.words = caption, list(head), words
        self.body = [list(row) for row in body]


def number(value: float) -> str:
    """Format a number with six significant digits; `nan` and `inf` as they are."""
    return f"{value:.6g}"


def score(value: float, quantity: Quantity) -> str:
    """Format for people: percent with one digit for shares, else three significant digits."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "\u221e" if value > 0 else "-\u221e"
    return f"{100 * value:.1f}" if quantity.share else f"{value:.3g}"


def cell(line: Line) -> str:
    """Format a cell, `87.9 (86.6, 91.9)*`: median, quartiles, marks, and how many masks are missing."""
    s = line.summary
    if not s.n:
        return "n/a" + _absent(line)
    values = [score(v, line.quantity) for v in (s.median, s.q1, s.q3)]
    return f"{values[0]} ({values[1]}, {values[2]}){line.marks}{_absent(line)}"


def _absent(line: Line) -> str:
    absent = line.missing + line.unvalued
    return f" [{absent} of {line.rows + line.missing} without value]" if absent else ""


def shown_steps(lines: Sequence[Line], section: Section) -> list[int]:
    """Return the first and the last step of a section."""
    steps = {line.step for line in lines if line.section == section}
    return sorted({min(steps), max(steps)})


def marks_note(lines: Sequence[Line]) -> str:
    """Return a sentence that says what the marks of these lines mean; empty where nothing is
    compared.
    """
    baselines = [line.against_baseline.other for line in lines if line.against_baseline]
    if not baselines:
        return ""
    return (
        f" {BETTER} better than {baselines[0]}, {WORSE} worse than the best model "
        f"(Wilcoxon signed-rank test on patients, p < {LEVEL})."
    )


def step_title(section: Section, step: int) -> str:
    """Return a title such as `interactive-2d, box+corrections, after 8 corrections`."""
    return section.title + (f", after {step} corrections" if step else "")


def task_table(lines: Sequence[Line], section: Section, step: int) -> Table:
    """Return a table of DSC and NSD per task and model: median and quartiles, as MedSAM prints them."""
    chosen = [n for n in lines if n.section == section and n.step == step]
    models = list(dict.fromkeys(line.model for line in chosen))
    cells: dict[tuple[Task, str, str], Line] = {
        (n.task, n.quantity.name, n.model): n for n in chosen
    }
    body = []
    for task in dict.fromkeys(line.task for line in chosen):
        lines_here = [cells[task, q.name, m] for q in MAIN for m in models]
        masks = max(n.rows + n.missing for n in lines_here)
        patients = max(n.patients for n in lines_here)
        counts = [f"{masks}", f"{patients}"]
        body.append([*task, lines_here[0].modality, *counts, *map(cell, lines_here)])
    head = [f"{q.label} {m}" if len(models) > 1 else q.label for q in MAIN for m in models]
    caption = f"{step_title(section, step)}: median (first quartile, third quartile) in percent."
    caption += marks_note(chosen)
    return Table(caption, ["Data set", "Target", "Modality", "Masks", "Patients", *head], body, 3)


def slug(text: str) -> str:
    """Convert a text to a name for a file."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-").lower() or "table"


def write_summary(path: Path, lines: Sequence[Line]) -> None:
    """Write every line with every number.

    Raises:
        OutputError: it cannot be written.
    """
    write_csv(path, SUMMARY_COLUMNS, map(_summary_row, lines))


def write_table(folder: Path, name: str, table: Table) -> None:
    """Write a table as CSV and as LaTeX (packages booktabs, longtable).

    Raises:
        OutputError: they cannot be written.
    """
    write_csv(folder / f"{name}.csv", table.head, table.body)
    with atomic_path(folder / f"{name}.tex") as path:
        path.write_text(
            latex_table(table.caption, table.head, table.body, table.words), encoding="utf-8"
        )


def _summary_row(line: Line) -> list[str]:
    s, mean, median, rank = line.summary, line.mean_interval, line.median_interval, line.ranking
    counts = (line.rows, line.missing, line.unvalued, s.n, line.patients)
    values = (s.mean, *mean, s.median, *median, s.q1, s.q3, s.low, s.high)
    return [
        *line.section,
        str(line.step),
        *line.task,
        *(line.modality, line.quantity.name, line.model),
        *map(str, counts),
        *map(number, values),
        line.marks,
        *_test_cells(line.against_baseline),
        *_test_cells(line.against_best),
        *([str(rank[0]), *map(number, rank[1:])] if rank else [""] * 5),
    ]


def _test_cells(test: Test | None) -> list[str]:
    if test is None:
        return [""] * len(_TEST)
    p = "n/a" if math.isnan(test.p) else number(test.p)
    return [test.other, str(test.outcome.pairs), p, test.outcome.reason]
