"""Segmentations: objects on the grid of an image, with what made them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, OutputError
from promptseg.geometry import Axis, Geometry, axis_position
from promptseg.image.image import Image, Source
from promptseg.parsing import LONGEST_NAME, name_fault
from promptseg.provenance import Provenance

__all__ = ["FoundByWords", "Segment", "Segmentation", "bounding_region"]

_HIGHEST_LABEL = 65_535


@dataclass(frozen=True)
class FoundByWords:
    """A phrase that was looked for, and how sure the model was of it.

    Attributes:
        text: the phrase as the model was given it.
        score: 0..1, the mean over the slices it was found on; the highest of all where on none.
        scores: slice -> the highest score there, on every slice that was looked at.
        presence: slice -> 0..1, that there is any; where the model says so.
        code: of SNOMED CT, where the table of terms knows the phrase; "" else.
        meaning: of the code.
    """

    text: str
    score: float
    scores: Mapping[int, float]
    presence: Mapping[int, float] = field(default_factory=dict)
    code: str = ""
    meaning: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FoundByWords:
        """Read what `to_json` gives.

        Raises:
            KeyError, TypeError, ValueError: anything else.
        """
        scores, presence = (
            {int(k): float(v) for k, v in content.get(name, ())} for name in ("scores", "presence")
        )
        texts = [content["text"], content.get("code", ""), content.get("meaning", "")]
        if not all(isinstance(one, str) for one in texts):
            raise TypeError("texts")
        return cls(texts[0], float(content["score"]), scores, presence, texts[1], texts[2])

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values; curves are lists of [slice, value]."""
        return {
            "text": self.text,
            "score": round(self.score, 4),
            **({"code": self.code, "meaning": self.meaning} if self.code else {}),
            "scores": [[k, round(v, 4)] for k, v in self.scores.items()],
            **(
                {"presence": [[k, round(v, 4)] for k, v in self.presence.items()]}
                if self.presence
                else {}
            ),
        }


@dataclass
class Segment:
    """One object of a segmentation: a mask cropped to its bounding box.

    Attributes:
        name: what the user calls it.
        label: integer id in label images, from 1.
        crop: boolean mask inside `region`.
        region: one slice per grid axis, array order; placing `crop` there gives the full mask.
        quality: predicted IoU per segmented slice, {slice index: value}; 0 for a 2D image.
        measurements: see `segment.measure`, which makes them when somebody looks.
        doubtful: whether the predicted IoU is so low that the model is often wrong there.
        prompted: slices that the user's own prompts answered; corrections elsewhere leave them alone.
        clicked: those of `prompted` whose mask clicks alone have made.
        colour: (red, green, blue) from 0 to 255 that the file it was read from recommends, if any.
        origin: what else that file says of it (codes, tags); opaque, for a writer of the same family.
        words: by what words it was found, and how surely on every slice, also after other prompts have
            corrected it in a session; None if by other prompts.

    Raises:
        InputError: a name that no file could hold.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Segment
        >>> mask = np.zeros((8, 32, 32), bool)
        >>> mask[2:5, 10:20, 8:12] = True
        >>> liver = Segment.from_mask("liver", 1, mask)
        >>> (liver.crop.shape, liver.region[0], bool((liver.mask(mask.shape) == mask).all()))
        ((3, 10, 4), slice(2, 5, None), True)
    """

    name: str
    label: int
    crop: NDArray[np.bool_]
    region: tuple[slice, ...]
    quality: dict[int, float] = field(default_factory=dict)
    measurements: Mapping[str, Any] = field(default_factory=dict)
    doubtful: bool = False
    prompted: tuple[int, ...] = ()
    clicked: tuple[int, ...] = ()
    colour: tuple[int, int, int] | None = None
    origin: Any = None
    words: FoundByWords | None = None

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise InputError(
                f"names of objects of at most {LONGEST_NAME} characters", fault, "rename the object"
            )

    @classmethod
    def from_mask(cls, name: str, label: int, mask: NDArray[np.bool_], **extra: Any) -> Segment:
        """Crop a full `mask` (grid shape, not 0 where the object is) to its bounding box."""
        mask = np.asarray(mask, dtype=bool)
        region = bounding_region(mask)
        return cls(name, label, mask[region].copy(), region, **extra)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was segmented."""
        return not self.crop.any()

    @property
    def predicted_iou(self) -> float | None:
        """Return the mean predicted IoU over the segmented slices (the model's own opinion)."""
        return float(np.mean(list(self.quality.values()))) if self.quality else None

    def mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return the full boolean mask on a grid of `shape`."""
        full = np.zeros(shape, dtype=bool)
        full[self.region] = self.crop
        return full

    def on_slice(self, index: int, geometry: Geometry, axis: Axis = "z") -> NDArray[np.bool_]:
        """Return the mask (rows, columns) on one slice of the grid; the whole mask of a 2D image."""
        if geometry.ndim == 2:
            return self.mask(geometry.shape)
        along = axis_position(axis)
        out = np.zeros(geometry.slice_shape(axis), dtype=bool)
        region = self.region[along]
        if region.start <= index < region.stop:
            rest = tuple(r for j, r in enumerate(self.region) if j != along)
            out[rest] = np.take(self.crop, index - region.start, axis=along)
        return out


def bounding_region(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box around the true voxels of `mask`, one slice per axis; empty if none."""
    region = []
    for k in range(mask.ndim):
        line = mask.any(axis=tuple(j for j in range(mask.ndim) if j != k))
        where = np.flatnonzero(line)
        region.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0))
    return tuple(region)


@dataclass
class Segmentation:
    """The objects found in one image, on the image's own grid.

    A value: what writes it lives above, in `promptseg.formats` and `promptseg.result`.

    Attributes:
        segments: the objects, in the order of the prompts; they may overlap.
        geometry: the grid of the image.
        source: the image's source, for same-grid output.
        provenance: what made this result, as far as it is known.
        image: the image itself, if it is still at hand (for overlays).

    Examples:
        >>> import numpy as np
        >>> from promptseg import Geometry, Segment, Segmentation
        >>> mask = np.zeros((8, 32, 32), bool)
        >>> mask[2:5, 10:20, 8:12] = True
        >>> liver = Segment.from_mask("liver", 1, mask)
        >>> found = Segmentation([liver], Geometry.from_spacing(mask.shape))
        >>> (found.names, int(found.labels().max()), int(found["liver"].sum()))
        ({1: 'liver'}, 1, 120)
    """

    segments: list[Segment]
    geometry: Geometry
    source: Source = field(default_factory=Source)
    provenance: Provenance = field(default_factory=Provenance)
    image: Image | None = None

    @property
    def names(self) -> dict[int, str]:
        """Map each label to the name of its object."""
        return {s.label: s.name for s in self.segments}

    @property
    def label_dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Return the smallest unsigned type that holds the labels."""
        return np.uint8 if max((s.label for s in self.segments), default=0) < 256 else np.uint16

    def header_of(self, format_name: str) -> Any:
        """Return the source's header, if it is of this format and still describes this grid."""
        return self.source.header_of(format_name, self.geometry)

    def overlaps(self) -> list[tuple[str, str, int]]:
        """Return the pairs of objects that share voxels: (name, name, shared voxels)."""
        pairs = []
        for i, a in enumerate(self.segments):
            for b in self.segments[i + 1 :]:
                common = tuple(
                    slice(max(p.start, q.start), min(p.stop, q.stop))
                    for p, q in zip(a.region, b.region, strict=True)
                )
                if any(c.stop <= c.start for c in common):
                    continue
                shared = _crop_at(a, common) & _crop_at(b, common)
                if shared.any():
                    pairs.append((a.name, b.name, int(shared.sum())))
        return pairs

    def has_overlap(self) -> bool:
        """Tell whether any two objects share a voxel."""
        taken = np.zeros(self.geometry.shape, dtype=bool)
        for segment in self.segments:
            there = taken[segment.region]
            if (there & segment.crop).any():
                return True
            there |= segment.crop
        return False

    def labels(self, later_wins: bool = False) -> NDArray[Any]:
        """Return the labels of all voxels as an array of the grid's shape; 0 is background.

        Raises:
            OutputError: objects overlap and `later_wins` is not set.
        """
        if not later_wins and (pairs := self.overlaps()):
            a, b, n = pairs[0]
            raise OutputError(
                "objects that do not overlap for a single label image",
                f"{a!r} and {b!r} sharing {n} voxels",
                "write a format that keeps one layer per object, or let later objects win with "
                "--overlap later-wins",
            )
        self.check_labels()
        labels = np.zeros(self.geometry.shape, dtype=self.label_dtype)
        for segment in self.segments:
            labels[segment.region][segment.crop] = segment.label
        return labels

    def check_labels(self) -> None:
        """Refuse numbers that a label image cannot hold or that would make two objects one.

        Raises:
            OutputError: a label below 1, beyond 16 bits, or of several objects.
        """
        owners: dict[int, str] = {}
        for segment in self.segments:
            if not 1 <= segment.label <= _HIGHEST_LABEL:
                raise OutputError(
                    f"labels from 1 to {_HIGHEST_LABEL} (16 bits)",
                    f"{segment.label} for {segment.name!r}",
                    "number the objects anew",
                )
            if segment.label in owners:
                raise OutputError(
                    "a label of its own for every object",
                    f"{segment.label} for {owners[segment.label]!r} and {segment.name!r}",
                    "number the objects anew",
                )
            owners[segment.label] = segment.name

    def without_overlap(self) -> Segmentation:
        """Return the same objects, each without the voxels of those that come after it."""
        owners = np.zeros(self.geometry.shape, dtype=np.uint32)
        for number, segment in enumerate(self.segments, 1):
            owners[segment.region][segment.crop] = number
        segments = [
            replace(segment, crop=owners[segment.region] == number)
            for number, segment in enumerate(self.segments, 1)
        ]
        return replace(self, segments=segments)

    def layers(self) -> NDArray[np.uint8]:
        """Return one 0/1 layer per object, (objects, *grid) uint8."""
        out = np.zeros((len(self.segments), *self.geometry.shape), dtype=np.uint8)
        for layer, segment in zip(out, self.segments, strict=True):
            layer[segment.region] = segment.crop
        return out

    def layer_values(self) -> list[int]:
        """Return the value that each object's voxels have in a file of layers: 1, or the label.

        Layers of 0 and 1 are what other programs expect; labels other than 1, 2, 3, ... would be lost
        by them.
        """
        labels = [segment.label for segment in self.segments]
        in_order = labels == list(range(1, len(labels) + 1))
        return [1] * len(labels) if in_order else labels

    def numbered_layers(self) -> NDArray[Any]:
        """Return one layer per object, (objects, *grid), its voxels by `layer_values`."""
        self.check_labels()
        out = np.zeros((len(self.segments), *self.geometry.shape), dtype=self.label_dtype)
        for layer, segment, value in zip(out, self.segments, self.layer_values(), strict=True):
            layer[segment.region] = segment.crop * np.asarray(value, dtype=self.label_dtype)
        return out

    def sha256(self) -> str:
        """Return the hash of all masks with their labels, for provenance and replays."""
        digest = hashlib.sha256(repr(self.geometry.shape).encode())
        for segment in self.segments:
            place = [(r.start, r.stop) for r in segment.region]
            digest.update(repr((segment.label, place)).encode())
            digest.update(np.packbits(segment.crop).tobytes())
        return digest.hexdigest()

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        """Full boolean mask of the object called `name`."""
        for segment in self.segments:
            if segment.name == name:
                return segment.mask(self.geometry.shape)
        raise KeyError(name)


def _crop_at(segment: Segment, common: tuple[slice, ...]) -> NDArray[np.bool_]:
    inside = tuple(
        slice(c.start - r.start, c.stop - r.start)
        for c, r in zip(common, segment.region, strict=True)
    )
    return segment.crop[inside]
