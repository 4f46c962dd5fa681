"""A collection of bright discs for words to be taught on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.made import Made, disc, make_collection
from promptseg.datasets.collection import Split


def made_words(root: Path, images: int = 12, size: int = 100) -> Path:
    """A bright disc on each image, beside much that is none; every image another patient."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(images):
        y, x = rng.integers(25, size - 25, 2)
        split: Split = "train" if k < images - 4 else "validation" if k % 2 else "test"
        masks = {"bright disc (made)": disc((size, size), float(y), float(x), 12.0 + k % 5)}
        made.append(Made(f"us/case{k}", masks, split, f"patient{k}", "US"))
    make_collection(root, made)
    return root
