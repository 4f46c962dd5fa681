"""Choice of the images an expert annotates next: arithmetic on scores and embeddings alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["STRATEGIES", "Strategy", "at_random", "k_center", "most_uncertain", "pick"]

Strategy = Literal["both", "uncertainty", "diversity", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Floats = NDArray[np.float64]

_SHORTLIST = 3  # `both` looks for diversity among so many times as many as are wanted


def pick(
    strategy: Strategy,
    names: Sequence[str],
    n: int,
    *,
    features: Floats | None = None,
    annotated: Floats | None = None,
    scores: Floats | None = None,
    seed: int = 0,
) -> list[int]:
    """Choose the next images by a strategy.

    `both` takes the images the model is least sure of, three times as many as are wanted, and of
    these the ones that are least alike. Without scores, as before the first training, it is
    `diversity`, and so is `uncertainty`.

    Args:
        strategy: which.
        names: of the images to choose from; chance hangs on them, not on their order.
        n: how many, at most as many as there are.
        features: (images, D) embeddings; not needed at random.
        annotated: (M, D) embeddings of what is annotated, which `diversity` keeps away from.
        scores: (images,) how unsure the model is of each.
        seed: of the choice at random.

    Returns:
        Their indices, the first choice first.

    Raises:
        ValueError: features or scores that are missing, or not one per image.

    Examples:
        >>> pick("uncertainty", ["a", "b", "c"], 2, scores=np.array([0.1, 0.9, 0.5]))
        [1, 2]
    """
    n = min(n, len(names))
    if strategy == "random":
        return at_random(names, n, seed)
    for values in (features, scores):
        if values is not None and len(values) != len(names):
            raise ValueError(f"expected one row for each of {len(names)} images, got {len(values)}")
    if strategy == "uncertainty" and scores is not None:
        return most_uncertain(scores, n)
    if features is None:
        raise ValueError(f"expected features for {strategy}, got none")
    among = None
    if strategy == "both" and scores is not None:
        among = most_uncertain(scores, _SHORTLIST * n)
    return k_center(features, annotated, n, among)


def at_random(names: Sequence[str], n: int, seed: int) -> list[int]:
    """Choose images by lot: the lot of an image hangs on the seed and its name alone.

    Args:
        names: of the images.
        n: how many.
        seed: of the lots.
    """
    lots = [hashlib.sha256(f"{seed} {name}".encode("utf-8", "replace")).digest() for name in names]
    return sorted(range(len(names)), key=lots.__getitem__)[:n]


def most_uncertain(scores: ArrayLike, n: int) -> list[int]:
    """Choose the n images with the highest scores, the highest first; the earlier of equals.

    Args:
        scores: (images,); NaN comes last.
        n: how many.
    """
    given = np.asarray(scores, np.float64)
    worth = np.where(np.isnan(given), -np.inf, given)
    return [int(k) for k in np.argsort(-worth, kind="stable")[:n]]


def k_center(
    features: ArrayLike, centres: ArrayLike | None, n: int, among: Sequence[int] | None = None
) -> list[int]:
    """Choose images by greedy k-centre, the core set of Sener and Savarese (ICLR 2018, Algorithm 1).

    Again and again the image that lies farthest from everything chosen so far, by Euclidean
    distance; the largest distance that is left is at most twice that of the best choice. Where
    nothing is chosen yet, the image nearest to the mean is first.

    Args:
        features: (images, D).
        centres: (M, D) of what is chosen already; None or no row for nothing.
        n: how many images.
        among: indices to choose from; all if not given.

    Returns:
        Indices of features, in the order they were chosen.
    """
    points = np.asarray(features, np.float64)
    left = list(range(len(points)) if among is None else dict.fromkeys(among))
    if not left or n < 1:
        return []
    known = np.zeros((0, points.shape[1])) if centres is None else np.asarray(centres, np.float64)
    chosen: list[int] = []
    if len(known):
        nearest = np.min([_distances(points, one) for one in known], axis=0)
    else:
        middle = _distances(points, points[left].mean(0))
        chosen.append(min(left, key=lambda k: (middle[k], k)))
        nearest = _distances(points, points[chosen[0]])
    while len(chosen) < min(n, len(left)):
        taken = set(chosen)
        best = max((k for k in left if k not in taken), key=lambda k: (nearest[k], -k))
        chosen.append(best)
        nearest = np.minimum(nearest, _distances(points, points[best]))
    return chosen


def _distances(points: Floats, centre: Floats) -> Floats:
    found: Floats = np.linalg.norm(points - centre, axis=1)
    return found
