"""Some frames of a video, of which gray values are measured before any is shown to a model."""

from __future__ import annotations

from promptseg.errors import InputError
from promptseg.formats.video import Selection
from promptseg.image import Image

__all__ = ["SAMPLE", "sample_of"]

SAMPLE = 32
"""Frames that gray values are measured on."""


def sample_of(frames: Selection, modality: str | None = None) -> Image:
    """Return some of the frames, evenly spread, as an image in memory.

    Args:
        frames: the video.
        modality: over what the file says.

    Raises:
        InputError: they are all of one value, or one of them cannot be decoded.
    """
    sample = frames.sample(SAMPLE)
    if modality:
        sample.modality = modality
    if sample.voxels.min() == sample.voxels.max():
        low = sample.voxels.min()
        raise InputError(
            "a video with more than one value",
            f"{frames.video.name}: every value of {len(sample.voxels)} frames is {low}",
            "check that it is the right file",
        )
    return sample
