"""Options of how a file is read, defined once for Python, command line and configuration file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import tyro

from promptseg.errors import ChoiceError, InputError

__all__ = ["BesideOptions", "MaskOptions", "Outlines", "Pages", "ReadOptions", "Resample"]

Resample = Literal["never", "nearest"]
Pages = Literal["auto", "slices", "layers"]
Outlines = Literal["rle", "polygons"]
"""How COCO gets the outlines of objects."""
_Tables = tyro.conf.UseAppendAction[tuple[Literal["bids", "itk-snap", "slicer"], ...]]


@dataclass(kw_only=True)
class MaskOptions:
    """Say how files of masks are to be read, beside what they say themselves."""

    resample: Resample = "never"
    """Masks whose voxels are not those of the image: refuse them (never), or take the nearest voxel
    (nearest). Masks on the image's own voxels, in another order or a part of them, need neither."""

    pages: Pages = "auto"
    """Pages of a TIFF of masks: slices of a volume, or layers, one object each; as the file or the
    image says, if not given."""

    colours: str | None = None
    """Labels of a colour-coded mask, as 1=#800000,2=#008000; other colours but black are refused."""

    table: Path | None = None
    """Names and colours of labels: a BIDS _dseg.tsv, a label description of ITK-SNAP or a colour table
    of 3D Slicer. One that is called after the mask is found by itself."""


@dataclass(kw_only=True)
class BesideOptions:
    """Say what is written beside masks."""

    beside: _Tables = ()
    """Also write a table of names and colours beside a label image: bids (of ..._dseg.nii.gz, which
    has one unasked), itk-snap or slicer; may be repeated."""


PICK_ONE = "--frame picks one"
"""Advice beside a note that several frames were read together."""


@dataclass(kw_only=True)
class ReadOptions:
    """Choices that only some files leave open; a choice that a file does not have is refused."""

    series: str | None = None
    """SeriesInstanceUID, or its ending, where a folder holds several DICOM series."""

    frame: int | None = None
    """Which frame, counted from 0: time point of a 4D file, time point or echo of a DICOM series,
    image of an ultrasound cine, page of a TIFF."""

    frames: str | None = None
    """Frames of a video: FIRST:LAST[:STRIDE], counted from 0, both ends included (either may be left
    out)."""

    stack: str | None = None
    """Which stack of a DICOM series that holds several of other places or orientations: its StackID, or
    its number counted from 0 where it has none."""

    suv: bool = False
    """Turn a PET into standardised uptake values by body weight (g/ml)."""

    region: str | None = None
    """Region x,y,width,height of a whole-slide image, in pixels of its largest level."""

    microns: float | None = None
    """Micrometres per pixel a whole-slide image is read at (default: as fine as it was scanned)."""

    level: int | None = None
    """Which level of an OME-Zarr image, counted from 0, the finest."""

    nan_as: float | None = None
    """Value to put in place of NaN and infinite voxels, which are refused otherwise."""

    def chosen(self) -> list[str]:
        """Return the names of the options that were chosen, but for `nan_as`, which every file has."""
        return [
            f.name
            for f in fields(ReadOptions)
            if f.name != "nan_as" and getattr(self, f.name) != f.default
        ]

    def check(self) -> None:
        """Refuse values that make no sense for any file.

        Raises:
            InputError: a negative frame or level, or a resolution that is not above 0.
        """
        if self.frame is not None and self.frame < 0:
            raise InputError("a frame counted from 0", str(self.frame))
        if isinstance(self.level, int) and self.level < 0:
            raise InputError("a level counted from 0", str(self.level))
        if self.microns is not None and not 0 < self.microns < 1e6:
            raise InputError("micrometres per pixel above 0", str(self.microns))

    def frame_of(self, count: int, path: Path, what: str = "frames") -> int:
        """Choose the frame to read from a file that holds `count` of them; one alone needs no choice.

        Args:
            count: how many there are.
            path: for the message.
            what: what the format calls them.

        Raises:
            InputError: several frames and none chosen, or a choice beyond the last one.
        """
        if self.frame is None and count > 1:
            raise ChoiceError(
                "a choice of one frame",
                f"{path} with {count} {what}",
                f"choose one with --frame (0 to {count - 1})",
                option="frame",
                offers=f"{count} {what}",
            )
        if (self.frame or 0) >= count:
            raise InputError(
                "a frame that the file holds",
                f"frame {self.frame} of {path} with {count} {what}",
                f"choose one with --frame (0 to {count - 1})" if count > 1 else "leave --frame out",
            )
        return self.frame or 0
