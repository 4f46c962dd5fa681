"""SA-Co: COCO's JSON with a phrase to every entry of `images` (Carion et al., SAM 3, 2025).

A picture has as many entries as phrases were looked for on it, by its `file_name`. Annotations belong
to an entry, so to a picture and a phrase; categories mean nothing. An entry without annotations says
that nothing on the picture is called so. Phrases of which not every instance is outlined by itself
(`is_instance_exhaustive` or `is_pixel_exhaustive` 0, a crowd) are left out. Areas and boxes, which are
written in parts of the picture, are not read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.datasets.build import case_of, dataset_of, image_reader, modality_of
from promptseg.datasets.classes import Classes
from promptseg.datasets.coco import (
    case_of_image,
    described,
    files_at,
    picture_at,
    read_annotations,
    the_one_of,
)
from promptseg.datasets.dataset import Dataset
from promptseg.datasets.description import read_json
from promptseg.datasets.listing import Missing, check_complete
from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats.text import composed

__all__ = ["open_dataset", "recognises"]

_EXHAUSTIVE = ("is_instance_exhaustive", "is_pixel_exhaustive")


def recognises(root: Path) -> bool:
    """Tell whether a path is an SA-Co file, or a folder with one, at its top or in annotations/."""
    return bool(files_at(root, _is_saco))


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the 2D images as cases, with their objects and the phrases that none of them fits.

    Raises:
        InputError: 2D images that are not there, an annotation of no entry, entries of a picture that
            contradict each other.
    """
    path = the_one_of(files_at(root, _is_saco), root)
    content = read_json(path)
    try:
        pictures, left_out = _pictures(content["images"], content["annotations"], path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "images with a text_input each, and annotations, as SA-Co writes them",
            f"{path} ({error!r})",
            "correct it",
        ) from None
    asked = sorted({phrase for each in pictures.values() for phrase in each.phrases})
    classes = dict(enumerate(asked, 1))
    numbers = {phrase: number for number, phrase in classes.items()}
    said = described(root, content, Classes(classes))
    reader = image_reader(modality_of(said, options), said.reading)
    cases, missing = [], []
    for file_name, each in pictures.items():
        name, image = case_of_image(file_name), picture_at(path, file_name)
        if image is None:
            missing.append(Missing(name, "image", f"{file_name} is not there"))
            continue
        outlines = [{**a, "category_id": numbers[phrase]} for phrase, a in each.found]
        of_case = {number: phrase for phrase, number in numbers.items() if phrase in each.phrases}
        truth = partial(read_annotations, annotations=outlines, size=each.size, categories=of_case)
        absent = each.absent
        cases.append(
            case_of(name, image, [path], (reader, truth), said.patients, options, absent=absent)
        )
    check_complete(missing, path, options, "put the 2D images beside the file or in images/")
    count = sum(len(case.absent or ()) for case in cases)
    notes = [f"every annotation is an object; {count} phrases of which there is nothing"]
    notes += [f"{left_out} phrases left out, not all of them outlined"] if left_out else []
    return dataset_of(root, "saco", "picture", said, cases, options, missing=missing, notes=notes)


@dataclass
class _Picture:
    """What was looked for on a 2D image.

    Attributes:
        size: (height, width).
        phrases: in their order, without those that are left out.
        found: phrase and annotation of every object.
    """

    size: tuple[int, int]
    phrases: dict[str, None] = field(default_factory=dict)
    found: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def absent(self) -> tuple[str, ...]:
        """Return the phrases that nothing in the 2D image fits."""
        there = {phrase for phrase, _ in self.found}
        return tuple(phrase for phrase in self.phrases if phrase not in there)


def _pictures(
    entries: Sequence[Mapping[str, Any]], annotations: Sequence[dict[str, Any]], path: Path
) -> tuple[dict[str, _Picture], int]:
    """The pictures by their file names, and how many phrases are left out."""
    own: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        own[annotation["image_id"]].append(annotation)
    for what, ids in (("images", [e["id"] for e in entries]), ("annotations", _ids(annotations))):
        if twice := [k for k, n in Counter(ids).items() if n > 1]:
            raise InputError(
                f"{what} with different ids", f"{path}: {twice[0]} twice", "number them anew"
            )
    if strange := set(own) - {entry["id"] for entry in entries}:
        first = own[min(strange, key=str)][0]
        raise InputError(
            "annotations with an image_id that is listed",
            f"{path}: {first['image_id']} in annotation {first['id']}",
            "correct it",
        )
    found: dict[str, _Picture] = {}
    left_out = 0
    for entry in entries:
        file_name, phrase = str(entry["file_name"]), _phrase(entry, path)
        size = (int(entry["height"]), int(entry["width"]))
        picture = found.setdefault(file_name, _Picture(size))
        if picture.size != size:
            raise InputError(
                f"one size of {file_name}",
                f"{path}: {picture.size[::-1]} and {size[::-1]}",
                "correct it",
            )
        outlines = own[entry["id"]]
        if not all(entry.get(name, 1) for name in _EXHAUSTIVE) or any(map(_is_crowd, outlines)):
            left_out += 1
            continue
        picture.phrases[phrase] = None
        picture.found += [(phrase, annotation) for annotation in outlines]
    return found, left_out


def _ids(annotations: Sequence[dict[str, Any]]) -> list[Any]:
    return [annotation["id"] for annotation in annotations]


def _phrase(entry: Mapping[str, Any], path: Path) -> str:
    phrase = " ".join(composed(str(entry["text_input"])).split())
    if not phrase:
        raise InputError(
            "a phrase in every text_input", f"{path}: none in entry {entry['id']}", "correct it"
        )
    return phrase


def _is_crowd(annotation: Mapping[str, Any]) -> bool:
    return bool(annotation.get("iscrowd") or annotation.get("is_crowd"))


def _is_saco(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    try:
        content = read_json(path)
    except InputError:
        return False
    entries = content.get("images")
    first = entries[0] if isinstance(entries, list) and entries else None
    return "annotations" in content and isinstance(first, dict) and "text_input" in first
