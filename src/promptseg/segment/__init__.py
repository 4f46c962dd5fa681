"""The main job: 2D images and volumes, propagation, post-processing, measurements."""

from promptseg.segment.options import SegmentOptions

__all__ = ["SegmentOptions"]
