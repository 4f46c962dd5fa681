"""Any video by its path, as some of its frames or as a whole image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.memory import FEWER_FRAMES, require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.table import format_by_suffix
from promptseg.formats.video.cine import open_cine
from promptseg.formats.video.container import open_container
from promptseg.formats.video.folder import open_folder
from promptseg.formats.video.names import holds_images
from promptseg.formats.video.selection import Selection
from promptseg.geometry import Geometry
from promptseg.image import Image, Source
from promptseg.notes import Note

__all__ = ["is_video", "open_video", "read"]


def is_video(path: Path) -> bool:
    """Tell whether a path is a video: a file with the ending of one, or a folder with images in it."""
    if os.path.isdir(path):
        return holds_images(path)
    known = format_by_suffix(path)
    return known is not None and known.module == "video"


def open_video(path: Path, options: ReadOptions | None = None) -> Selection:
    """Open a video and choose frames of it; nothing but the first is decoded yet.

    Args:
        path: video file, animated GIF, folder of numbered images, or DICOM cine.
        options: `frames` chooses some, `series` a cine out of several.

    Raises:
        InputError: no video, one without frames, one that was cut off (unless `frames` is given), or a
            choice it does not have.
    """
    options = options or ReadOptions()
    known = format_by_suffix(path)
    if os.path.isdir(path) and holds_images(path):
        return Selection.of(open_folder(path), options.frames)
    if known is not None and known.module == "video":
        partly = options.frames is not None or options.frame is not None
        video = open_container(path, partly)
        return Selection.of(video, options.frames)
    cine = open_cine(path, options.series)
    if cine is None:
        raise InputError(
            "a video: frames in time",
            f"{path}, a DICOM image of another kind",
            "name a mask file as output",
        )
    return Selection.of(cine, options.frames)


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read all chosen frames at once, (t, y, x[, 3]), or one of them as a 2D image.

    Args:
        path: see `open_video`.
        options: `frames` chooses some, `frame` one.

    Raises:
        InputError: as `open_video`, a frame that cannot be decoded, or more than fits into memory.
    """
    options = options or ReadOptions()
    frames = open_video(path, options)
    with frames.video:
        facts, notes = frames.video.facts, frames.image().source.notes
        source = Source(facts.path, facts.format, facts.header, notes=notes)
        if options.frame is not None or len(frames) == 1:
            index = options.frame_of(len(frames), path)
            if len(frames) > 1:
                notes.append(Note.frame(frames.numbers[index], len(frames.video)))
            pixels = frames.frame(index).copy()
            return Image(pixels, Geometry.pixels(facts.size), facts.modality, source)
        lazy = frames.image().voxels
        require_memory(lazy.shape, lazy.dtype.itemsize, path, FEWER_FRAMES)
        voxels = np.empty(lazy.shape, lazy.dtype)
        for k in range(len(frames)):
            voxels[k] = frames.frame(k)
    return Image(voxels, Geometry.pixels(lazy.shape[:3]), facts.modality, source, video=True)
