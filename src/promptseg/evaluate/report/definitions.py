"""The small print of a report: what its marks and numbers mean."""

from __future__ import annotations

from promptseg.evaluate.report.compare import BETTER, LEVEL, WORSE
from promptseg.metrics.statistics import FEWEST_PAIRS

__all__ = ["definitions"]


def definitions(baseline: str, compared: bool, holm: bool, resamples: int, seed: int) -> list[str]:
    """Return the sentences at the end of the page that say how its numbers are defined.

    Args:
        baseline: the model that others are compared with.
        compared: whether there is more than one model.
        holm: whether p values are adjusted.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    texts = [
        "A task is a target in a data set. Protocols, prompts and settings are never mixed.",
        "Means, medians and quartiles count every scored mask alike (an object, on a slice where the "
        "protocol is 2D). Quartiles interpolate linearly between neighbours.",
        "Rows without a value (NaN, or empty) and rows missing for a model enter no number; they "
        "are counted beside it. Infinite distances stay: they make a mean infinite and lie at the far "
        "end of medians, tests and ranks.",
        f"Intervals in summary.csv: 95 % percentile bootstrap, {resamples} resamples of patients "
        f"with all their masks, seed {seed}.",
    ]
    if not compared:
        return texts
    adjusted = (
        " p values are adjusted by Holm for all tests of a kind in one table."
        if holm
        else " p values are not adjusted for the number of tests."
    )
    return [
        *texts,
        "Tests: two-sided Wilcoxon signed-rank. Masks that both models have a value for are averaged "
        "over each patient (all tasks together: over all targets of the patient); pairs are patients, "
        "never slices of one scan. Pairs without a difference "
        f"are left out; fewer than {FEWEST_PAIRS} pairs are not tested, as no outcome could reach "
        f"{LEVEL}. p is exact up to 50 differences.{adjusted}",
        f"{BETTER} significantly better than {baseline} (p < {LEVEL}). "
        f"{WORSE} significantly worse than the model with the best median of the task (p < {LEVEL}); "
        "that model is chosen by the same data, so the mark describes them and proves nothing beyond.",
        "Ranks: models are ranked on every patient by the mean over masks that all have a value for. "
        "Ties share the mean rank, and the better place.",
    ]
