"""Bodies of requests about videos; see `promptseg.serve.web.bodies`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "OpenVideo",
    "ResetVideo",
    "Results",
    "Track",
    "VideoObject",
    "VideoObjectChange",
    "VideoPrompt",
    "VideoSteps",
]


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """Open a video of the folder that is served."""

    path: str
    """Below the folder: a video file, a folder of numbered images, or a DICOM cine."""
    frames: str | None = None
    """FIRST:LAST[:STRIDE], both ends included; those that were worked on last, or all, if not given."""
    model: str | None = None
    """A loaded model; the first if not given."""
    modality: str | None = None
    """Over what the file says."""
    window: str | None = None
    """Intensity window the model sees: a name, percentile, minmax, or WIDTH/LEVEL."""
    propagate: str | None = None
    """How masks reach other frames; the model's own choice if not given."""
    series: str | None = None
    """SeriesInstanceUID, or its ending, where a folder holds several."""
    take_over: bool = False
    """End the session of another window on the video."""
    afresh: bool = False
    """Leave the earlier session on these frames aside."""


@dataclass(frozen=True, kw_only=True)
class VideoPrompt:
    """One prompt on a frame; exactly one of box, points, stroke and absent."""

    frame: int
    """Number of the frame in the video, from 0."""
    object: str | None = None
    """Name; the current object, or a first new one, if not given."""
    box: list[float] | None = None
    """[x0, y0, x1, y1], both ends inside."""
    points: list[list[float]] | None = None
    """[[x, y, label], ...] with label 1 inside and 0 outside."""
    stroke: list[list[float]] | None = None
    """[[x, y], ...] along a line that was drawn; its bounding box is the prompt."""
    absent: bool = False
    """The object, which was tracked, is not on this frame."""


@dataclass(frozen=True, kw_only=True)
class VideoObject:
    """A new object."""

    name: str | None = None
    """Name; the next free "object N" if not given."""


@dataclass(frozen=True, kw_only=True)
class VideoObjectChange:
    """Changes to an object."""

    object: str
    """Its name."""
    name: str | None = None
    """Its new name."""
    select: bool = False
    """Make it the current one."""
    remove: bool = False
    """Take it out; undo brings it back."""


@dataclass(frozen=True, kw_only=True)
class ResetVideo:
    """Start anew."""

    object: str | None = None
    """Which object; all if not given."""


@dataclass(frozen=True, kw_only=True)
class VideoSteps:
    """Steps back or forth."""

    to: int | None = None
    """Number of the step to go to; one step if not given."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """Propagate what was not propagated yet."""

    direction: Literal["both", "forward", "backward"] = "both"
    """forward: from the first prompted frame on; backward: up to the last one."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Write results."""

    what: list[Literal["overlay", "masks", "areas", "labels", "seg"]]
    """Which files: overlay video, zip of masks, table of areas, lossless label video, DICOM SEG."""
    folder: str | None = None
    """Folder below the root that they go into, with their provenance; for download if not given."""
    overwrite: bool = False
    """Replace files of these names in the folder."""
