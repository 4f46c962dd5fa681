"""Rule for when there is no point in going on."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["is_flat"]


def is_flat(scores: Sequence[float], least: float, patience: int) -> bool:
    """Tell whether none of the last rounds was better than the best before them by more than a little.

    Args:
        scores: of all rounds on the fixed validation part, the first round first.
        least: gain that counts.
        patience: rounds that have to be without one; until there are more, nothing is flat.

    Examples:
        >>> is_flat([0.60, 0.72, 0.725, 0.728], 0.01, 2)
        True
    """
    if len(scores) <= patience:
        return False
    return max(scores[-patience:]) - max(scores[:-patience]) <= least
