"""Chance that does not depend on the order of the work."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, *place: object) -> np.random.Generator:
    """Return the random generator of one place: the same in whatever order or process.

    Args:
        seed: of the whole evaluation.
        place: what names the place, such as dataset, case, object, slice and kind of prompt; the model
            is left out, so that all models are prompted alike.

    Examples:
        >>> from promptseg.simulate import generator
        >>> one, same = generator(0, "case 1", "liver"), generator(0, "case 1", "liver")
        >>> bool(one.random() == same.random())
        True
    """
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
