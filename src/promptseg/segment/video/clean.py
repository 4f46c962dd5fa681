"""Clean-up of masks frame by frame: off unless asked for, and recorded when on."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from promptseg.segment.options import SegmentOptions
from promptseg.segment.postprocess import fill_holes, largest_component
from promptseg.segment.video.masks import FrameMasks

__all__ = ["cleaned"]


def cleaned(
    masks: FrameMasks, options: SegmentOptions, only: Collection[int] | None = None
) -> FrameMasks:
    """Return the masks, cleaned up as the options ask.

    In a video an object may be hidden and come back, so that its largest part is meant on each frame
    and not through time.

    Args:
        masks: as they were found.
        options: `smooth_slices`, `fill_holes`, `largest_component`.
        only: numbers of the objects that are meant; all if not given.
    """
    if not (options.smooth_slices or options.fill_holes or options.largest_component):
        return masks
    out = FrameMasks(masks.size, len(masks.found))
    for number, found in enumerate(masks.found):
        if only is not None and number not in only:
            out.found[number] = found
            continue
        filled = [frame for frame, packed in found.items() if not packed.is_empty]
        first, last = min(filled, default=0), max(filled, default=-1)
        for frame in range(first, last + 1):
            mask = _voted(
                masks, number, frame, min(options.smooth_slices, frame - first, last - frame)
            )
            if options.fill_holes:
                mask = fill_holes(mask)
            if options.largest_component:
                mask = largest_component(mask)
            known = found.get(frame)
            presence = None if known is None else known.presence
            if mask.any() or presence is not None:
                out.add(number, frame, mask, masks.iou(number, frame), presence)
        for frame in masks.absent(number):
            if not first <= frame <= last:
                out.add(number, frame, masks.on(number, frame), None, found[frame].presence)
    return out


def _voted(masks: FrameMasks, number: int, frame: int, reach: int) -> NDArray[np.bool_]:
    """Majority of a frame and its neighbours; see `promptseg.segment.postprocess`."""
    if not reach:
        return masks.on(number, frame)
    votes = np.zeros(masks.size, dtype=np.int64)
    for k in range(frame - reach, frame + reach + 1):
        votes += masks.on(number, k)
    return 2 * votes > 2 * reach + 1
