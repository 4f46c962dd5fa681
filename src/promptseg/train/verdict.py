"""Verdict on whether a training has made a model better: the same objects, before and after.

The word "improvement" is used only if all of this holds:

- the objects are of at least 6 patients (fewer cannot succeed in a signed-rank test at 0.05);
- with no kind of prompt that the training asked with is the tuned model significantly worse: the 95 %
  bootstrap interval of the mean difference in DSC, with patients drawn as a whole, leaves out 0;
- with at least one it is significantly better, for which more is asked: the interval is widened by
  Bonferroni to 1 - 0.05 / m for m kinds of prompts, and the signed-rank test of the patients must say
  p < 0.05. Of training runs that change nothing but by chance, the 95 % interval alone would call 10 to
  22 % an improvement (6 to 48 patients, four kinds of prompts); so it is 4 to 7 % (docs/finetuned.md);
- on no modality does the mean DSC of such a kind of prompt fall by more than 2 points.

Kinds of prompts that the training did not ask with do not count for this; those that fell are named
as forgotten.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from promptseg.errors import InputError
from promptseg.metrics.statistics import FEWEST_PAIRS
from promptseg.train.comparison import SAME, TOLERATED, Comparison, compare_scores, needed_for
from promptseg.train.drift import Drift, drift_of
from promptseg.train.validate import (
    ABSENT,
    CLASSES,
    PROPAGATED,
    SHIFTED,
    TEXT,
    Answer,
    Validation,
)

__all__ = ["Listening", "Outcome", "Verdict", "compare"]

Outcome = Literal["improvement", "no improvement", "worse", "too few to tell"]
_Object = tuple[str, str]  # sample, target


@dataclass(frozen=True)
class Listening:
    """Measures of whether a model still does what prompts tell it.

    Attributes:
        rounds: mean gain in DSC of each round of corrections, both starts together.
        gain: their mean; 0 for a model that ignores clicks.
        worsened: share of the corrections, of an answer that was not perfect, that made it worse.
        shifted: mean DSC that an exact box loses when it is shifted; NaN if that was not measured.
    """

    rounds: tuple[float, ...]
    gain: float
    worsened: float
    shifted: float


@dataclass(frozen=True)
class Verdict:
    """Judgement on what a training has done to a model.

    Attributes:
        outcome: in two words or so.
        reasons: why, one sentence each.
        comparisons: one per kind of prompt.
        modalities: modality -> one comparison per kind of prompt.
        classes: class -> one comparison, of models of classes.
        forgotten: kinds of prompts that were not asked with and fell.
        listening: before and after.
        drift: how far the embeddings moved.
        macro: `Validation.means` before and after, where every dataset counts the same.
        curves: "box" and "point" -> mean DSC at every step, before and after.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    modalities: dict[str, tuple[Comparison, ...]]
    forgotten: tuple[str, ...]
    listening: tuple[Listening, Listening]
    drift: Drift
    macro: tuple[dict[str, float], dict[str, float]]
    curves: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    classes: dict[str, tuple[Comparison, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values; None for NaN."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        for name in ("listening", "macro"):
            plain[name] = dict(zip(("before", "after"), plain[name], strict=True))
        plain["drift"] = _without_nan(self.drift._asdict())
        plain["curves"] = {
            kind: {"before": pair[0], "after": pair[1]} for kind, pair in plain["curves"].items()
        }
        return plain


def compare(
    baseline: Validation, tuned: Validation, asks: Collection[str], part: str = "the report"
) -> Verdict:
    """Judge a training.

    Args:
        baseline: of the model that the training began with.
        tuned: of the model that came out, on the same objects and with the same prompts.
        asks: kinds of prompts that the training asked with, as `Objective.asks` says.
        part: of the data that the objects are of, for the reasons.

    Raises:
        InputError: the two are not of the same objects and prompts.
    """
    first, second = _by_prompt(baseline.answers), _by_prompt(tuned.answers)
    if not first or {p: v.keys() for p, v in first.items()} != {
        p: v.keys() for p, v in second.items()
    }:
        raise InputError(
            "two validations of the same objects with the same prompts",
            f"{len(baseline.answers)} and {len(tuned.answers)} answers that do not pair",
            "validate both on the same samples, with as many objects and corrections",
        )
    patients = {(a.sample, a.target): (a.dataset, a.patient) for a in baseline.answers}
    modality = {(a.sample, a.target): a.modality for a in baseline.answers}
    last = baseline.corrections
    labels = {
        f"{kind}+{step}" if step else kind: (kind, step)
        for kind in ("box", "point", PROPAGATED, TEXT, ABSENT, CLASSES)
        for step in sorted({0, last})
        if (kind, step) in first
    }

    kinds = max(1, sum(needed_for(label) <= set(asks) for label in labels))

    def comparisons(of: str | None, group: Mapping[_Object, str]) -> tuple[Comparison, ...]:
        found = []
        for label, place in labels.items():
            objects = [o for o in first[place] if of in (None, group[o])]
            if not objects:  # not everything can be propagated
                continue
            before, after = (np.array([x[place][o] for o in objects]) for x in (first, second))
            asked, whose = needed_for(label) <= set(asks), [patients[o] for o in objects]
            found.append(compare_scores(label, asked, (before, after), whose, kinds))
        return tuple(found)

    every = comparisons(None, modality)
    by_modality = {m: comparisons(m, modality) for m in sorted(set(modality.values()))}
    by_class: dict[str, tuple[Comparison, ...]] = {}
    if (CLASSES, 0) in first:
        own = {o: o[1] for o in first[CLASSES, 0]}
        by_class = {name: comparisons(name, own) for name in dict.fromkeys(own.values())}
    outcome, reasons = _judge(every, {**by_modality, **by_class}, part)
    return Verdict(
        outcome=outcome,
        reasons=reasons,
        comparisons=every,
        modalities=by_modality,
        forgotten=tuple(c.prompt for c in every if c.forgotten),
        listening=(_listening(first, last), _listening(second, last)),
        drift=drift_of(baseline.embeddings, tuned.embeddings),
        macro=(baseline.means(), tuned.means()),
        curves={
            kind: (_curve(first, kind, last), _curve(second, kind, last))
            for kind in ("box", "point")
            if (kind, 0) in first
        },
        classes=by_class,
    )


def _judge(
    every: Iterable[Comparison], modalities: Mapping[str, Iterable[Comparison]], part: str
) -> tuple[Outcome, tuple[str, ...]]:
    """The outcome, and why."""
    asked = [c for c in every if c.asked]
    gains = [_said(c, "better") for c in asked if c.significantly_better]
    losses = [_said(c, "worse") for c in asked if c.significantly_worse]
    fallen = [
        f"on {name}, {_words(c.prompt)} lost {-100 * c.difference:.1f} points of DSC, more than the "
        f"{100 * TOLERATED:.0f} tolerated"
        for name, each in modalities.items()
        for c in each
        if c.asked and c.difference < -TOLERATED
    ]
    aside = [
        f"forgotten: {_words(c.prompt)} lost {-100 * c.difference:.1f} points of DSC; the training "
        "did not ask with it"
        for c in every
        if c.forgotten
    ]
    if not asked:
        return "no improvement", ("no kind of prompt that was asked with was measured", *aside)
    patients = min(c.patients for c in asked)
    if patients < FEWEST_PAIRS:
        few = f"{patients} patient{'s' if patients > 1 else ''} in {part}, at least "
        return "too few to tell", (f"{few}{FEWEST_PAIRS} are needed", *fallen, *aside)
    if losses:
        return "worse", (*losses, *gains, *fallen, *aside)
    if not gains:
        nothing = "no kind of prompt that was asked with is significantly better"
        best = max(asked, key=lambda c: c.difference)
        closest = f"; the most: {_figures(best)}" if best.difference > SAME else ""
        return "no improvement", (nothing + closest, *fallen, *aside)
    if fallen:
        return "no improvement", (*fallen, *gains, *aside)
    return "improvement", (*gains, *aside)


def _said(c: Comparison, how: str) -> str:
    return f"significantly {how}: {_figures(c)}"


def _figures(c: Comparison) -> str:
    p = "" if math.isnan(c.p) else f"; p = {c.p:.2g}"
    return (
        f"{100 * c.difference:+.1f} points of DSC with {_words(c.prompt)} (95 % interval "
        f"{100 * c.low:+.1f} to {100 * c.high:+.1f}; {c.patients} patients{p})"
    )


def _words(prompt: str) -> str:
    start, _, rounds = prompt.partition("+")
    name = {
        "box": "a box",
        "point": "a click",
        PROPAGATED: "a box propagated through a clip",
        CLASSES: "classes without prompts",
        TEXT: "a phrase",
        ABSENT: "a phrase for what is not there",
    }[start]
    return f"{name} with {rounds} rounds of corrections" if rounds else name


def _by_prompt(answers: Iterable[Answer]) -> dict[tuple[str, int], dict[_Object, float]]:
    """(prompt, step) -> object -> DSC, in order of the objects; the mean where there are several."""
    found: dict[tuple[str, int], dict[_Object, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for a in answers:
        found[a.prompt, a.step][a.sample, a.target].append(a.dsc)
    return {
        place: {o: float(np.mean(values)) for o, values in sorted(objects.items())}
        for place, objects in found.items()
    }


def _listening(scores: dict[tuple[str, int], dict[_Object, float]], last: int) -> Listening:
    starts = [kind for kind in ("box", "point") if (kind, 0) in scores]
    if not starts:
        return Listening((), math.nan, math.nan, math.nan)
    steps = np.array(  # (steps, objects of both starts)
        [[v for kind in starts for v in scores[kind, s].values()] for s in range(last + 1)]
    )
    change = np.diff(steps, axis=0)
    to_correct = steps[:-1] < 1 - SAME
    shifted = math.nan
    if (SHIFTED, 0) in scores and ("box", 0) in scores:
        exact = scores["box", 0]
        shifted = float(np.mean([exact[o] - d for o, d in scores[SHIFTED, 0].items()]))
    return Listening(
        rounds=tuple(float(v) for v in change.mean(axis=1)),
        gain=float(change.mean()) if last else math.nan,
        worsened=float((change < -SAME)[to_correct].mean()) if to_correct.any() else math.nan,
        shifted=shifted,
    )


def _curve(
    scores: dict[tuple[str, int], dict[_Object, float]], kind: str, last: int
) -> tuple[float, ...]:
    return tuple(float(np.mean(list(scores[kind, s].values()))) for s in range(last + 1))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
