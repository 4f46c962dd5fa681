"""Comparisons of the models on every task: their distributions, tests between them, ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.evaluate.report.blocks import ALL, Block, Section, Task, arrange, pool
from promptseg.evaluate.report.quantities import QUANTITIES, Quantity
from promptseg.evaluate.report.results import Results
from promptseg.metrics import statistics

__all__ = ["BETTER", "LEVEL", "WORSE", "Line", "Ranking", "Test", "baseline_of", "compare"]

BETTER, WORSE = "*", "\u2020"
LEVEL = 0.05


class Test(NamedTuple):
    """A paired test of a model against another one; pairs are patients.

    Attributes:
        other: the other model.
        outcome: of the signed-rank test; its balance is above 0.5 where this model is better.
        p: what is compared with 0.05: the test's own p value or Holm's.
    """

    other: str
    outcome: statistics.SignedRank
    p: float

    @property
    def better(self) -> bool:
        """Tell whether this model is significantly better."""
        return self.p < LEVEL and self.outcome.balance > 0.5

    @property
    def worse(self) -> bool:
        """Tell whether this model is significantly worse."""
        return self.p < LEVEL and self.outcome.balance < 0.5


class Ranking(NamedTuple):
    """The rank of a model among all models of the section.

    Attributes:
        patients: that every model has a value for.
        mean_rank: 1 is best; ties share their mean rank.
        first, second, third: share of patients on which the model takes that place; ties share the
            better one.
    """

    patients: int
    mean_rank: float
    first: float
    second: float
    third: float


@dataclass(frozen=True)
class Line:
    """One quantity of one model on one task at one step.

    Attributes:
        rows: scored masks of the model.
        unvalued: of them, how many have no value (NaN or empty): in no mean, median or test.
        missing: masks another model of the section has a row for, and this one has not.
        patients: that the values come from.
        summary: of the values, masks counting alike.
        mean_interval, median_interval: bootstrap intervals, patients resampled.
        against_baseline, against_best: None for the baseline or the best model itself.
    """

    section: Section
    task: Task
    modality: str
    step: int
    model: str
    quantity: Quantity
    rows: int
    unvalued: int
    missing: int
    patients: int
    summary: statistics.Summary
    mean_interval: statistics.Interval
    median_interval: statistics.Interval
    against_baseline: Test | None
    against_best: Test | None
    ranking: Ranking | None

    @property
    def marks(self) -> str:
        """Return the papers' marks: `*` better than the baseline, a dagger worse than the best
        model.
        """
        better = self.against_baseline is not None and self.against_baseline.better
        worse = self.against_best is not None and self.against_best.worse
        return BETTER * better + WORSE * worse


def baseline_of(results: Results, wanted: str | None) -> str:
    """Return the model that others are compared with: the named one, else the first of the run.

    Raises:
        InputError: no such model in the results.
    """
    if wanted is None:
        return results.models[0]
    if wanted not in results.models:
        raise InputError(
            f"a baseline among {', '.join(results.models)}", wanted, "name one of these models"
        )
    return wanted


def compare(
    results: Results, baseline: str, holm: bool = False, resamples: int = 1000, seed: int = 0
) -> list[Line]:
    """Return every line of the summary, by section, task, step, quantity and model; last, all tasks
    together.

    Args:
        results: of an evaluation.
        baseline: name of the model that others are compared with.
        holm: adjust p values for the number of tests of a kind in a table (section, step, quantity);
            those of all tasks together are a table of their own.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    blocks = list(arrange(results))
    together: dict[tuple[Section, int], list[Block]] = {}
    for block in blocks:
        together.setdefault((block.section, block.step), []).append(block)
    lines = [
        line
        for block in [*blocks, *map(pool, together.values())]
        for quantity in QUANTITIES.values()
        for line in _lines(block, quantity, baseline, resamples, seed)
    ]
    return _adjusted(lines) if holm else lines


def _lines(
    block: Block, quantity: Quantity, baseline: str, resamples: int, seed: int
) -> list[Line]:
    values = block.values(quantity)
    summaries = [statistics.summarise(row) for row in values]
    worth = quantity.worth(values)
    best = _best(block.models, worth)
    rankings = _rankings(worth, block.patients)
    lines = []
    for i, model in enumerate(block.models):
        valued = ~np.isnan(values[i])
        mean, median = statistics.bootstrap(values[i], block.patients, resamples, seed)
        lines.append(
            Line(
                block.section,
                block.task,
                block.modality,
                block.step,
                model,
                quantity,
                rows=int(block.present[i].sum()),
                unvalued=int((block.present[i] & ~valued).sum()),
                missing=int((~block.present[i]).sum()),
                patients=len(np.unique(block.patients[valued])),
                summary=summaries[i],
                mean_interval=mean,
                median_interval=median,
                against_baseline=_test(block, worth, model, baseline),
                against_best=_test(block, worth, model, best),
                ranking=rankings[i] if rankings else None,
            )
        )
    return lines


def _best(models: list[str], worth: NDArray[np.float64]) -> str:
    """The model with the best median; the first of several."""
    medians = [statistics.summarise(row).median for row in worth]
    return max(
        zip(models, medians, strict=True),
        key=lambda pair: -math.inf if math.isnan(pair[1]) else pair[1],
    )[0]


def _test(block: Block, worth: NDArray[np.float64], model: str, other: str) -> Test | None:
    """Masks that both models have a value for, averaged over every patient, then paired."""
    if model == other:
        return None
    if other not in block.models:
        nothing = statistics.SignedRank(0, 0, math.nan, math.nan, f"no rows of {other}")
        return Test(other, nothing, math.nan)
    pair = worth[[block.models.index(model), block.models.index(other)]]
    both = ~np.isnan(pair).any(axis=0)
    means = [statistics.mean_per_group(row[both], block.patients[both]) for row in pair]
    outcome = statistics.signed_rank(*means)
    return Test(other, outcome, outcome.p)


def _rankings(worth: NDArray[np.float64], patients: NDArray[np.int64]) -> list[Ranking]:
    """Ranks on the patients' means over masks that all models have a value for."""
    shared = ~np.isnan(worth).any(axis=0)
    if len(worth) < 2 or not shared.any():
        return []
    means = np.array([statistics.mean_per_group(row[shared], patients[shared]) for row in worth])
    rank, place = statistics.ranks(means)
    return [
        Ranking(
            means.shape[1],
            float(rank[i].mean()),
            *(float((place[i] == k).mean()) for k in (1, 2, 3)),
        )
        for i in range(len(worth))
    ]


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """Lines with Holm's p values, one family per table and kind of test."""
    found = list(lines)
    for kind in ("against_baseline", "against_best"):
        families: dict[tuple[object, ...], list[int]] = {}
        for i, line in enumerate(found):
            if getattr(line, kind) is not None:
                family = (line.section, line.step, line.quantity.name, line.task == ALL)
                families.setdefault(family, []).append(i)
        for members in families.values():
            adjusted = statistics.holm(np.array([getattr(found[i], kind).p for i in members]))
            for i, p in zip(members, adjusted, strict=True):
                test = getattr(found[i], kind)._replace(p=float(p))
                found[i] = replace(found[i], **{kind: test})
    return found
