"""Make a small data set to try evaluation and training on: 24 pictures of one bright blob each.

usage: python shapes.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

_ABOUT = {"modality": "ultrasound", "targets": {"1": "blob"}, "licence": "CC0"}


def make(folder: Path, pictures: int = 24) -> None:
    """Write FOLDER/images/*.png, FOLDER/masks/*.png (labels 0 and 1) and FOLDER/dataset.json.

    Args:
        folder: a folder that is not there yet.
        pictures: how many, each of 160 rows and 200 columns.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.indices((160, 200))
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(pictures):
        y, x, height, width = rng.uniform((50, 60, 15, 15), (110, 140, 35, 35))
        inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        picture = np.where(inside, 150, 90) + rng.normal(0, 12, inside.shape)
        name = f"p{number:02}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
        Image.fromarray(inside.astype(np.uint8)).save(folder / "masks" / name)
    (folder / "dataset.json").write_text(json.dumps(_ABOUT), "utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
