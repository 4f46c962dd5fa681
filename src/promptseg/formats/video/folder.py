"""A folder of numbered images as a video; nothing in it says when they were taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptsegError, is_fault
from promptseg.formats import image_2d
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.video.names import numbered_images
from promptseg.formats.video.video import Facts, Video

__all__ = ["ImageFrames", "open_folder"]

_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def open_folder(folder: Path) -> ImageFrames:
    """Open the 2D images of a folder as a video, in the order of their numbers.

    Raises:
        InputError: names that do not say the order (see `numbered_images`), or a first 2D image that
            cannot be read.
    """
    return ImageFrames(folder, numbered_images(folder))


class ImageFrames(Video):
    """The 2D images of a folder as frames; see `open_folder`."""

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self.files = files
        first = self._read(0)
        require_memory(first.shape, 4 * first.itemsize, files[0])
        self._dtype, colour = first.dtype, self._is_colour(0)
        codec = f"pictures ({', '.join(sorted({f.suffix.lower().lstrip('.') for f in files}))})"
        size = (first.shape[0], first.shape[1])
        super().__init__(Facts(folder, "video", codec, size, colour), len(files))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the first image."""
        return self._dtype

    def _key(self, index: int) -> int:
        return index

    def _decode(self, key: int) -> Iterator[tuple[int, NDArray[Any]]]:
        for index in range(key, self.count):
            frame = self._read(index)
            if frame.ndim == 2 and self.facts.colour:
                frame = np.repeat(frame[..., None], 3, axis=-1)
            if (frame.ndim == 3) != self.facts.colour or frame.dtype != self._dtype:
                raise InputError(
                    "frames of one kind, all gray or all in colour",
                    f"{self.files[index]}, another kind than {self.files[0].name}",
                    "convert it, or move it away",
                )
            yield index, frame

    def _read(self, index: int) -> NDArray[Any]:
        path = self.files[index]
        try:
            found = image_2d.read(path, ReadOptions())
        except PromptsegError:
            raise
        except Exception as error:  # Pillow raises anything on broken files
            if is_fault(error):
                raise
            raise InputError(
                "frames that can be read", f"{path} ({error})", "get it again, or move it away"
            ) from error
        if found.kind != "picture":
            raise InputError("frames that are single 2D images", f"{path}: several", "move it away")
        if found.voxels.dtype.kind == "f" and not np.isfinite(found.voxels).all():
            raise InputError("finite values in frames", f"{path} with others", "correct it")
        return found.voxels

    def _is_colour(self, index: int) -> bool:
        with open_with_pillow(self.files[index]) as opened:
            return opened.mode not in _GRAY_MODES
