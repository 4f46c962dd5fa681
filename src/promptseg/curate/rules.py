"""Rules, by what can be measured, that leave objects and images out of training.

MedSAM left out incomplete images, "segmentation targets with branching structures, inaccurate
annotations, and tiny volumes" (Methods, "Dataset curation and pre-processing") without saying how
these were told; docs/curate.md says what the rules here were chosen by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.curate.options import ConversionOptions
from promptseg.errors import InputError
from promptseg.image import Segment, bounding_region

__all__ = [
    "Excluded",
    "Exclusion",
    "MaskError",
    "Patch",
    "is_branching",
    "parts_of",
    "patch_on",
    "slenderness",
    "surviving",
    "tiny",
]

_EVERY_NEIGHBOUR = np.ones((3, 3), dtype=bool)
_SLENDER, _SOLID = 0.015, 0.5
_SIDE = 256


class MaskError(InputError):
    """A mask that cannot be used, told apart from an image that cannot: rule "unusable mask"."""


@dataclass(frozen=True)
class Exclusion:
    """Something that was left out.

    Attributes:
        dataset, case: of what.
        slice: of the object; None for the whole case, or an object of it.
        target: class of the object; empty for a case.
        rule: why, in a word or two.
        detail: measured values, or the error.
    """

    dataset: str
    case: str
    slice: int | None
    target: str
    rule: str
    detail: str


class Excluded(list[Exclusion]):
    """A list of what was left out of a case, which grows as the case is read.

    Args:
        dataset, case: which one.
    """

    def __init__(self, dataset: str, case: str) -> None:
        super().__init__()
        self.dataset, self.case = dataset, case

    def note(self, rule: str, detail: str, slice: int | None = None, target: str = "") -> None:
        """Add an exclusion."""
        self.append(Exclusion(self.dataset, self.case, slice, target, rule, detail))


@dataclass(frozen=True)
class Patch:
    """An object on one slice.

    Attributes:
        target: name of its class.
        mask: (rows, columns) bool, cropped to the object.
        top, left: where the crop lies.
    """

    target: str
    mask: NDArray[np.bool_]
    top: int
    left: int

    @property
    def area(self) -> int:
        """Return the number of pixels of the object."""
        return int(self.mask.sum())

    @property
    def place(self) -> tuple[slice, slice]:
        """Return the rows and columns of the slice that the crop covers."""
        rows, columns = self.mask.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)

    @classmethod
    def cropped(
        cls, target: str, mask: NDArray[np.bool_], top: int = 0, left: int = 0
    ) -> Patch | None:
        """Return a patch without empty margins; None if nothing is in the mask."""
        rows, columns = bounding_region(mask)
        if rows.start == rows.stop:
            return None
        return cls(target, mask[rows, columns], top + rows.start, left + columns.start)


def patch_on(segment: Segment, target: str, index: int | None) -> Patch | None:
    """Return an object on a slice or frame, or of a 2D image (`index` None); None where it is not."""
    if index is None:
        rows, columns = segment.region
        return Patch.cropped(target, segment.crop, rows.start, columns.start)
    along, rows, columns = segment.region
    if not along.start <= index < along.stop:
        return None
    return Patch.cropped(target, segment.crop[index - along.start], rows.start, columns.start)


def parts_of(patch: Patch) -> list[Patch]:
    """Return the connected parts of an object, each by itself; pixels at a corner are connected."""
    numbers, _ = ndimage.label(patch.mask, _EVERY_NEIGHBOUR)
    return [
        Patch(
            patch.target,
            numbers[place] == k,
            patch.top + place[0].start,
            patch.left + place[1].start,
        )
        for k, place in enumerate(ndimage.find_objects(numbers), 1)
    ]


def tiny(patch: Patch, shape: tuple[int, ...], options: ConversionOptions) -> str:
    """Tell why an object on a slice of `shape` is too small; empty if it is large enough."""
    area = patch.area
    if area < options.min_pixels:
        return f"{area} pixels, fewer than {options.min_pixels}"
    scaled = area * (_SIDE / max(shape)) ** 2
    if scaled < options.min_pixels_256:
        return f"{scaled:.1f} pixels at {_SIDE}, fewer than {options.min_pixels_256:g}"
    return ""


def surviving(
    patches: Iterable[Patch],
    index: int | None,
    shape: tuple[int, ...],
    options: ConversionOptions,
    excluded: Excluded,
) -> list[Patch]:
    """Return the objects of a slice that no rule leaves out.

    Args:
        patches: all of them.
        index: of the slice; None for a 2D image.
        shape: (rows, columns) of the slice.
        options: the rules.
        excluded: gets the others.
    """
    kept = []
    for whole in patches:
        for patch in parts_of(whole) if options.components else [whole]:
            if detail := tiny(patch, shape, options):
                excluded.note("tiny", detail, index, patch.target)
            elif not options.branching and (detail := is_branching(patch)):
                excluded.note("branching", detail, index, patch.target)
            else:
                kept.append(patch)
    return kept


def slenderness(mask: NDArray[np.bool_]) -> float:
    """Compute mean thickness over extent of the largest connected part, between 0 and about 0.5.

    The thickness is twice the area over the pixels of the edge, the extent the diagonal of the
    bounding box.
    """
    part = _largest_part(mask)
    edge = part.sum() - ndimage.binary_erosion(np.pad(part, 1)).sum()
    return float(2 * part.sum() / edge / np.hypot(*part.shape))


def is_branching(patch: Patch) -> str:
    """Tell why an object counts as branching (both values); empty if it does not.

    It does where its largest connected part is thin for its extent (`slenderness` below 0.015), and
    covers less than half of its convex hull, which a straight thin line does not.
    """
    thin = slenderness(patch.mask)
    if thin >= _SLENDER:
        return ""
    solid = _solidity(_largest_part(patch.mask))
    return f"slenderness {thin:.3f}, solidity {solid:.2f}" if solid < _SOLID else ""


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbers, count = ndimage.label(mask, _EVERY_NEIGHBOUR)
    if count < 2:
        return mask
    largest = 1 + int(np.bincount(numbers.ravel())[1:].argmax())
    place = ndimage.find_objects(numbers)[largest - 1]
    return np.asarray(numbers[place] == largest)


def _solidity(mask: NDArray[np.bool_]) -> float:
    """Area over that of the convex hull of all pixels with their corners."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)  # one beyond: the right corner
    ends = [np.stack([rows + k, side], axis=1) for k in (0, 1) for side in (first, last)]
    return float(mask.sum() / ConvexHull(np.concatenate(ends)).volume)
