"""nnU-Net datasets, v1 and v2: `imagesTs/` with `labelsTs/`, or `imagesTr/` with `labelsTr/`.

Images are called `<case>_0000<ending>`, one file per channel; labels `<case><ending>`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    label_reader,
    modality_of,
)
from promptseg.datasets.classes import Classes
from promptseg.datasets.dataset import Dataset
from promptseg.datasets.description import (
    Description,
    may_publish,
    modality_in,
    modality_named,
    read_json,
    reading_in,
)
from promptseg.datasets.listing import check_complete, ending_of, files_in, kind_of, paired
from promptseg.datasets.nnunet_names import check_names, passed_over
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats.text import composed

__all__ = ["channel_names", "classes_of", "describe", "open_dataset", "recognises"]

_FOLDERS = {"test": ("imagesTs", "labelsTs"), "train": ("imagesTr", "labelsTr")}
_CHANNEL = re.compile(r"_\d{4}$")
_FIRST_CHANNEL = "_0000"  # other numbers at the end may be those of cases, as in AMOS


def recognises(root: Path) -> bool:
    """Tell whether a folder has a dataset.json and images that are called by channel.

    Images and labels in nnU-Net's folders, in whatever way they are called, are meant so unless MSD's
    list says where they are.
    """
    if not (root / "dataset.json").is_file():
        return False
    both = any(all((root / name).is_dir() for name in names) for names in _FOLDERS.values())
    if both and not isinstance(read_json(root / "dataset.json").get("training"), list):
        return True
    return any(
        _stem(path).endswith(_FIRST_CHANNEL)
        for images, _ in _FOLDERS.values()
        if (root / images).is_dir()
        for path in (root / images).iterdir()
    )


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the cases of the split that the options name.

    Raises:
        InputError: no such split, no such channel, pairs that are incomplete, or labels that
            `dataset.json` does not describe.
    """
    content = read_json(root / "dataset.json")
    names = channel_names(content)
    if names and options.channel >= len(names):
        raise InputError(
            f"a channel from 0 to {len(names) - 1} ({', '.join(names)})",
            str(options.channel),
            "choose one with --channel",
        )
    described = describe(root, content, names[options.channel] if names else "")
    images, labels = (root / folder for folder in _FOLDERS[options.split])
    if not (images.is_dir() and labels.is_dir()):
        other = "train" if options.split == "test" else "test"
        raise InputError(
            f"{images.name}/ and {labels.name}/",
            f"{root} without them",
            f"take the other split with --nnunet-split {other}",
        )
    ending = str(content.get("file_ending") or "")
    found, truths = _files(images, ending), _files(labels, ending)
    channel = f"_{options.channel:04d}"
    by_image = {_CHANNEL.sub("", n): path for n, path in found.items() if n.endswith(channel)}
    check_names(root, images, labels, ending, options.channel)
    lost = passed_over(images, labels, ending)
    check_complete(lost, root, options, "rename them")
    pairs = paired(by_image, truths, root, options)
    readers = (
        image_reader(modality_of(described, options), described.reading),
        label_reader(described.classes, options.resample),
    )
    cases = [
        case_of(name, image, [truth], readers, described.patients, options)
        for name, (image, truth) in pairs.items()
    ]
    notes = [f"split {options.split}"]
    if len(names) > 1:
        notes.append(f"channel {options.channel} ({names[options.channel]}) of {len(names)}")
    return dataset_of(
        root,
        "nnunet",
        kind_of(cases[0].image),
        described,
        cases,
        options,
        missing=[*pairs.missing, *lost],
        notes=notes,
    )


def channel_names(content: dict[str, Any]) -> list[str]:
    """Return the names of the channels, in order: `channel_names` of v2, `modality` of v1 and MSD.

    Raises:
        InputError: channels that are not numbered.
    """
    said = content.get("channel_names", content.get("modality", {}))
    if not isinstance(said, dict):
        return [str(said)] if said else []
    try:
        numbered = {int(number): str(name) for number, name in said.items()}
    except (TypeError, ValueError):
        raise InputError(
            'channels numbered from 0, as {"0": "T1", "1": "T2"}',
            f"{', '.join(map(str, said))} in dataset.json",
            "correct it",
        ) from None
    return [numbered[number] for number in sorted(numbered)]


def describe(root: Path, content: dict[str, Any], channel: str) -> Description:
    """Return what a `dataset.json` of nnU-Net or MSD says; `channel` names the channel to be read."""
    prose = (str(content.get("name", "")), str(content.get("description", "")))
    known = (modality_named(channel), *map(modality_in, prose), modality_named(root.name))
    patients = content.get("patients", {})
    return Description(
        title=str(content.get("name", root.name)),
        modality=next((m for m in known if m != "unknown"), "unknown"),
        classes=classes_of(content.get("labels"), root / "dataset.json"),
        licence=str(content.get("licence", content.get("license", ""))),
        may_publish_images=may_publish(content),
        patients={composed(str(k)): str(v) for k, v in patients.items()}
        if isinstance(patients, dict)
        else {},
        content=content,
        reading=reading_in(content, root / "dataset.json"),
    )


def classes_of(labels: Any, where: Path) -> Classes:
    """Return the classes of a `dataset.json`, value -> name (v1, MSD) or name -> value or values (v2).

    A region, which is made of several values, gets an id above all values.

    Raises:
        InputError: anything else.
    """
    if not isinstance(labels, dict) or not labels:
        raise InputError('labels as {"liver": 1, ...}', f"{where} without", "add them")
    try:
        if all(str(key).isdecimal() for key in labels):
            by_name = {str(name): [int(value)] for value, name in labels.items()}
            if len(by_name) < len(labels):  # two values of one name
                return Classes({int(v): str(name) for v, name in labels.items() if int(v)})
        else:
            by_name = {
                str(name): [int(v) for v in (value if isinstance(value, list) else [value])]
                for name, value in labels.items()
            }
    except (TypeError, ValueError):
        raise InputError(
            'labels as {"liver": 1, "whole": [1, 2]}', f"{where}: {labels}", "correct them"
        ) from None
    ignore = by_name.pop("ignore", [None])[0]
    names: dict[int, str] = {}
    regions: dict[int, tuple[int, ...]] = {}
    following = max((v for values in by_name.values() for v in values), default=0) + 1
    for name, values in by_name.items():
        if values == [0]:
            continue
        if len(values) == 1:
            names[values[0]] = name
        else:
            names[following], regions[following] = name, tuple(values)
            following += 1
    return Classes(names, regions, ignore)


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """File name without its ending -> file; the case of endings does not count."""
    found = {}
    for path in files_in(folder):
        its = ending.lower() or ending_of(path)
        if its and path.name.lower().endswith(its):
            found[composed(path.name[: -len(its)])] = path
    return found


def _stem(path: Path) -> str:
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending else path.name
