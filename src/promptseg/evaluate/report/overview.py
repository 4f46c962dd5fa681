"""Tables that sum a run up: all tasks of a section, its modalities, its tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.blocks import Section, Task
from promptseg.evaluate.report.compare import Line, Test
from promptseg.evaluate.report.quantities import MAIN, QUANTITIES, Quantity
from promptseg.evaluate.report.tables import Table, marks_note, score, shown_steps, step_title
from promptseg.metrics.statistics import ranks, summarise

__all__ = ["headline", "modalities", "task_medians", "test_table"]

_DSC = QUANTITIES["dsc"]


def headline(lines: Sequence[Line], pooled: Sequence[Line]) -> Table:
    """Return the table at the head of the page: one row per section, shown step and model.

    Args:
        lines: of every task.
        pooled: of all tasks together.
    """
    body = []
    for section in dict.fromkeys(line.section for line in pooled):
        for step in shown_steps(pooled, section):
            of_step = [n for n in lines if n.section == section and n.step == step]
            for whole in pooled:
                if (whole.section, whole.step, whole.quantity) == (section, step, _DSC):
                    body.append(_headline_row(whole, of_step))
    head = ["Prompt", "Model", "Tasks", "Masks", "Without value", "Patients", "Mean DSC (95 %)"]
    head += [f"{q.label} of tasks" for q in MAIN] + ["Mean rank", "Tasks in first place"]
    caption = (
        "All tasks, in percent. Mean DSC: of all masks, with its bootstrap interval. Of tasks: median "
        "(quartiles) of the tasks' medians. Mean rank: on patients. First place: by the task's median "
        "DSC; ties share it."
    ) + marks_note(pooled)
    return Table(caption, head, body, words=2)


def _headline_row(whole: Line, lines: Sequence[Line]) -> list[str]:
    models, tasks, medians = task_medians(lines, _DSC)
    own = models.index(whole.model)
    medians = medians[:, ~np.isnan(medians).any(axis=0)]
    first = int((ranks(medians)[1][own] == 1).sum()) if len(models) > 1 and medians.size else None
    low, high = (score(v, _DSC) for v in whole.mean_interval)
    return [
        step_title(whole.section, whole.step),
        whole.model,
        f"{len(tasks)}",
        f"{whole.rows + whole.missing}",
        f"{whole.unvalued + whole.missing}",
        f"{whole.patients}",
        f"{score(whole.summary.mean, _DSC)} ({low}, {high}){whole.marks}",
        *(_spread(task_medians(lines, q)[2][own], q) for q in MAIN),
        f"{whole.ranking.mean_rank:.2f}" if whole.ranking else "",
        "" if first is None else f"{first}",
    ]


def task_medians(
    lines: Sequence[Line], quantity: Quantity
) -> tuple[list[str], list[Task], NDArray[np.float64]]:
    """Return models, tasks, and the (models, tasks) medians of one section and step."""
    models = list(dict.fromkeys(line.model for line in lines))
    tasks = list(dict.fromkeys(line.task for line in lines))
    medians = np.full((len(models), len(tasks)), np.nan)
    for line in lines:
        if line.quantity == quantity:
            medians[models.index(line.model), tasks.index(line.task)] = line.summary.median
    return models, tasks, medians


def _spread(values: NDArray[np.float64], quantity: Quantity) -> str:
    s = summarise(values)
    if not s.n:
        return "n/a"
    middle, low, high = (score(v, quantity) for v in (s.median, s.q1, s.q3))
    return f"{middle} ({low}, {high})"


def modalities(lines: Sequence[Line], section: Section, step: int) -> Table:
    """Return a table of the mean DSC of all masks and the median of tasks, per modality and model."""
    chosen = [n for n in lines if n.section == section and n.step == step and n.quantity == _DSC]
    models = list(dict.fromkeys(line.model for line in chosen))
    body = []
    for modality in dict.fromkeys(line.modality for line in chosen):
        here = [n for n in chosen if n.modality == modality]
        cells = [modality or "unknown", f"{len({n.task for n in here})}"]
        for model in models:
            own = [n for n in here if n.model == model and n.summary.n]
            n = sum(line.summary.n for line in own)
            mean = sum(line.summary.n * line.summary.mean for line in own) / n if n else math.nan
            medians = np.array([line.summary.median for line in own])
            cells += [score(mean, _DSC), score(summarise(medians).median, _DSC)]
        body.append(cells)
    head = [f"{what} {m}" for m in models for what in ("Mean DSC", "Median of tasks")]
    caption = f"{step_title(section, step)}: DSC by modality, in percent."
    return Table(caption, ["Modality", "Tasks", *head], body, words=1)


def test_table(lines: Sequence[Line], section: Section, step: int) -> Table:
    """Return a table of every signed-rank test of DSC and NSD: how many pairs, who is better, p."""
    body = []
    for line in lines:
        if line.section != section or line.step != step or line.quantity not in MAIN:
            continue
        baseline, best = line.against_baseline, line.against_best
        if baseline and best and baseline.other == best.other:
            best = None  # the same test once more
        for kind, test in (("baseline", baseline), ("best", best)):
            if test is not None:
                row = [*line.task, line.quantity.label, line.model, f"{kind} {test.other}"]
                body.append([*row, _verdict(test), f"{test.outcome.pairs}", _p(test)])
    caption = f"{step_title(section, step)}: Wilcoxon signed-rank tests, pairs are patients."
    head = ["Data set", "Target", "Metric", "Model", "Against", "Outcome", "Pairs", "p"]
    return Table(caption, head, body, words=6)


def _verdict(test: Test) -> str:
    if math.isnan(test.p):
        return f"n/a: {test.outcome.reason}"
    return "better" if test.better else "worse" if test.worse else "no difference shown"


def _p(test: Test) -> str:
    if math.isnan(test.p):
        return "n/a"
    return "< 0.0001" if test.p < 1e-4 else f"{test.p:.4f}"
