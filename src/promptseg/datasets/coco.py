"""COCO instances: a JSON file of images, categories and annotations (polygons or run lengths).

2D images are looked for beside the file, in `images/` or in a folder of the file's name. Every
annotation is an object, called after its category and id. Crowds (`iscrowd`), which outline no single
object, are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from promptseg.datasets.build import (
    case_of,
    dataset_of,
    image_reader,
    modality_of,
)
from promptseg.datasets.classes import Classes, TruthSegment
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import (
    Description,
    may_publish,
    modality_in,
    modality_named,
    read_description,
    read_json,
)
from promptseg.datasets.files import named_file
from promptseg.datasets.listing import Missing, check_complete, require_target, shortened
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.outlines import check_outline, decode
from promptseg.datasets.truth import truth_of
from promptseg.errors import GeometryError, InputError
from promptseg.formats.text import composed
from promptseg.image import Image, Segmentation, bounding_region

__all__ = [
    "case_of_image",
    "described",
    "files_at",
    "open_dataset",
    "picture_at",
    "read_annotations",
    "recognises",
    "the_one_of",
]

_KEYS = {"images", "annotations", "categories"}


def recognises(root: Path) -> bool:
    """Tell whether a path is a COCO file, or a folder with one, at its top or in annotations/."""
    return bool(files_at(root, _is_coco))


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return the 2D images as cases.

    Raises:
        InputError: 2D images that are not there, annotations of a 2D image or category that is not
            listed, without an outline, or beyond the 2D image.
    """
    path = the_one_of(files_at(root, _is_coco), root)
    content = read_json(path)
    try:
        categories = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        pictures = {int(p["id"]): p for p in content["images"]}
        outlines, crowds = _by_picture(content["annotations"], pictures, categories, path)
        named = {key: case_of_image(str(picture["file_name"])) for key, picture in pictures.items()}
        sizes = {key: (int(p["height"]), int(p["width"])) for key, p in pictures.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "images, annotations and categories as COCO writes them",
            f"{path} ({error!r})",
            "correct it",
        ) from None
    if len(pictures) < len(content["images"]):
        raise InputError("images with different ids", str(path), "number them anew")
    if len(categories) < len(content["categories"]):
        raise InputError("categories with different ids", str(path), "number them anew")
    said = described(root, content, Classes(categories))
    reader = image_reader(modality_of(said, options), said.reading)
    cases, missing = [], []
    for key, picture in pictures.items():
        image = picture_at(path, str(picture["file_name"]))
        if image is None:
            what = f"{picture['file_name']} is not there"
            missing.append(Missing(named[key], "image", what))
            continue
        readers = (
            reader,
            partial(
                read_annotations,
                annotations=outlines[key],
                size=sizes[key],
                categories=categories,
            ),
        )
        cases.append(case_of(named[key], image, [path], readers, said.patients, options))
    check_complete(missing, path, options, "put the 2D images beside the file or in images/")
    notes = ["every annotation is an object"]
    notes += [f"{crowds} crowd annotations left out"] if crowds else []
    return dataset_of(root, "coco", "picture", said, cases, options, missing=missing, notes=notes)


def read_annotations(
    case: CaseFiles,
    image: Image,
    annotations: list[dict[str, Any]],
    size: tuple[int, int],
    categories: dict[int, str],
) -> Segmentation:
    """Return the annotations of one 2D image as its objects.

    Raises:
        GeometryError: a 2D image of another size.
        InputError: an annotation without an outline, or beyond the 2D image.
    """
    if image.geometry.shape != size:
        raise GeometryError(
            f"{case.image.name} of {size[1]} x {size[0]} pixels, as its annotations say",
            " x ".join(str(n) for n in image.geometry.shape[::-1]),
            "take the 2D images that were annotated",
        )
    found = list(_objects(case, annotations, size, categories))
    if lost := len(annotations) - len(found):
        image.source.notes.append(f"{lost} of {len(annotations)} annotations cover no pixel")
    return truth_of(found, image)


def _objects(
    case: CaseFiles,
    annotations: list[dict[str, Any]],
    size: tuple[int, int],
    categories: dict[int, str],
) -> Iterable[TruthSegment]:
    for label, annotation in enumerate(annotations, 1):
        where = f"annotation {annotation['id']} of {case.name}"
        try:
            check_outline(annotation.get("segmentation"), size, where)
            mask = decode(annotation["segmentation"], *size)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                "polygons or run lengths", f"{where} ({error})", "correct it"
            ) from None
        target = categories[annotation["category_id"]]
        region = bounding_region(mask)
        if mask.any():
            name = f"{target} {annotation['id']}"
            crop = mask[region].copy()
            yield TruthSegment(name, label, crop, region, target=target, instance=True)


def _by_picture(
    annotations: list[dict[str, Any]],
    pictures: dict[int, Any],
    categories: dict[int, str],
    path: Path,
) -> tuple[dict[int, list[dict[str, Any]]], int]:
    """Annotations by 2D image, without crowds; and how many crowds there are."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        for key, known in (("image_id", pictures), ("category_id", categories)):
            if annotation[key] not in known:
                raise InputError(
                    f"annotations with an {key} that is listed",
                    f"{path}: {annotation[key]} in annotation {annotation['id']}",
                    "correct it",
                )
        if not annotation.get("iscrowd"):
            found[annotation["image_id"]].append(annotation)
    if twice := [k for k, n in Counter(a["id"] for a in annotations).items() if n > 1]:
        raise InputError(
            "annotations with different ids", f"{path}: {twice[0]} twice", "number them anew"
        )
    return found, sum(bool(a.get("iscrowd")) for a in annotations)


def case_of_image(file_name: str) -> str:
    """Build the name of a case from that of its 2D image, folders included."""
    path = PurePosixPath(composed(file_name.replace("\\", "/")))
    return "_".join(path.with_suffix("").parts)


def picture_at(path: Path, file_name: str) -> Path | None:
    """Find a 2D image in the folders that it may lie in, never outside; None if it is not there."""
    folders = (
        path.parent,
        path.parent / "images",
        path.parent.parent / "images",
        path.parent.parent / path.stem.removeprefix("instances_"),
    )
    for folder in folders:
        try:
            found = named_file(folder, file_name, path.name)
        except InputError:
            continue
        require_target(found)
        if found.is_file():
            return found
    return None


def described(root: Path, content: dict[str, Any], classes: Classes) -> Description:
    """Return the dataset.json beside the file if there is one, else its own `info` and `licenses`."""
    folder = root if root.is_dir() else root.parent
    if (folder / "dataset.json").is_file():
        said = read_description(folder)
        return replace(said, classes=classes)
    info = content.get("info") if isinstance(content.get("info"), dict) else {}
    assert isinstance(info, dict)
    licences = content.get("licenses")
    names = [str(entry.get("name", "")) for entry in licences] if isinstance(licences, list) else []
    title = str(info.get("description") or (root.name if root.is_dir() else root.stem))
    licence = ", ".join(names)
    facts = {"licence": licence, "image_licences": dict(enumerate(names))}
    modality = modality_in(title)
    if modality == "unknown":
        modality = modality_named(root.stem)
    return Description(title, modality, classes, licence, may_publish(facts))


def files_at(root: Path, fits: Callable[[Path], bool]) -> list[Path]:
    """Return the annotation files of a path: itself, or those at a folder's top and in annotations/."""
    if root.is_file():
        return [root] if fits(root) else []
    folders = [f for f in (root, root / "annotations") if f.is_dir()]
    places = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in places if path.name != "dataset.json" and fits(path)]


def the_one_of(paths: list[Path], root: Path) -> Path:
    """Return the only file of annotations; several are refused.

    Raises:
        InputError: there are several.
    """
    path, *others = paths
    if others:
        raise InputError(
            "one file of annotations",
            f"{root}: {shortened([p.name for p in paths])}",
            "name the one to be read",
        )
    return path


def _is_coco(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    try:
        return set(read_json(path)) >= _KEYS
    except InputError:
        return False
