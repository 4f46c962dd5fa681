"""Medical Segmentation Decathlon: a `dataset.json` that lists an image and its label per case.

The labels of the test cases were never published, so that the cases of `training` are read. Images of
several channels are 4D; one channel is taken.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    label_reader,
    modality_of,
)
from promptseg.datasets.dataset import Dataset
from promptseg.datasets.description import read_json
from promptseg.datasets.files import named_file
from promptseg.datasets.listing import case_name, kind_of, paired, require_target
from promptseg.datasets.nnunet import channel_names, describe
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError

__all__ = ["open_dataset", "recognises"]


def recognises(root: Path) -> bool:
    """Tell whether a folder has a dataset.json with a list called "training"."""
    path = root / "dataset.json"
    return path.is_file() and isinstance(read_json(path).get("training"), list)


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases with labels of a folder laid out as MSD.

    Raises:
        InputError: no such channel, files that are not there or lie outside of the folder, or labels
            that `dataset.json` does not describe.
    """
    content = read_json(root / "dataset.json")
    names = channel_names(content)
    if options.channel >= max(1, len(names)):
        raise InputError(
            f"a channel from 0 to {max(0, len(names) - 1)}",
            str(options.channel),
            "choose one with --channel",
        )
    described = describe(root, content, names[options.channel] if names else "")
    images, labels = _listed(root, content["training"])
    pairs = paired(images, labels, root, options)
    several = len(names) > 1
    frame = options.channel if several else None
    readers = (
        image_reader(modality_of(described, options), replace(described.reading, frame=frame)),
        label_reader(described.classes, options.resample),
    )
    cases = [
        case_of(name, image, [truth], readers, described.patients, options)
        for name, (image, truth) in pairs.items()
    ]
    notes = ["the training cases, as labels of the test cases are not published"]
    if several:
        notes.append(f"channel {options.channel} ({names[options.channel]}) of {len(names)}")
    return dataset_of(
        root,
        "msd",
        kind_of(cases[0].image),
        described,
        cases,
        options,
        missing=pairs.missing,
        notes=notes,
    )


def _listed(root: Path, entries: list[Any]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Case -> image and case -> label, of the files that are there."""
    found: tuple[dict[str, Path], dict[str, Path]] = ({}, {})
    for entry in entries:
        if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
            raise InputError(
                'training as [{"image": FILE, "label": FILE}]',
                f"{root / 'dataset.json'}: {entry}",
                "correct it",
            )
        paths = [named_file(root, str(entry[key]), "dataset.json") for key in ("image", "label")]
        for path in paths:
            require_target(path)
        name = case_name(paths[0])
        if name in found[0] or name in found[1]:
            raise InputError("cases of different names", f"{root}: {name} twice", "rename one")
        if not any(path.is_file() for path in paths):
            raise InputError(
                "files that dataset.json lists", f"{paths[0]}: no such file", "get them again"
            )
        for files, path in zip(found, paths, strict=True):
            if path.is_file():
                files[name] = path
    return found
