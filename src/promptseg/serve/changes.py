"""Changes made by a step: of every object the box that differs, as packed bits."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.image import Segment

__all__ = ["Masks", "changed", "differences", "packed", "unpacked"]

Masks = Mapping[str, Segment | None]
"""The objects after a step, by name."""

Region = tuple[slice, ...]


def differences(before: Masks, after: Masks) -> list[dict[str, Any]]:
    """List the objects that differ, `{"object", "region", "bits"}` each; see docs/server.md.

    `bits` is the object as it is by then inside `region`; outside it is as it was. Objects that are
    gone are not mentioned.
    """
    found = []
    for name, new in after.items():
        old = before.get(name)
        if old is new:
            continue
        difference = changed(old, new)
        if difference is not None:
            region, mask = difference
            found.append({"object": name, **packed(mask, region)})
    return found


def packed(mask: NDArray[np.bool_], region: Region) -> dict[str, Any]:
    """Pack `region` as [first, end] per axis, and the mask in it: bits by row, deflated, in base64."""
    bits = zlib.compress(np.packbits(mask).tobytes(), 1)
    return {
        "region": [[r.start, r.stop] for r in region],
        "bits": base64.b64encode(bits).decode("ascii"),
    }


def unpacked(entry: Mapping[str, Any]) -> tuple[Region, NDArray[np.bool_]]:
    """Unpack the region and the mask that `packed` took."""
    region = tuple(slice(a, b) for a, b in entry["region"])
    shape = tuple(r.stop - r.start for r in region)
    bits = np.frombuffer(zlib.decompress(base64.b64decode(entry["bits"])), np.uint8)
    count = int(np.prod(shape))
    return region, np.unpackbits(bits, count=count).view(np.bool_).reshape(shape)


def changed(old: Segment | None, new: Segment | None) -> tuple[Region, NDArray[np.bool_]] | None:
    """Return the box in which two states of an object differ, and the new mask in it; None if they do
    not.
    """
    parts = [s for s in (old, new) if s is not None and s.crop.size]
    if not parts:
        return None
    around = tuple(
        slice(min(s.region[k].start for s in parts), max(s.region[k].stop for s in parts))
        for k in range(parts[0].crop.ndim)
    )
    before, after = (inside(s, around) for s in (old, new))
    unlike = before != after
    if not unlike.any():
        return None
    box = []
    for k in range(unlike.ndim):
        line = np.flatnonzero(unlike.any(axis=tuple(j for j in range(unlike.ndim) if j != k)))
        box.append(slice(int(line[0]), int(line[-1]) + 1))
    region = tuple(
        slice(a.start + b.start, a.start + b.stop) for a, b in zip(around, box, strict=True)
    )
    return region, after[tuple(box)]


def inside(segment: Segment | None, region: Region) -> NDArray[np.bool_]:
    """Return the mask of an object in a box that holds all of it."""
    mask = np.zeros([r.stop - r.start for r in region], dtype=bool)
    if segment is not None and segment.crop.size:
        place = tuple(
            slice(r.start - b.start, r.stop - b.start)
            for r, b in zip(segment.region, region, strict=True)
        )
        mask[place] = segment.crop
    return mask
