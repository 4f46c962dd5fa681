"""Evaluations that differ in their seed alone: means of the means, and how far apart they lie.

MedicoSAM (Fig. 6a) runs every interactive evaluation five times and shows the standard deviation
between the runs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path, write_csv
from promptseg.metrics.statistics import Spread, spread
from promptseg.names import for_markdown, from_csv

__all__ = ["SEED_FILES", "write_seeds"]

SEED_FILES = ("seeds.csv", "seeds.md")
"""What is written about all seeds."""

_METRICS = ("dsc", "nsd")
_COLUMNS = ("seeds", "n", "mean", "deviation", "low", "high")


class _Task(NamedTuple):
    """A task as summary.csv names it: a line of it without its numbers."""

    protocol: str
    prompt: str
    setting: str
    step: str
    dataset: str
    target: str
    modality: str
    metric: str
    model: str


def write_seeds(folder: Path, runs: Mapping[int, Path]) -> list[str]:
    """Write seeds.csv, a line per task, metric and model, and seeds.md.

    Args:
        folder: they go to.
        runs: folder of each finished evaluation by its seed.

    Returns:
        DSC and NSD over all tasks, at the first and the last step, in lines.

    Raises:
        InputError: an evaluation without summary.csv.
        OutputError: the folder cannot be written.
    """
    means: dict[_Task, list[float]] = {}
    masks: dict[_Task, str] = {}
    for run in runs.values():
        for task, mean, n in _lines(run / "summary.csv"):
            means.setdefault(task, []).append(mean)
            masks[task] = n
    found = {task: spread(np.array(each)) for task, each in means.items()}
    rows = [
        [*task, str(each.n), masks[task], *(_cell(value) for value in each[1:])]
        for task, each in found.items()
    ]
    write_csv(folder / SEED_FILES[0], (*_Task._fields, *_COLUMNS), rows)
    steps = {task.step for task in found}
    ends = {min(steps, key=int), max(steps, key=int)} if steps else set()
    shown = {k: v for k, v in found.items() if k.metric in _METRICS and k.step in ends}
    with atomic_path(folder / SEED_FILES[1]) as path:
        path.write_text("\n\n".join(_page(shown, list(runs))) + "\n", encoding="utf-8")
    return [
        f"{_named(task)}: mean {task.metric.upper()} {each} over {each.n} seeds"
        for task, each in shown.items()
        if (task.dataset, task.target) == ("all", "all")
    ]


def _lines(path: Path) -> Iterator[tuple[_Task, float, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                task = _Task(*(from_csv(row[name]) for name in _Task._fields))
                yield task, float(row["mean"] or "nan"), row["n"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError("the summary of an evaluation", f"{path} ({error})") from None


def _page(found: Mapping[_Task, Spread], seeds: list[int]) -> Iterator[str]:
    yield f"# {len(seeds)} evaluations that differ in their seed"
    head = ("protocol", "prompt", "step", "data set", "target", "model", "DSC", "NSD")
    lines = [head, ("---",) * len(head)]
    for task, each in found.items():
        if task.metric == "dsc":
            where = (task.protocol, f"{task.prompt} {task.setting}".strip(), task.step)
            other = found.get(task._replace(metric="nsd"), "-")
            names = (*where, task.dataset, task.target, task.model)
            lines.append((*map(for_markdown, names), str(each), str(other)))
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    yield (
        "Means of the evaluations' means on the same masks; ± is the standard deviation between "
        "evaluations (n - 1): what the chance of clicks and jittered boxes does. Exact boxes and "
        "classes hang on no chance. Intervals over patients are in the report of each evaluation."
    )
    yield "\n".join(f"- [seed {seed}](seed-{seed}/report.html)" for seed in seeds)


def _named(task: _Task) -> str:
    words = (task.model, task.protocol, task.prompt, task.setting)
    return " ".join(filter(None, words)) + (f" step {task.step}" if task.step != "0" else "")


def _cell(value: float) -> str:
    return str(value) if math.isinf(value) else "" if math.isnan(value) else f"{value:.6g}"
