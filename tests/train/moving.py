"""Collections of films: a disc and a plate that move, and are brighter than what is behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.made import Made, disc, make_collection, rectangle
from promptseg.datasets.collection import Collection, Split

SPLITS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")


def moving_data(root: Path, cases: int = 5, frames: int = 5, size: int = 64) -> Collection:
    """Films of `frames` frames, each another patient; three of five are for training."""
    rng = np.random.default_rng(0)
    made = []
    for case in range(cases):
        y, x = rng.integers(16, size - 40, 2)
        for k in range(frames):
            masks = {
                "ball": disc((size, size), float(y), float(x + 3 * k), 8),
                "plate": rectangle((size, size), (2 + 2 * k, size - 14, 16 + 2 * k, size - 4)),
            }
            key, split = f"us/film{case}/{k:04d}", SPLITS[case % len(SPLITS)]
            made.append(Made(key, masks, split, modality="US"))
    return make_collection(root, made)
