"""Masks that exist as files: segmentations to correct, masks and marker lines as prompts."""

from __future__ import annotations

from pathlib import Path

from promptseg.errors import GeometryError, PromptError
from promptseg.formats.masks import read_masks
from promptseg.formats.options import MaskOptions
from promptseg.geometry import Axis
from promptseg.image import Image, Segmentation
from promptseg.prompts import Marker, Mask, box_of_mask
from promptseg.segment.assemble import slices_of
from promptseg.segment.measure import Measurements

__all__ = ["markers_from_labels", "masks_from_labels", "read_segmentation"]


def read_segmentation(path: Path, image: Image, options: MaskOptions | None = None) -> Segmentation:
    """Read the objects of a mask file onto the image's grid; see `promptseg.formats.masks.read_masks`.

    Names, predicted IoU per object and prompted slices come from the provenance beside the file, where
    there is one.

    Raises:
        PromptError: masks of another grid, or none at all.
        InputError: not a mask file.
    """
    try:
        found = read_masks(path, image, options)
    except GeometryError as error:
        raise PromptError(error.expected, error.got, error.do) from error
    if all(segment.is_empty for segment in found.segments):
        raise PromptError("at least one labelled voxel", f"{path} with background alone")
    for segment in found.segments:
        segment.measurements = Measurements(segment, image.geometry)
    return found


def masks_from_labels(
    path: Path, image: Image, axis: Axis, options: MaskOptions | None = None
) -> list[Mask]:
    """Make a mask prompt of every label on every slice of a label image."""
    segmentation = read_segmentation(path, image, options)
    return [
        Mask(mask, k if image.kind != "picture" else None, segment.name, axis)
        for segment in segmentation.segments
        for k, mask in slices_of(segment, image, axis).masks.items()
    ]


def markers_from_labels(
    path: Path, image: Image, axis: Axis, options: MaskOptions | None = None
) -> list[Marker]:
    """Make a marker of each label on each slice: lines drawn into a label image (as in ITK-SNAP)."""
    markers = []
    for mask in masks_from_labels(path, image, axis, options):
        box = box_of_mask(mask.pixels)
        assert box is not None, "slices without the label are left out"
        markers.append(Marker((box[:2], box[2:]), None, mask.slice, mask.name, axis))
    return markers
