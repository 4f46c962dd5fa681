"""Promptable segmentation of medical images.

import promptseg

seg = promptseg.load("lite-medsam")
result = seg.segment(promptseg.read("scan.nii.gz"), promptseg.Box((120, 80, 200, 160), slice=40))
result.save("mask.nii.gz")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptseg import _moved
from promptseg._lazy import lazily
from promptseg._version import __version__
from promptseg.telemetry import refuse_telemetry

if TYPE_CHECKING:
    from promptseg.errors import PromptsegError
    from promptseg.formats import read
    from promptseg.geometry import Geometry
    from promptseg.image import Image, Segment
    from promptseg.prompts import Box, Box3D, Marker, Mask, Millimetres, Points, Text
    from promptseg.result import Result as Segmentation
    from promptseg.segment.options import SegmentOptions
    from promptseg.segment.segmenter import Segmenter, load
    from promptseg.segment.session import Session

__all__ = [
    "Box",
    "Box3D",
    "Geometry",
    "Image",
    "Marker",
    "Mask",
    "Millimetres",
    "Points",
    "PromptsegError",
    "Segment",
    "SegmentOptions",
    "Segmentation",
    "Segmenter",
    "Session",
    "Text",
    "__version__",
    "load",
    "read",
]

_HOME = {
    "Box": "prompts",
    "Box3D": "prompts",
    "Geometry": "geometry",
    "Image": "image",
    "Marker": "prompts",
    "Mask": "prompts",
    "Millimetres": "prompts",
    "Points": "prompts",
    "PromptsegError": "errors",
    "Segment": "image",
    "SegmentOptions": "segment.options",
    "Segmentation": "result",
    "Segmenter": "segment.segmenter",
    "Session": "segment.session",
    "Text": "prompts",
    "load": "segment.segmenter",
    "read": "formats",
}

refuse_telemetry()
_moved.install()


__getattr__, __dir__ = lazily(__name__, _HOME, {"Segmentation": "Result"})
