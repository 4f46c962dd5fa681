"""Videos: files, animated GIF, folders of numbered images and DICOM cines, frame by frame.

A `Video` is a sequence of frames that are decoded when they are asked for, with the time of each.
"""

from promptseg.formats.video.opening import is_video, open_video, read
from promptseg.formats.video.selection import Selection, parse_frames
from promptseg.formats.video.video import Video

__all__ = ["Selection", "Video", "is_video", "open_video", "parse_frames", "read"]
