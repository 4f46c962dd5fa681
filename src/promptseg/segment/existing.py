"""Masks that exist as files: segmentations to correct, masks and marker lines as prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.errors import PromptError
from promptseg.formats import read_labels
from promptseg.formats.files import beside
from promptseg.geometry import Axis
from promptseg.image import Image, Segment, Segmentation
from promptseg.prompts import Marker, Mask, box_of_mask
from promptseg.segment.assemble import slices_of
from promptseg.segment.measure import measure

__all__ = ["markers_from_labels", "masks_from_labels", "read_segmentation"]


def read_segmentation(path: Path, image: Image) -> Segmentation:
    """Objects from a label image on the image's grid.

    Names, predicted IoU per object and prompted slices come from the provenance beside the file, where
    there is one; otherwise an object is called `label N` (or `object`, if it is the only one).

    Raises:
        PromptError: labels on another grid, or none at all.
        InputError: not a label image.
    """
    found = read_labels(path)
    same = (
        found.geometry.shape == image.geometry.shape
        if image.kind == "picture"
        else found.geometry.agrees_with(image.geometry, 1e-2)
    )
    if not same:
        raise PromptError(
            f"labels on the grid of {image.name}, {_grid(image)}",
            f"{path} of {_grid(found)}, or at another place",
            "resample them to the image first",
        )
    ids = [int(i) for i in np.unique(found.voxels) if i]
    if not ids:
        raise PromptError("at least one labelled voxel", f"{path} with background alone")
    provenance = _provenance(path)
    known = {o.get("label"): o for o in provenance.get("objects", []) if isinstance(o, dict)}
    segments = []
    for label in ids:
        default = "object" if len(ids) == 1 else f"label {label}"
        name = str(known.get(label, {}).get("name", default))
        prompted = tuple(int(k) for k in known.get(label, {}).get("prompted_slices", []))
        segment = Segment.from_mask(name, label, found.voxels == label, prompted=prompted)
        segment.measurements = measure(segment, image.geometry)
        segments.append(segment)
    return Segmentation(segments, image.geometry, image.source, provenance, image)


def masks_from_labels(path: Path, image: Image, axis: Axis) -> list[Mask]:
    """Every label on every slice as a mask prompt."""
    segmentation = read_segmentation(path, image)
    return [
        Mask(mask, k if image.kind != "picture" else None, segment.name, axis)
        for segment in segmentation.segments
        for k, mask in slices_of(segment, image, axis).masks.items()
    ]


def markers_from_labels(path: Path, image: Image, axis: Axis) -> list[Marker]:
    """Lines drawn into a label image (as in ITK-SNAP): what is labelled on a slice is one marker."""
    markers = []
    for mask in masks_from_labels(path, image, axis):
        box = box_of_mask(mask.pixels)
        assert box is not None, "slices without the label are left out"
        markers.append(Marker((box[:2], box[2:]), None, mask.slice, mask.name, axis))
    return markers


def _provenance(path: Path) -> dict[str, Any]:
    """What stands beside a mask of ours; nothing where it is another's."""
    try:
        content = json.loads(beside(path, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(content, dict) and content.get("output") == path.name
    return content if ours and isinstance(content.get("objects"), list) else {}


def _grid(image: Image) -> str:
    spacing = " x ".join(f"{v:g}" for v in image.geometry.spacing)
    shape = " x ".join(str(n) for n in image.geometry.shape[::-1])
    return f"{shape} voxels of {spacing} {image.geometry.unit}"
