"""Masks of objects on the frames of a video, packed: a few hundred bytes each."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.image import Segment, bounding_region

__all__ = ["FrameMasks", "Packed"]


@dataclass(frozen=True)
class Packed:
    """The mask of one object on one frame.

    Attributes:
        box: first row, end of rows, first column, end of columns of the part that is kept.
        bits: that part, packed to bits and deflated.
        iou: predicted IoU.
    """

    box: tuple[int, int, int, int]
    bits: bytes
    iou: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], iou: float) -> Packed:
        """Pack a (rows, columns) mask."""
        rows, columns = bounding_region(mask)
        bits = np.packbits(mask[rows, columns])
        box = (rows.start, rows.stop, columns.start, columns.stop)
        return cls(box, zlib.compress(bits.tobytes(), 1), iou)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return self.box[0] == self.box[1]

    def crop(self) -> NDArray[np.bool_]:
        """The kept part."""
        top, bottom, left, right = self.box
        shape = bottom - top, right - left
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The whole (rows, columns) mask."""
        full = np.zeros(size, dtype=bool)
        top, bottom, left, right = self.box
        full[top:bottom, left:right] = self.crop()
        return full


class FrameMasks:
    """Masks by object and frame; of several answers for one of them, the union counts.

    Args:
        size: (rows, columns) of a frame.
        objects: number of objects.
    """

    def __init__(self, size: tuple[int, int], objects: int) -> None:
        self.size = size
        self.found: list[dict[int, Packed]] = [{} for _ in range(objects)]

    def add(self, object_: int, frame: int, mask: NDArray[np.bool_], iou: float) -> None:
        """Join a mask to what there is."""
        known = self.found[object_].get(frame)
        if known is not None:
            mask, iou = mask | known.mask(self.size), max(iou, known.iou)
        self.found[object_][frame] = Packed.of(mask, iou)

    def on(self, object_: int, frame: int) -> NDArray[np.bool_]:
        """(rows, columns) mask; empty where nothing was found."""
        known = self.found[object_].get(frame)
        return np.zeros(self.size, dtype=bool) if known is None else known.mask(self.size)

    def iou(self, object_: int, frame: int) -> float | None:
        """Predicted IoU where there is a mask with something in it."""
        known = self.found[object_].get(frame)
        return None if known is None or known.is_empty else known.iou

    def overlap(self) -> tuple[int, int, int] | None:
        """Two objects that share pixels, and the first frame where they do; None if none do."""
        for frame in sorted(set().union(*self.found)):
            taken = np.zeros(self.size, dtype=bool)
            owners: list[int] = []
            for number in range(len(self.found)):
                mask = self.on(number, frame)
                if (taken & mask).any():
                    first = next(k for k in owners if (self.on(k, frame) & mask).any())
                    return first, number, frame
                taken |= mask
                owners.append(number)
        return None

    def labels(self, frame: int, numbers: Iterable[int]) -> NDArray[Any]:
        """(rows, columns) of label numbers; later objects over earlier ones."""
        numbers = list(numbers)
        out = np.zeros(self.size, np.uint8 if max(numbers, default=0) < 256 else np.uint16)
        for number, label in enumerate(numbers):
            out[self.on(number, frame)] = label
        return out

    def segment(self, object_: int, name: str, label: int) -> Segment:
        """One object as a mask over all frames, cropped to where it is."""
        filled = {k: p for k, p in self.found[object_].items() if not p.is_empty}
        if not filled:
            return Segment.from_mask(name, label, np.zeros((1, 1, 1), dtype=bool))
        boxes = np.array([p.box for p in filled.values()])
        first, last = min(filled), max(filled)
        top, left = int(boxes[:, 0].min()), int(boxes[:, 2].min())
        bottom, right = int(boxes[:, 1].max()), int(boxes[:, 3].max())
        crop = np.zeros((last - first + 1, bottom - top, right - left), dtype=bool)
        for frame, packed in filled.items():
            y0, y1, x0, x1 = packed.box
            crop[frame - first, y0 - top : y1 - top, x0 - left : x1 - left] = packed.crop()
        region = slice(first, last + 1), slice(top, bottom), slice(left, right)
        quality = {k: round(p.iou, 4) for k, p in sorted(filled.items())}
        return Segment(name, label, crop, region, quality)

    def as_arrays(self, changed: Iterable[tuple[int, int]]) -> dict[str, NDArray[Any]]:
        """Some of the masks, (object, frame) each, as arrays of numbers for the disk."""
        keys = sorted(changed)
        packed = [self.found[number][frame] for number, frame in keys]
        return {
            "keys": np.array(keys, dtype=np.int64).reshape(-1, 2),
            "boxes": np.array([p.box for p in packed], dtype=np.int64).reshape(-1, 4),
            "iou": np.array([p.iou for p in packed], dtype=np.float64),
            "sizes": np.array([len(p.bits) for p in packed], dtype=np.int64),
            "bits": np.frombuffer(b"".join(p.bits for p in packed), np.uint8),
        }

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Masks from `as_arrays`, in the place of what there is."""
        ends = np.cumsum(arrays["sizes"]).tolist()
        bits = arrays["bits"].tobytes()
        for (number, frame), box, iou, start, end in zip(
            arrays["keys"].tolist(),
            arrays["boxes"].tolist(),
            arrays["iou"].tolist(),
            [0, *ends[:-1]],
            ends,
            strict=True,
        ):
            self.found[number][frame] = Packed(tuple(box), bits[start:end], iou)

    def frames(self) -> Iterator[int]:
        """Frames that have masks, ascending."""
        return iter(sorted(set().union(*self.found)))
