"""Masks of objects on the frames of a video, packed: a few hundred bytes each."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.image import Segment, bounding_region
from promptseg.models.protocol import SliceMasks

__all__ = ["FrameMasks", "Packed", "Unpacked"]


@dataclass(frozen=True)
class Packed:
    """The mask of one object on one frame.

    Attributes:
        box: first row, end of rows, first column, end of columns of the part that is kept.
        bits: that part, packed to bits and deflated.
        iou: predicted IoU; None where nothing says it.
        presence: logit that the object is on the frame at all; None where the model does not say.
    """

    box: tuple[int, int, int, int]
    bits: bytes
    iou: float | None = None
    presence: float | None = None

    @classmethod
    def of(
        cls, mask: NDArray[np.bool_], iou: float | None = None, presence: float | None = None
    ) -> Packed:
        """Pack a (rows, columns) mask."""
        rows, columns = bounding_region(mask)
        return replace(
            cls.of_part(mask[rows, columns], (rows, columns)), iou=iou, presence=presence
        )

    @classmethod
    def of_part(cls, crop: NDArray[np.bool_], region: tuple[slice, slice]) -> Packed:
        """Pack a mask of which the part around it is known, and the rows and columns that it takes."""
        rows, columns = region
        box = (rows.start, rows.stop, columns.start, columns.stop)
        return cls(box, zlib.compress(np.packbits(crop).tobytes(), 1))

    @property
    def is_empty(self) -> bool:
        """Tell whether the mask is empty."""
        return self.box[0] == self.box[1]

    @property
    def region(self) -> tuple[slice, slice]:
        """Return the rows and columns of the part that is kept."""
        return slice(*self.box[:2]), slice(*self.box[2:])

    def crop(self) -> NDArray[np.bool_]:
        """Unpack the part of the mask that is kept."""
        top, bottom, left, right = self.box
        shape = bottom - top, right - left
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Unpack the whole (rows, columns) mask."""
        full = np.zeros(size, dtype=bool)
        full[self.region] = self.crop()
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

    def add(
        self,
        object_: int,
        frame: int,
        mask: NDArray[np.bool_],
        iou: float | None = None,
        presence: float | None = None,
    ) -> None:
        """Join a mask to what there is."""
        known = self.found[object_].get(frame)
        if known is not None:
            mask = mask | known.mask(self.size)
            iou, presence = _greater(iou, known.iou), _greater(presence, known.presence)
        self.found[object_][frame] = Packed.of(mask, iou, presence)

    def on(self, object_: int, frame: int) -> NDArray[np.bool_]:
        """Return the (rows, columns) mask of an object on a frame; empty where nothing was found."""
        known = self.found[object_].get(frame)
        return np.zeros(self.size, dtype=bool) if known is None else known.mask(self.size)

    def iou(self, object_: int, frame: int) -> float | None:
        """Return the predicted IoU of an object on a frame; None where there is no mask, or an empty
        one.
        """
        known = self.found[object_].get(frame)
        return None if known is None or known.is_empty else known.iou

    def presence(self, object_: int, frame: int) -> float | None:
        """Return the probability that the object is on a frame; None where the model did not say."""
        known = self.found[object_].get(frame)
        if known is None or known.presence is None:
            return None
        return 0.5 + 0.5 * math.tanh(known.presence / 2)

    def absent(self, object_: int) -> list[int]:
        """Return the frames on which a model that says whether an object is there has found nothing of
        it.
        """
        return sorted(
            k for k, p in self.found[object_].items() if p.is_empty and p.presence is not None
        )

    def slices(self, object_: int) -> SliceMasks:
        """Return one object as a tracker takes it for correction; its masks stay packed."""
        filled = {k: p for k, p in self.found[object_].items() if not p.is_empty}
        return SliceMasks(
            Unpacked(self.size, filled),
            {k: p.iou for k, p in filled.items() if p.iou is not None},
            {k: p.presence for k, p in filled.items() if p.presence is not None},
        )

    def replace(self, object_: int, corrected: SliceMasks) -> None:
        """Replace one object after its correction; frames where it was not found stay known."""
        assert isinstance(corrected.masks, Unpacked), "as `slices` gave them"
        absent = {k: self.found[object_][k] for k in self.absent(object_)}
        found = {
            k: replace(p, iou=corrected.quality.get(k), presence=corrected.presence.get(k))
            for k, p in corrected.masks.packed.items()
        }
        self.found[object_] = {**absent, **found}

    def sha256(self) -> str:
        """Return the hash of all masks with their labels, 1, 2, 3, ..., for provenance and replays."""
        digest = hashlib.sha256(repr(self.size).encode())
        for label, found in enumerate(self.found, 1):
            for frame, packed in sorted(found.items()):
                if not packed.is_empty:
                    digest.update(repr((label, frame, packed.box)).encode())
                    digest.update(zlib.decompress(packed.bits))
        return digest.hexdigest()

    def overlap(self) -> tuple[int, int, int] | None:
        """Return two objects that share pixels, and the first frame where they do; None if none do."""
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
        """Draw the label numbers of objects on a frame, (rows, columns); later objects over earlier
        ones.
        """
        numbers = list(numbers)
        out = np.zeros(self.size, np.uint8 if max(numbers, default=0) < 256 else np.uint16)
        for number, label in enumerate(numbers):
            out[self.on(number, frame)] = label
        return out

    def segment(self, object_: int, name: str, label: int) -> Segment:
        """Return one object as a mask over all frames, cropped to where it is."""
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
        known = {k: p.iou for k, p in sorted(filled.items()) if p.iou is not None}
        quality = {k: round(iou, 4) for k, iou in known.items()}
        return Segment(name, label, crop, region, quality)

    def as_arrays(self, changed: Iterable[tuple[int, int]]) -> dict[str, NDArray[Any]]:
        """Return some of the masks, (object, frame) each, as arrays of numbers for the disk."""
        keys = sorted(changed)
        packed = [self.found[number][frame] for number, frame in keys]
        return {
            "keys": np.array(keys, dtype=np.int64).reshape(-1, 2),
            "boxes": np.array([p.box for p in packed], dtype=np.int64).reshape(-1, 4),
            "iou": np.array([p.iou for p in packed], dtype=np.float64),  # None is NaN
            "presence": np.array([p.presence for p in packed], dtype=np.float64),
            "sizes": np.array([len(p.bits) for p in packed], dtype=np.int64),
            "bits": np.frombuffer(b"".join(p.bits for p in packed), np.uint8),
        }

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put masks from `as_arrays` in the place of what there is."""
        ends = np.cumsum(arrays["sizes"]).tolist()
        bits = arrays["bits"].tobytes()
        for (number, frame), box, iou, presence, start, end in zip(
            arrays["keys"].tolist(),
            arrays["boxes"].tolist(),
            arrays["iou"].tolist(),
            arrays["presence"].tolist(),
            [0, *ends][:-1],
            ends,
            strict=True,
        ):
            known = (None if math.isnan(value) else value for value in (iou, presence))
            self.found[number][frame] = Packed(tuple(box), bits[start:end], *known)

    def frames(self) -> Iterator[int]:
        """Return the frames that have masks, ascending."""
        return iter(sorted(set().union(*self.found)))


class Unpacked(MutableMapping[int, NDArray[np.bool_]]):
    """Packed masks by frame as if they were (rows, columns) arrays.

    Args:
        size: (rows, columns); those of the masks that are put in, if not given.
        packed: by frame; none if not given.
    """

    def __init__(
        self, size: tuple[int, int] = (0, 0), packed: dict[int, Packed] | None = None
    ) -> None:
        self.size, self.packed = size, {} if packed is None else packed

    def __getitem__(self, frame: int) -> NDArray[np.bool_]:
        return self.packed[frame].mask(self.size)

    def __setitem__(self, frame: int, mask: NDArray[np.bool_]) -> None:
        rows, columns = mask.shape
        self.size = rows, columns
        self.packed[frame] = Packed.of(mask)

    def put(self, frame: int, packed: Packed, size: tuple[int, int]) -> None:
        """Put in a mask that is packed, of a frame of some (rows, columns)."""
        self.size, self.packed[frame] = size, packed

    def __delitem__(self, frame: int) -> None:
        del self.packed[frame]

    def __contains__(self, frame: object) -> bool:
        return frame in self.packed

    def __iter__(self) -> Iterator[int]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)

    def __copy__(self) -> Unpacked:
        return Unpacked(self.size, dict(self.packed))


def _greater(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
