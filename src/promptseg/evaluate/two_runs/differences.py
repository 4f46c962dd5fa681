"""Differences between two runs: of every task, and of all together, with intervals by patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.blocks import ALL, Block, Section, Task, arrange, pool
from promptseg.evaluate.report.compare import LEVEL
from promptseg.evaluate.report.quantities import QUANTITIES, Quantity
from promptseg.evaluate.report.results import Results
from promptseg.metrics.statistics import (
    Interval,
    SignedRank,
    bootstrap,
    mean_per_group,
    signed_rank,
)

__all__ = ["Difference", "differences", "patient_means"]

_SAME = 5e-7
"""Rows carry six digits: what is nearer is the same."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """One quantity on one task at one step: second run minus first.

    Attributes:
        section, step, task, modality, quantity: what it is about.
        masks: pairs that both have a value for.
        unvalued: pairs left out, because one or both have none.
        patients: that the pairs come from.
        first, second: means over the pairs.
        mean: of the differences; below 0 the second run is lower, which for distances is better.
        interval: 95 % bootstrap interval of it, patients resampled with all their masks.
        test: signed-rank test of the patients' means; its balance is above 0.5 where the second run
            is better.
        better, worse: masks on which the second run is.
    """

    section: Section
    step: int
    task: Task
    modality: str
    quantity: Quantity
    masks: int
    unvalued: int
    patients: int
    first: float
    second: float
    mean: float
    interval: Interval
    test: SignedRank
    better: int
    worse: int

    @property
    def shown(self) -> int:
        """Return 1 where the second run is better, -1 where it is worse, 0 where no difference is
        shown.

        The interval must lie on one side of 0, and the signed-rank test must agree.
        """
        apart = self.interval.low > 0 or self.interval.high < 0
        if not apart or not self.test.p < LEVEL:
            return 0
        rises = self.interval.low > 0
        gains = rises if self.quantity.goal == "high" else not rises
        return (1 if gains else -1) if gains == (self.test.balance > 0.5) else 0

    def to_json(self) -> dict[str, Any]:
        """Return the difference as plain values; None in place of what cannot be told."""
        values = {
            "protocol": self.section.protocol,
            "prompt": self.section.prompt,
            "setting": self.section.setting,
            "step": self.step,
            "dataset": self.task.dataset,
            "target": self.task.target,
            "modality": self.modality,
            "metric": self.quantity.name,
            "masks": self.masks,
            "unvalued": self.unvalued,
            "patients": self.patients,
            "first": self.first,
            "second": self.second,
            "difference": self.mean,
            "low": self.interval.low,
            "high": self.interval.high,
            "p": self.test.p,
            "p_note": self.test.reason,
            "better": self.better,
            "same": self.masks - self.better - self.worse,
            "worse": self.worse,
        }
        return {k: _finite(v) for k, v in values.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def differences(results: Results, resamples: int, seed: int) -> list[Difference]:
    """Compare two models by section, task, step and quantity; last, over all tasks together.

    Args:
        results: rows of two models alone.
        resamples, seed: of the bootstrap.
    """
    blocks = list(arrange(results))
    together: dict[tuple[Section, int], list[Block]] = {}
    for block in blocks:
        together.setdefault((block.section, block.step), []).append(block)
    return [
        _difference(block, quantity, resamples, seed)
        for block in [*blocks, *map(pool, together.values())]
        for quantity in QUANTITIES.values()
    ]


def _difference(block: Block, quantity: Quantity, resamples: int, seed: int) -> Difference:
    values, both = _paired(block, quantity)
    people = block.patients[both]
    change, gain = _change(*values), _change(*quantity.worth(values))
    interval, _ = bootstrap(change, people, resamples, seed)
    worth = quantity.worth(values)
    means = [mean_per_group(row, people) for row in worth[::-1]]  # positive: the second is better
    counted = bool(values.size)
    return Difference(
        section=block.section,
        step=block.step,
        task=block.task,
        modality=block.modality,
        quantity=quantity,
        masks=values.shape[1],
        unvalued=int((~both).sum()),
        patients=len(np.unique(people)),
        first=float(values[0].mean()) if counted else math.nan,
        second=float(values[1].mean()) if counted else math.nan,
        mean=float(change.mean()) if counted else math.nan,
        interval=interval,
        test=signed_rank(*means),
        better=int((gain > _SAME).sum()),
        worse=int((gain < -_SAME).sum()),
    )


def _paired(block: Block, quantity: Quantity) -> tuple[Floats, NDArray[np.bool_]]:
    """(2, pairs) values that both have, signed quantities by their size; (units,) which these are."""
    values = block.values(quantity)
    if quantity.goal == "zero":
        values = np.abs(values)
    both = ~(np.isnan(values[0]) | np.isnan(values[1]))
    return values[:, both], both


def _change(first: Floats, second: Floats) -> Floats:
    """Second minus first; two infinite distances are the same."""
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, second - first)


def patient_means(blocks: Sequence[Block], quantity: Quantity) -> dict[Task, tuple[Floats, Floats]]:
    """Return each task's means per patient, in both runs, over the masks that both have a value for."""
    found = {}
    for block in blocks:
        if block.task != ALL:
            values, both = _paired(block, quantity)
            means = [mean_per_group(row, block.patients[both]) for row in values]
            found[block.task] = (means[0], means[1])
    return found
