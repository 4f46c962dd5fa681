"""One kind of prompt, before and after a training: the numbers and what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.metrics.statistics import bootstrap, mean_per_group, signed_rank

__all__ = ["SAME", "TOLERATED", "Comparison", "compare_scores", "needed_for"]

TOLERATED = 0.02
"""How much DSC a modality, or a kind of prompt that was not asked with, may lose: 2 points."""

SAME = 1e-9
"""Differences below this are rounding noise."""

_LEVEL = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """DSC of the same prompts before and after the training.

    Attributes:
        prompt: "box", "box+8" (after 8 rounds of corrections), "point", "point+8", "clip", "text",
            "absent".
        asked: whether the training asked with such prompts.
        objects, patients: how many; a patient is one of a dataset.
        before, after: mean over the objects.
        difference: of the two.
        low, high: 95 % bootstrap interval of the difference, patients drawn as a whole; NaN with fewer
            than two.
        p: two-sided signed-rank test of the patients' mean differences; NaN with fewer than 6.
        better, worse: objects whose DSC rose or fell.
    """

    prompt: str
    asked: bool
    objects: int
    patients: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    sure: float
    p: float
    better: int
    worse: int

    @property
    def significantly_better(self) -> bool:
        """Tell whether the widened interval lies above 0, and the signed-rank test agrees."""
        return self.sure > SAME and self.p < _LEVEL

    @property
    def significantly_worse(self) -> bool:
        """Tell whether the interval lies below 0."""
        return self.high < -SAME

    @property
    def forgotten(self) -> bool:
        """Tell whether a prompt not trained with fell: significantly, or by more than 2 points."""
        return not self.asked and (self.significantly_worse or self.difference < -TOLERATED)

    @property
    def kept(self) -> bool:
        """Tell whether a loss of more than 2 points is ruled out: the interval lies above it."""
        return self.low > -TOLERATED


def needed_for(prompt: str) -> frozenset[str]:
    """Return the kinds of prompts that go into an answer: rounds of corrections take clicks and a mask.

    What is propagated through a clip ("clip") begins with a box; what is not there ("absent") is asked
    for by words.
    """
    start, corrected, _ = prompt.partition("+")
    start = {"clip": "box", "absent": "text"}.get(start, start)
    return frozenset({start, *(("point", "mask") if corrected else ())})


def compare_scores(
    prompt: str,
    asked: bool,
    pair: tuple[Floats, Floats],
    patients: list[tuple[str, str]],
    kinds: int,
) -> Comparison:
    """Compare the DSC of some objects.

    Args:
        prompt: the kind of prompt.
        asked: whether the training asked with it.
        pair: (objects,) DSC before and after.
        patients: (dataset, patient) of each object.
        kinds: how many kinds of prompts the training asked with; see `Comparison.sure`.
    """
    before, after = pair
    change = after - before
    numbers = {patient: k for k, patient in enumerate(sorted(set(patients)))}
    groups = np.array([numbers[patient] for patient in patients], dtype=np.int64)
    interval, _ = bootstrap(change, groups)
    widened, _ = bootstrap(change, groups, level=1 - _LEVEL / kinds)
    test = signed_rank(mean_per_group(after, groups), mean_per_group(before, groups))
    return Comparison(
        prompt=prompt,
        asked=asked,
        objects=len(change),
        patients=len(numbers),
        before=float(before.mean()),
        after=float(after.mean()),
        difference=float(change.mean()),
        low=interval.low,
        high=interval.high,
        sure=widened.low,
        p=test.p,
        better=int((change > SAME).sum()),
        worse=int((change < -SAME).sum()),
    )
