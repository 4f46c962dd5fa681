"""A path -> the datasets that lie there: one table of layouts, the first that fits is taken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from promptseg.datasets.dataset import Dataset
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError, damaged_as

__all__ = ["LAYOUTS", "Layout", "open_datasets"]

_DEPTH = 3


@dataclass(frozen=True)
class Layout:
    """One way to lay a dataset out.

    Attributes:
        name: as in `Dataset.layout`.
        module: has `recognises(path) -> bool` and `open_dataset(path, options) -> Dataset`.
        looks: how it looks, for messages.
    """

    name: str
    module: str
    looks: str

    def load(self) -> Any:
        """Load the module that opens this layout."""
        return import_module(f"promptseg.datasets.{self.module}")


LAYOUTS: tuple[Layout, ...] = (
    Layout("table", "table", "a .csv, .tsv or .parquet file with columns image and label"),
    Layout("patterns", "patterns", "a dataset.json with image_files and label_files"),
    Layout("rle", "rle", "a dataset.json with image_files and run_lengths"),
    Layout("nnunet", "nnunet", "nnU-Net's dataset.json with imagesTs/ and labelsTs/"),
    Layout("msd", "msd", "MSD's dataset.json with a list called training"),
    Layout("bids", "bids", "BIDS: sub-*/anat/ with ..._dseg.nii.gz in derivatives/"),
    Layout("saco", "saco", "a JSON file of SA-Co: COCO's with a text_input to every image"),
    Layout("coco", "coco", "a JSON file of COCO instances"),
    Layout("pictures", "pictures", "images/ with masks/, labels/ or instances/"),
    Layout("video", "video", "clips with frames/ and masks/"),
    Layout("pairs", "pairs", "<case>_image.* with <case>_label.*"),
    Layout("challenge", "challenge", "npz files with imgs and gts"),
)


def open_datasets(path: str | Path, options: DatasetOptions | None = None) -> list[Dataset]:
    """Open the datasets of a file or folder, without reading a voxel.

    A folder that is no dataset itself is searched, three levels deep; what is no dataset in there is
    passed over.

    Args:
        path: a dataset, or a folder that holds several.
        options: choices that datasets leave open.

    Returns:
        At least one dataset, in order of their paths; their names differ.

    Raises:
        InputError: no dataset, or one that is incomplete or contradicts itself.

    Examples:
        >>> from promptseg.datasets import open_datasets
        >>> [dataset.name for dataset in open_datasets("pictures")]  # images/, masks/, dataset.json
        ['us']
    """
    path = Path(path).expanduser()
    options = options or DatasetOptions()
    options.check()
    if not path.exists():
        raise InputError("a dataset", f"{path}: no such file or folder", "correct the path")
    if path.name == "dataset.json":
        path = path.parent
    try:
        found = list(_search(Path(os.path.abspath(path)), options, _DEPTH if path.is_dir() else 0))
    except OSError as error:
        raise InputError(
            "a folder that can be read",
            f"{error.filename} ({error.strerror})",
            "give yourself the right to read it",
        ) from None
    if not found:
        known = "; ".join(layout.looks for layout in LAYOUTS)
        raise InputError(
            "a dataset in a known layout", f"{path} without one", f"known are: {known}"
        )
    counts = Counter(dataset.name for dataset in found)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise InputError(
            "datasets of different names", f"{path}: {twice[0]} twice", "rename one of the folders"
        )
    return found


def _search(path: Path, options: DatasetOptions, depth: int) -> Iterator[Dataset]:
    with damaged_as("a readable dataset", str(path), "correct its files", (OSError,)):
        layout = next((known for known in LAYOUTS if known.load().recognises(path)), None)
    if layout is not None:
        what = f"a dataset in this layout: {layout.looks}"
        with damaged_as(what, str(path), "correct its files", (OSError,)):
            found: Dataset = layout.load().open_dataset(path, options)
        yield found
    elif depth:
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield from _search(folder, options, depth - 1)
