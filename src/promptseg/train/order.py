"""The order of the images of an epoch: balanced, reproducible, the same for any number of processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.collection import Sample
from promptseg.simulate.seeds import generator

__all__ = ["Balance", "epoch_order", "weights_of"]

Balance = Literal["none", "dataset", "modality"]


def weights_of(samples: Sequence[Sample], balance: Balance) -> NDArray[np.float64]:
    """Return the share of an epoch that each image has.

    Args:
        samples: the training part.
        balance: "none": all images alike; "dataset": all datasets alike; "modality": all modalities
            alike, and in each all its datasets.

    Returns:
        (samples,), sum 1.
    """
    by_modality = balance == "modality"
    families = [(s.modality if by_modality else "", s.dataset) for s in samples]
    images, datasets = Counter(families), Counter(kind for kind, _ in set(families))
    each = np.ones(len(samples))
    if balance != "none":
        each = np.array([1 / images[kind, name] / datasets[kind] for kind, name in families])
    weights: NDArray[np.float64] = each / each.sum()
    return weights


def epoch_order(weights: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Draw the images of one epoch, as many as there are.

    An image of weight w out of n occurs w n times, rounded up or down by chance (systematic sampling),
    so that balanced epochs still see as many different images as they can.

    Args:
        weights: of `weights_of`.
        seed: of the training.
        epoch: its number, from 0.
    """
    rng = generator(seed, "epoch", epoch)
    n = len(weights)
    shuffled = rng.permutation(n)
    steps = (np.arange(n) + rng.random()) / n
    places = np.searchsorted(weights[shuffled].cumsum(), steps)
    chosen: NDArray[np.int64] = shuffled[places.clip(max=n - 1)]
    return rng.permutation(chosen)
