"""Masks by slice -> an object on the image's grid, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from promptseg.geometry import Axis, axis_position
from promptseg.image import Image, Segment
from promptseg.models.protocol import SliceMasks
from promptseg.segment.measure import Measurements
from promptseg.segment.options import SegmentOptions
from promptseg.segment.postprocess import fill_holes, largest_component, smooth_across_slices

__all__ = ["segment_of", "slices_of"]


def segment_of(
    name: str,
    label: int,
    found: SliceMasks,
    image: Image,
    options: SegmentOptions,
    low_quality: float = 0.0,
    prompted: Iterable[int] = (),
    clicked: Iterable[int] = (),
) -> Segment:
    """Join slice masks to an object on the image's grid, cleaned up, measured, flagged if in doubt."""
    axis = options.axis or "z"
    quality = {k: round(v, 4) for k, v in sorted(found.quality.items())}
    if image.kind == "picture":
        mask = found.masks[0]
        offset = 0
    else:
        first, last = min(found.masks), max(found.masks)
        slices = np.zeros((last - first + 1, *next(iter(found.masks.values())).shape), dtype=bool)
        for k, part in found.masks.items():
            slices[k - first] = part
        mask, offset = np.moveaxis(slices, 0, axis_position(axis)), first
    if options.smooth_slices and image.kind != "picture":
        mask = smooth_across_slices(mask, options.smooth_slices, axis)
    if options.fill_holes:
        mask = fill_holes(mask, axis)
    if options.largest_component:
        mask = largest_component(mask)
    along = axis_position(axis) if image.kind != "picture" else None
    kept = {k: v for k, v in quality.items() if _slice_of(mask, along, k - offset).any()}
    segment = Segment.from_mask(name, label, mask, quality=kept)
    segment.prompted, segment.clicked = tuple(sorted(prompted)), tuple(sorted(clicked))
    if along is not None:
        region = list(segment.region)
        region[along] = slice(region[along].start + offset, region[along].stop + offset)
        segment.region = tuple(region)
    segment.measurements = Measurements(segment, image.geometry, axis)
    iou = segment.predicted_iou
    segment.doubtful = iou is not None and iou < low_quality
    return segment


def slices_of(segment: Segment, image: Image, axis: Axis) -> SliceMasks:
    """Return the masks of an object on every slice where it has one."""
    if image.kind == "picture":
        return SliceMasks({0: segment.mask(image.geometry.shape)}, dict(segment.quality))
    along = axis_position(axis)
    found = SliceMasks()
    plane = list(segment.region)
    start = plane.pop(along).start
    for n, crop in enumerate(np.moveaxis(segment.crop, along, 0)):
        if crop.any():
            mask = np.zeros(image.geometry.slice_shape(axis), dtype=bool)
            mask[tuple(plane)] = crop
            found.masks[start + n] = mask
            if start + n in segment.quality:
                found.quality[start + n] = segment.quality[start + n]
    return found


def _slice_of(mask: NDArray[np.bool_], along: int | None, index: int) -> NDArray[np.bool_]:
    return mask if along is None else mask[(slice(None),) * along + (index,)]
