"""Drift of the image embeddings in a training: what was learned before may be lost by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError

__all__ = ["Drift", "drift_of", "linear_cka"]

Floats = NDArray[np.float64]


class Drift(NamedTuple):
    """Embeddings of the same samples, before and after; NaN where there are none.

    Attributes:
        samples: how many.
        relative_l2: mean over the samples of |after - before| / |before|; 0 for no change.
        cosine: mean cosine of the angle between the two, as vectors; 1 for no change.
        cka: `linear_cka` of all places of all samples; 1 if they differ by a rotation and a factor.
    """

    samples: int
    relative_l2: float
    cosine: float
    cka: float


def drift_of(
    before: Mapping[str, NDArray[np.float16]], after: Mapping[str, NDArray[np.float16]]
) -> Drift:
    """Measure the drift of the embeddings of those samples that both have.

    Args:
        before: key -> (C, h, w) pooled embedding.
        after: the same of the tuned model.

    Raises:
        InputError: embeddings of different shapes.
    """
    keys = sorted(before.keys() & after.keys())
    if not keys:
        return Drift(0, math.nan, math.nan, math.nan)
    shapes = {e[k].shape for e in (before, after) for k in keys}
    if len(shapes) > 1:
        raise InputError("embeddings of one architecture", f"of shapes {sorted(shapes)}")
    first, second = (np.stack([e[k] for k in keys]).astype(np.float64) for e in (before, after))
    x, y = first.reshape(len(keys), -1), second.reshape(len(keys), -1)
    least = np.finfo(np.float64).tiny
    length_x, length_y = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    distance = np.linalg.norm(y - x, axis=1) / np.maximum(length_x, least)
    cosine = (x * y).sum(1) / np.maximum(length_x * length_y, least)
    places = [np.moveaxis(e, 1, -1).reshape(-1, e.shape[1]) for e in (first, second)]
    return Drift(len(keys), float(distance.mean()), float(cosine.mean()), linear_cka(*places))


def linear_cka(x: Floats, y: Floats) -> float:
    """Return the linear centred kernel alignment (Kornblith et al., ICML 2019, section 3).

    Args:
        x: (n, d) features.
        y: (n, e) features of the same n things.

    Returns:
        0..1; NaN if one of them does not vary.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    own = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(y.T @ x)) ** 2 / own if own > 0 else math.nan
