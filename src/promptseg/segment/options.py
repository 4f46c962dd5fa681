"""Every option of the main job, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from promptseg.errors import InputError
from promptseg.geometry import Axis

__all__ = ["SegmentOptions", "parse_slices"]


@dataclass(kw_only=True)
class SegmentOptions:
    """How to go from an image and prompts to masks."""

    modality: str | None = None
    """Modality of the image, over what the file says: CT, MR, PET, US, XR, MG, OCT, endoscopy,
    dermoscopy, fundus, pathology, microscopy."""

    window: str | None = None
    """Intensity window: a name (soft-tissue, lung, lung-medsam, brain, bone, ...) or WIDTH/LEVEL."""

    axis: Axis = "z"
    """Axis the slices are taken along; z is the stack."""

    slices: str | None = None
    """Range FIRST:LAST of slices (both included) outside which nothing is segmented."""

    propagate: Literal["box", "none"] = "box"
    """How a prompt on one slice reaches the others: box (each slice is prompted with the box of its
    neighbour's mask) or none."""

    margin: float = 0.0
    """Enlarges the neighbour's box on every side, as a fraction of its length."""

    min_iou: float = 0.5
    """The object ends where the masks of two neighbouring slices agree less than this (IoU)."""

    min_quality: float = 0.0
    """The object ends where the predicted IoU falls below this."""

    max_growth: float = 2.0
    """The object ends where its area grows by more than this factor from one slice to the next."""

    largest_component: bool = False
    """Keep only the largest connected part of each object."""

    fill_holes: bool = False
    """Fill holes inside each object, slice by slice."""

    smooth_slices: int = 0
    """Majority vote over this many slices on either side of each slice."""

    force: bool = False
    """Pass on prompts the model was not trained for."""

    batch: int | None = None
    """Slices encoded at a time; chosen for the device if not given."""

    def __post_init__(self) -> None:
        _require(0 <= self.margin <= 1, "margin", "a fraction from 0 to 1", self.margin)
        _require(0 <= self.min_iou <= 1, "min_iou", "an IoU from 0 to 1", self.min_iou)
        _require(0 <= self.min_quality <= 1, "min_quality", "an IoU from 0 to 1", self.min_quality)
        _require(self.max_growth > 1, "max_growth", "a factor above 1", self.max_growth)
        _require(self.smooth_slices >= 0, "smooth_slices", "0 or more", self.smooth_slices)
        _require(self.batch is None or self.batch > 0, "batch", "a number above 0", self.batch)
        parse_slices(self.slices, 1 << 31)

    def to_json(self) -> dict[str, Any]:
        """The options as plain values, without anything a subclass adds."""
        return {f.name: getattr(self, f.name) for f in fields(SegmentOptions)}


def parse_slices(text: str | None, count: int) -> tuple[int, int]:
    """FIRST:LAST -> the first and last slice, both included; either side may be left out.

    Args:
        text: the range, or None for all.
        count: number of slices there are.

    Raises:
        InputError: not a range, or a range without any slice of the image.
    """
    if text is None:
        return 0, count - 1
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        low = int(first) if first.strip() else 0
        high = int(last) if last.strip() else count - 1
    except ValueError:
        raise InputError("slices FIRST:LAST", repr(text), "write for example 20:45") from None
    if low < 0 or low > high or low >= count:
        raise InputError(f"slices within 0:{count - 1}", repr(text), "correct the range")
    return low, min(high, count - 1)


def _require(holds: bool, name: str, expected: str, got: Any) -> None:
    if not holds:
        raise InputError(f"{name} to be {expected}", repr(got), "correct the option")
