"""COCO instances out: one annotation per object, with its category, area and box.

Run lengths hold every mask exactly and are the default. Polygons run along the edges of pixels, with
holes joined to their outline by a channel of no width, as some tools take nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg._version import __version__
from promptseg.errors import InputError, OutputError
from promptseg.formats.categories import categories_of
from promptseg.formats.contours import outlines as polygons_of
from promptseg.formats.numbers import usable_labels
from promptseg.formats.options import Outlines, ReadOptions
from promptseg.image import Image, Segment, Segmentation

__all__ = ["CocoImage", "coco_content", "compressed", "read", "write"]


@dataclass(frozen=True)
class CocoImage:
    """One 2D image and its objects.

    Attributes:
        file_name: of the 2D image, as the file is to name it.
        masks: its objects; they may overlap.
    """

    file_name: str
    masks: Segmentation


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Refuse: a file of annotations is a dataset, no image and no mask.

    Raises:
        InputError: always.
    """
    raise InputError(
        "an image or a mask",
        f"{path}: annotations (COCO) of a dataset",
        "promptseg evaluate and curate read it with its 2D images",
    )


def write(segmentation: Segmentation, path: Path, layers: bool, outlines: Outlines = "rle") -> None:
    """Write the objects of one 2D image; they may overlap if `layers`.

    Raises:
        OutputError: a volume.
    """
    source = segmentation.source.path
    masks = segmentation if layers else segmentation.without_overlap()
    content = coco_content([CocoImage(source.name if source else "image", masks)], outlines)
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def coco_content(pictures: Sequence[CocoImage], outlines: Outlines = "rle") -> dict[str, Any]:
    """Build the content of a file of annotations.

    Objects whose names differ in a number alone are instances of one category ("nucleus 17"); the
    number of a category is the lowest label of its objects, or a free one where several want the
    same.

    Args:
        pictures: with their objects; empty objects have no annotation, but their category stands.
        outlines: "rle" (exact) or "polygons".

    Raises:
        OutputError: masks of volumes.
    """
    for picture in pictures:
        if picture.masks.geometry.ndim != 2:
            raise OutputError(
                "pictures for COCO", f"{picture.file_name}, a volume", "write .nii.gz"
            )
        picture.masks.check_labels()
    segments = [s for picture in pictures for s in picture.masks.segments]
    classes = categories_of(dict.fromkeys(s.name for s in segments))
    lowest: dict[str, int] = {}
    for s in segments:
        kind = classes[s.name]
        lowest[kind] = min(s.label, lowest.get(kind, s.label))
    numbers = dict(zip(lowest, usable_labels(list(lowest.items()), []), strict=True))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        rows, columns = picture.masks.geometry.shape
        images.append(
            {"id": number, "file_name": picture.file_name, "width": columns, "height": rows}
        )
        for s in picture.masks.segments:
            if not s.is_empty:
                known = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers[classes[s.name]],
                }
                annotations.append({**known, **_annotation(s, (rows, columns), outlines)})
    return {
        "info": {"description": f"promptseg {__version__}"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": kind}
            for kind, number in sorted(numbers.items(), key=lambda one: one[1])
        ],
    }


def _annotation(segment: Segment, shape: tuple[int, int], outlines: Outlines) -> dict[str, Any]:
    y, x = (r.start for r in segment.region)
    height, width = segment.crop.shape
    segmentation: Any
    if outlines == "rle":
        segmentation = {"size": list(shape), "counts": compressed(segment.mask(shape))}
    else:
        corner = np.array([x, y]) + 0.5
        segmentation = [(one + corner).ravel().tolist() for one in polygons_of(segment.crop)]
    return {
        "segmentation": segmentation,
        "area": int(segment.crop.sum()),
        "bbox": [x, y, width, height],
        "iscrowd": 0,
        "name": segment.name,
        "label": segment.label,
    }


def compressed(mask: NDArray[np.bool_]) -> str:
    """Run lengths of a (y, x) mask as COCO's text: columns first, beginning with background.

    Every character holds 5 bits of a number, the lowest first, and a sixth that says whether it
    goes on; from the fourth number on it is the difference to the one two before.
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = [0, *changes.tolist(), flat.size]
    counts = [b - a for a, b in pairwise(edges)]
    if flat.size and flat[0]:
        counts = [0, *counts]
    text = []
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        while True:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
            if not more:
                break
    return "".join(text)
