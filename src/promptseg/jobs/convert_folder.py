"""A folder of masks -> one file of COCO annotations: `promptseg convert -i masks/ -o all.coco.json`."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from promptseg.datasets.listing import by_case, case_name, shortened
from promptseg.errors import InputError
from promptseg.formats import format_by_suffix, read
from promptseg.formats.coco import CocoImage, coco_content
from promptseg.formats.files import atomic_path, read_provenance_beside
from promptseg.formats.masks import read_masks
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.jobs.convert import ConvertJob, select_segments
from promptseg.noted import counted, lines_of

__all__ = ["Annotated", "convert_folder", "is_folder_job"]

log = logging.getLogger("promptseg")

_BESIDE_A_NAME = ("_seg", "_label", "_mask", "_pred")


@dataclass(frozen=True)
class Annotated:
    """Outcome of converting a folder of masks.

    Attributes:
        output: the file of annotations.
        pictures: how many masks were read.
        objects: how many objects have an annotation.
        categories: how many classes there are.
        notes: what was found while reading, with the number of masks each.
    """

    output: Path
    pictures: int
    objects: int
    categories: int
    notes: dict[str, int]


def is_folder_job(job: ConvertJob) -> bool:
    """Tell whether a job makes one file of annotations from a folder of masks."""
    known = format_by_suffix(job.output)
    return os.path.isdir(job.input) and known is not None and known.name == "coco"


def convert_folder(job: ConvertJob) -> Annotated:
    """Write the objects of all masks of a folder into one file, in the order of their names.

    2D images are named by the folder `reference` (by the same stem, or with _seg, _label, _mask, _pred
    behind), else by the provenance beside each mask, else by the mask itself.

    Raises:
        PromptsegError: no masks, one without its 2D image, or anything `convert` refuses; nothing has
            been written then.
    """
    if job.beside:
        raise InputError("label images for --beside", f"{job.output.name}", "leave --beside out")
    masks = _masks_in(job.input)
    images = _pictures_of(masks, job.reference) if job.reference else {}
    reads = Reads([*images.values(), job.table], masks=masks)
    check_outputs([job.output], job.overwrite, reads)
    pictures, notes, unnamed = [], [], 0
    for path in masks:
        image = read(images[path]) if path in images else None
        found = read_masks(path, image, job)
        if job.segments is not None:
            found.segments = select_segments(found.segments, job.segments)
        if job.overlap == "later-wins":
            found = found.without_overlap()
        notes += list(found.source.notes)
        said = read_provenance_beside(path).get("input")
        said = said.get("path") if isinstance(said, dict) else None
        if path in images:
            name = images[path].relative_to(job.reference or job.input).as_posix()
        elif isinstance(said, str) and said:
            name = Path(said.replace("\\", "/")).name
        else:
            name, unnamed = path.name, unnamed + 1
        pictures.append(CocoImage(name, found))
    if unnamed:
        log.warning(
            "%d 2D images are called as their masks: name the folder of images with --reference",
            unnamed,
        )
    tally = counted(notes)
    for line in lines_of(tally, "mask"):
        log.warning("%s", line)
    content = coco_content(pictures, job.outlines)
    with atomic_path(job.output, job.overwrite) as temporary:
        text = json.dumps(content, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return Annotated(
        job.output,
        len(content["images"]),
        len(content["annotations"]),
        len(content["categories"]),
        tally,
    )


def _masks_in(folder: Path) -> list[Path]:
    """The mask files of a folder, without what we write beside them."""
    found = [
        path
        for path in by_case(folder, _candidates(folder)).values()
        if (known := format_by_suffix(path)) and "picture" in known.writes
    ]
    if not found:
        raise InputError("a folder of masks of 2D images", f"{folder} without any", "name another")
    return found


def _candidates(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.endswith(".overlay.png")]


def _pictures_of(masks: list[Path], folder: Path) -> dict[Path, Path]:
    """The 2D image of each mask.

    Raises:
        InputError: no folder, or masks without one.
    """
    if not folder.is_dir():
        raise InputError("the folder of the 2D images", f"{folder}", "name it with --reference")
    there = by_case(folder, _candidates(folder))
    found, lost = {}, []
    for path in masks:
        stem = case_name(path)
        names = [stem, *(stem[: -len(e)] for e in _BESIDE_A_NAME if stem.lower().endswith(e))]
        picture = next((there[name] for name in names if name in there), None)
        if picture is None:
            lost.append(path.name)
        else:
            found[path] = picture
    if lost:
        raise InputError(
            f"a 2D image in {folder} for every mask", f"none for {shortened(lost)}", "add it"
        )
    return found
