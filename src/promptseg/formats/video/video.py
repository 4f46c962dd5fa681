"""A video as a sequence of frames: decoded when they are asked for, few of them kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError

__all__ = ["Facts", "Video"]

_CACHE_BYTES = 256 << 20


@dataclass(frozen=True)
class Facts:
    """Facts that a video file tells of itself.

    Attributes:
        path: file or folder.
        format: as in `promptseg.image.Source`: "video", or "dicom".
        codec: what the frames are stored with, in words.
        size: (rows, columns) of a frame as it is shown: turned as the file says.
        colour: whether frames are RGB.
        times: seconds of every frame from the start of the file, float64, ascending; None where nothing
            says when frames were taken.
        turned: whether frames are turned or mirrored on their way here, as the file says.
        modality: one of `promptseg.image.MODALITIES`.
        header: for outputs of the same format; see `promptseg.image.Source`.
        notes: what was found on the way.
    """

    path: Path
    format: str
    codec: str
    size: tuple[int, int]
    colour: bool
    times: NDArray[np.float64] | None = None
    turned: bool = False
    modality: str = "unknown"
    header: Any = None
    notes: list[str] = field(default_factory=list)


class Video(ABC):
    """Frames in their order, as they are shown.

    Any frame may be asked for at any time by any thread. Frames that were decoded last are kept, as
    many as fit into `cache_bytes`; on the way back, a file is decoded from the key frame before.

    Args:
        facts: what is known before the first frame is decoded.
        count: number of frames.

    Attributes:
        cache_bytes: decoded frames kept, at least one.
        decoded: frames decoded so far.
    """

    def __init__(self, facts: Facts, count: int) -> None:
        self.facts, self.count, self.cache_bytes = facts, count, _CACHE_BYTES
        self.decoded = 0
        self._cache: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._under_way: Iterator[tuple[int, NDArray[Any]]] | None = None
        self._at = 0  # the frame that comes next of those under way
        self._one_at_a_time = RLock()

    def __len__(self) -> int:
        return self.count

    @property
    def name(self) -> str:
        """Return the short name, for messages."""
        return self.facts.path.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the values of frames."""
        return np.dtype(np.uint8)

    @property
    def rate(self) -> float | None:
        """Return the mean number of frames a second; None where there are no times."""
        times = self.facts.times
        if times is None or len(times) < 2 or times[-1] <= times[0]:
            return None
        return float((len(times) - 1) / (times[-1] - times[0]))

    @property
    def even(self) -> bool:
        """Tell whether frames follow each other at one rate, to the millisecond that files round to."""
        times = self.facts.times
        return times is None or len(times) < 3 or bool(np.ptp(np.diff(times)) < 0.0021)

    def frame(self, index: int) -> NDArray[Any]:
        """Return one frame, (rows, columns[, 3]), which is not to be changed.

        Raises:
            InputError: it cannot be decoded, or is of another size than the first.
            IndexError: there is no such frame.
        """
        if not 0 <= index < self.count:
            raise IndexError(index)
        with self._one_at_a_time:
            if index not in self._cache:
                self._decode_to(index)
            self._cache.move_to_end(index)
            return self._cache[index]

    def close(self) -> None:
        """Let go of the file."""
        with self._one_at_a_time:
            self._stop()
            self._cache.clear()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _key(self, index: int) -> int:
        """The frame from which decoding has to begin to reach another."""

    @abstractmethod
    def _decode(self, key: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Frames from a key frame on, each with its index."""

    def _decode_to(self, index: int) -> None:
        key = self._key(index)
        if self._under_way is None or not key <= self._at <= index:
            self._stop()
            self._under_way, self._at = self._decode(key), key
        while index not in self._cache:
            found = next(self._under_way, None)
            if found is None:
                self._stop()
                raise self.cut_at(index)
            at, frame = found
            self.decoded += 1
            if frame.shape[:2] != self.facts.size:
                raise self._changed(at, frame)
            frame.flags.writeable = False
            self._cache[at], self._at = frame, at + 1
            self._cache.move_to_end(at)
            self._forget(at)

    def _forget(self, newest: int) -> None:
        """Forget the frames that were asked for longest ago."""
        size = sum(frame.nbytes for frame in self._cache.values())
        for index in list(self._cache):
            if size <= self.cache_bytes or index == newest:
                break
            size -= self._cache.pop(index).nbytes

    def _stop(self) -> None:
        under_way, self._under_way = self._under_way, None
        close = getattr(under_way, "close", None)
        if close:
            close()

    def cut_at(self, index: int) -> InputError:
        """Make the error that a frame cannot be decoded, which says what can be done."""
        return InputError(
            f"a video whose {self.count} frames can be decoded",
            f"{self.facts.path}: frame {index} is damaged or missing",
            f"get the file again, or take the frames before it with --frames 0:{index - 1}"
            if index
            else "get the file again",
        )

    def _changed(self, index: int, frame: NDArray[Any]) -> InputError:
        (rows, columns), (other_rows, other_columns) = self.facts.size, frame.shape[:2]
        return InputError(
            f"frames of one size, {columns} x {rows} as the first",
            f"{self.facts.path}: frame {index} of {other_columns} x {other_rows}",
            f"take the frames before it with --frames 0:{index - 1}, or cut the video in two",
        )
