"""Something to try."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from promptseg_napari.files import read_image

__all__ = ["balls", "demo_ct"]


def balls() -> list[tuple[Any, dict[str, Any], str]]:
    """Two bright balls in noise, on slices three times as thick as their pixels are wide."""
    z, y, x = np.indices((24, 96, 128))
    rng = np.random.default_rng(0)
    values = rng.normal(60, 12, z.shape)
    for centre in ((12, 48, 36), (10, 44, 92)):
        away = (3 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        values[away <= 20**2] += 120
    facts = {"name": "two balls", "scale": [3.0, 1.0, 1.0]}
    return [(np.clip(values, 0, 255).astype(np.uint8), facts, "image")]


def demo_ct() -> list[tuple[Any, dict[str, Any], str]]:
    """The CT of `promptseg demo`, fetched once."""
    from promptseg import assets
    from promptseg.formats.dicom.uids import copy_with_uids

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "promptseg-demo-ct"
        copy_with_uids(assets.fetch("demo-ct", quiet=True), made)
        return [read_image(str(made))]
