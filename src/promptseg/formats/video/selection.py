"""Some frames of a video: a range and a stride, and the same frames as an image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptError
from promptseg.formats.video.video import Video
from promptseg.geometry import Geometry
from promptseg.image import Image, Source

__all__ = ["LazyFrames", "Selection", "parse_frames"]

_RANGE = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*(?::\s*(\d+)\s*)?")


def parse_frames(text: str | None, count: int) -> range:
    """Parse FIRST:LAST[:STRIDE] as numbers of frames, both ends included.

    Args:
        text: the range, or None for all.
        count: frames there are.

    Raises:
        InputError: not a range, or one that leads beyond the last frame.

    Examples:
        >>> list(parse_frames("2:8:3", 20))
        [2, 5, 8]
    """
    if text is None:
        return range(count)
    match = _RANGE.fullmatch(text)
    first = int(match[1] or 0) if match else 0
    last = int(match[2] or count - 1) if match else 0
    stride = int(match[3] or 1) if match else 0
    if stride < 1 or first > last or last >= count:
        raise InputError(
            f"frames FIRST:LAST[:STRIDE] within 0:{count - 1}",
            repr(text),
            "write for example 0:299, or 0:299:5 for every fifth frame",
        )
    return range(first, last + 1, stride)


class Selection:
    """Frames of a video by their place among those that were chosen.

    Attributes:
        video: the whole.
        numbers: the chosen frames, counted in the video.
    """

    def __init__(self, video: Video, numbers: range) -> None:
        self.video, self.numbers = video, numbers

    @classmethod
    def of(cls, video: Video, frames: str | None) -> Selection:
        """Choose the frames of a video that `--frames` names."""
        return cls(video, parse_frames(frames, len(video)))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_all(self) -> bool:
        """Tell whether nothing was left out."""
        return len(self.numbers) == len(self.video)

    def frame(self, place: int) -> NDArray[Any]:
        """Return one of the chosen frames, (rows, columns[, 3]); see `Video.frame`."""
        return self.video.frame(self.numbers[place])

    def time(self, place: int) -> float | None:
        """Return the seconds from the file's start to a chosen frame; None where nothing says so."""
        times = self.video.facts.times
        return None if times is None else float(times[self.numbers[place]])

    def place(self, number: int, what: str = "a prompt") -> int:
        """Find the place of a frame of the video among the chosen ones.

        Raises:
            PromptError: it is not among them.
        """
        if number in self.numbers:
            return self.numbers.index(number)
        chosen, count = self.numbers, len(self.video)
        if not 0 <= number < count:
            raise PromptError(
                f"a frame from 0 to {count - 1}",
                f"{what} on {number}",
                "correct the number after @",
            )
        stride = f":{chosen.step}" if chosen.step > 1 else ""
        raise PromptError(
            f"{what} on the frames {chosen[0]}:{chosen[-1]}{stride}",
            f"frame {number}",
            "widen --frames, or prompt on one of them",
        )

    def sample(self, most: int) -> Image:
        """Read up to `most` of the frames, evenly spread, as an image in memory."""
        facts = self.video.facts
        places = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))
        voxels = np.stack([self.frame(int(place)) for place in places])
        source = Source(facts.path, facts.format)
        grid = Geometry.pixels(voxels.shape[:3])
        return Image(voxels, grid, facts.modality, source, video=True)

    def image(self, on_frame: Callable[[int], None] | None = None) -> Image:
        """Return the frames as an image of a video, whose voxels are decoded when they are looked at.

        Args:
            on_frame: told the number of frames so far, whenever all are gone through.
        """
        facts = self.video.facts
        notes = list(facts.notes)
        if not self.is_all:
            chosen = self.numbers
            stride = f", every {chosen.step}." if chosen.step > 1 else ""
            notes.append(f"frames {chosen[0]} to {chosen[-1]} of {len(self.video)}{stride}")
        source = Source(facts.path, facts.format, facts.header, notes=notes)
        frames = LazyFrames(self, on_frame)
        geometry = Geometry.pixels(frames.shape[:3])
        voxels = cast("NDArray[Any]", frames)
        return Image(voxels, geometry, facts.modality, source, video=True)


class LazyFrames:
    """(t, y, x[, 3]) frames in the place of an array: taken one by one, never as a whole.

    Attributes:
        shape, ndim, dtype: as of an array.
    """

    def __init__(self, frames: Selection, on_frame: Callable[[int], None] | None = None) -> None:
        self._frames, self._on_frame = frames, on_frame
        facts = frames.video.facts
        channels = (3,) if facts.colour else ()
        self.shape: tuple[int, ...] = (len(frames), *facts.size, *channels)
        self.ndim, self.dtype = len(self.shape), frames.video.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for k in range(len(self)):
            yield self._frames.frame(k)
            if self._on_frame:
                self._on_frame(k + 1)

    def __getitem__(self, key: int | tuple[Any, ...]) -> NDArray[Any]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        frame = self._frames.frame(int(first))
        return np.asarray(frame[tuple(rest)]) if rest else frame
