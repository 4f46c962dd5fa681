"""What messages advise can be done: every option that they name is one of some verb."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

import promptseg
from datasets import dataset_makers as make
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.errors import InputError
from promptseg.formats.masks import read_masks

SOURCE = Path(promptseg.__file__).parent
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])(?![\w-])")
OTHERS = {"help", "version", "raw", "tile", "pyramid", "max-restarts"}
"""Of every program, GDCM, vips and torchrun."""
NEGATED = re.compile(r"^no-")


def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


def test_every_option_in_a_message_is_an_option() -> None:
    """Options are fields of dataclasses, or names that tyro is given."""
    known, named = set(OTHERS), {}
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                known.add(node.target.id.replace("_", "-"))
            elif isinstance(node, ast.keyword) and node.arg == "name":
                known.update(re.findall(r"[a-z-]+", ast.unparse(node.value)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in OPTION.findall(node.value):
                    named.setdefault(NEGATED.sub("", option), place)
    lost = {o: place for o, place in named.items() if o not in known}
    lost = {o: place for o, place in lost.items() if not place.startswith("assets")}  # those of pip
    assert {"resample", "pages", "colours", "stack", "frame"} <= set(named)
    assert lost == {}


def test_a_dataset_is_told_where_it_says_how_to_read(tmp_path: Path) -> None:
    """`evaluate` and `curate` have no --frame."""
    voxels = np.random.default_rng(0).integers(0, 255, (2, 12, 16)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", voxels, ome=True, metadata={"axes": "CYX"})
    make.png(tmp_path / "masks" / "a.png", make.labels())
    (dataset,) = open_datasets(tmp_path, DatasetOptions())
    with pytest.raises(InputError, match=r'"read": \{"frame": \.\.\.\} in dataset\.json'):
        dataset.cases[0].load()
    make.described(tmp_path, read={"frame": 1})
    (dataset,) = open_datasets(tmp_path, DatasetOptions())
    np.testing.assert_array_equal(dataset.cases[0].load_image().voxels, voxels[1])
    make.described(tmp_path, read={"page": 1})
    with pytest.raises(InputError, match="read with series, frame"):
        open_datasets(tmp_path, DatasetOptions())


def test_a_mask_is_not_told_to_choose_a_frame(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 12, 16), np.uint8)
    labels[..., 2:5, 2:5] = 1
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, labels, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match=r"2 frames.*as a file of its own"):
        read_masks(path)
