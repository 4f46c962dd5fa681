"""MP4, QuickTime, AVI, Matroska, WebM and animated GIF through PyAV (FFmpeg).

A first pass over the packets, none of them decoded, tells how many frames there are, when each is
shown, and which of them decoding can start from. Frames are then known by their time stamps: one that
is not where it should be is an error, never another frame in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, MissingPackageError
from promptseg.formats.files import require_file
from promptseg.formats.memory import require_memory
from promptseg.formats.video.video import Facts, Video
from promptseg.formats.video.whole import announced_bytes, family_of

__all__ = ["Container", "open_container", "pyav"]

_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Colour matrices by their number in H.273 -> what the converter calls them."""


def pyav() -> ModuleType:
    """Load PyAV, or say that it is missing.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingPackageError("PyAV (av)", "for videos", "video") from None
    av.logging.set_libav_level(av.logging.PANIC)  # what matters of it is an error of ours
    return av


@dataclass(frozen=True)
class _Index:
    """The frames of a stream in the order they are shown.

    Attributes:
        stamps: time stamps in units of the stream.
        keys: the frames that decoding can start from, ascending; the first is 0.
        seconds: of each frame.
        by_order: whether stamps cannot be trusted, so that frames are counted from the first one.
    """

    stamps: NDArray[np.int64]
    keys: NDArray[np.int64]
    seconds: NDArray[np.float64]
    by_order: bool


def open_container(path: Path, partly: bool = False) -> Container:
    """Open a video file and decode its first frame.

    Args:
        path: the file.
        partly: whether a file that was cut off will do, as far as it goes.

    Raises:
        InputError: no video, sound alone, no frames, too large a frame, or a file that was cut off.
        MissingPackageError: PyAV is not installed.
    """
    require_file(path, "a video file")
    with path.open("rb") as stream:
        family = family_of(stream.read(12))
    if family is None:
        raise InputError(
            "a video (MP4, QuickTime, AVI, Matroska, WebM or GIF)",
            f"{path}: something else",
            "check that it is the right file",
        )
    av = pyav()
    cut = announced_bytes(path, family) > path.stat().st_size
    try:
        video = Container(path, family, cut)
    except (av.error.FFmpegError, InputError) as error:
        if cut:
            raise _cut_off(path, 0) from error
        if isinstance(error, InputError):
            raise
        reason = str(error).partition("]")[2].partition(":")[0].strip() or str(error)
        raise InputError(
            "a video that can be read", f"{path} ({reason})", "check that the file is complete"
        ) from None
    if cut:
        good = video.count_decodable()
        if not partly or not good:
            video.close()
            raise _cut_off(path, good)
        video.count = good
        video.facts.notes.append(f"the file is cut off: {good} frames can be decoded")
    return video


def _cut_off(path: Path, good: int) -> InputError:
    frames = f"its first {good} frames can be decoded" if good else "no frame of it can be decoded"
    return InputError(
        "a complete video file",
        f"{path}, which is cut off: {frames}",
        f"get it again, or take these with --frames 0:{good - 1}" if good else "get it again",
    )


class Container(Video):
    """The first video stream of a file; see `open_container`."""

    def __init__(self, path: Path, family: str, cut: bool) -> None:
        av, self._path, self._family = pyav(), path, family
        self._error = av.error.FFmpegError
        notes: list[str] = []
        with path.open("rb") as stream, self._opened(stream) as container:
            chosen = _video_stream(container, path, notes)
            self._number = chosen.index
            context = chosen.codec_context
            if context is None:
                raise InputError(
                    "a codec that can be read",
                    f"{path}, whose frames are stored with one that is not known here",
                    "convert it, for example to MP4 with H.264",
                )
            require_memory((context.height, context.width, 3), 4, path)
            reorders = bool(context.has_b_frames)
            codec = f"{context.codec.long_name} ({context.name})"
            self._index = self._indexed(container, chosen, family == "avi" and reorders, cut)
            ratio = chosen.sample_aspect_ratio
        if not len(self._index.stamps):
            raise InputError("a video with frames", f"{path}: none", "get it again")
        self._file: BinaryIO | None = None
        self._container: Any = None
        super().__init__(Facts(path, "video", codec, (0, 0), True), len(self._index.stamps))
        first = next(self._raw(0), None)
        if first is None:
            raise InputError("a video with frames", f"{path}: none can be decoded", "get it again")
        self._gray = first.format.name.startswith(("gray", "mono"))
        pixels, turned = self._pixels(first)
        depth = max(part.bits for part in first.format.components)
        if depth > 8:
            notes.append(f"{depth} bits per value are read as 8")
        if ratio and ratio != 1:
            notes.append(
                f"pixels are not square (width to height {ratio}); they are left as they are"
            )
        if self._index.by_order and not cut:
            notes.append("the time stamps of frames do not tell them apart: frames are counted")
        self.facts = Facts(
            path,
            "video",
            codec=codec,
            size=pixels.shape[:2],
            colour=not self._gray,
            times=self._index.seconds,
            turned=turned,
            notes=notes,
        )

    def _opened(self, stream: BinaryIO) -> Any:
        return pyav().open(stream, format=self._family, metadata_errors="replace")

    def close(self) -> None:
        """Let go of the file."""
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        if self._container is not None:
            self._container.close()
        if self._file is not None:
            self._file.close()
        self._container = self._file = None

    def count_decodable(self) -> int:
        """Count the frames, from the first on, that can be decoded; all are tried."""
        try:
            return sum(1 for _ in self._decode(0))
        except InputError:
            return self._reached

    def _indexed(self, container: Any, chosen: Any, reordered: bool, cut: bool) -> _Index:
        """A pass over all packets."""
        stamps: list[int | None] = []
        starts: list[bool] = []
        try:
            for packet in container.demux(chosen):
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
                    starts.append(packet.is_keyframe)
        except self._error:
            if not cut:
                raise
        known = [stamp for stamp in stamps if stamp is not None]
        if reordered or len(set(known)) < len(stamps):
            rate = float(chosen.average_rate or chosen.guessed_rate or 25)
            order = np.arange(len(stamps), dtype=np.int64)
            return _Index(order, order[:1], order / rate, True)
        order = np.argsort(np.array(known, dtype=np.int64), kind="stable")
        ascending = np.array(known, dtype=np.int64)[order]
        keys = np.flatnonzero(np.array(starts, dtype=bool)[order])
        start = (container.start_time or 0) / 1e6
        seconds = ascending * float(chosen.time_base) - start
        first = np.array([0], dtype=np.int64)
        return _Index(ascending, np.union1d(first, keys)[: len(ascending)], seconds, False)

    def _key(self, index: int) -> int:
        keys = self._index.keys
        return int(keys[np.searchsorted(keys, index, side="right") - 1])

    def _decode(self, key: int) -> Iterator[tuple[int, NDArray[Any]]]:
        self._reached = key
        try:
            for frame in self._raw(key):
                index = self._reached
                stamp = None if self._index.by_order else int(self._index.stamps[index])
                if frame.is_corrupt or (stamp is not None and frame.pts != stamp):
                    raise self.cut_at(index)
                self._reached += 1
                yield index, self._pixels(frame)[0]
                if self._reached == self.count:
                    return
        except self._error:
            raise self.cut_at(self._reached) from None

    def _raw(self, key: int) -> Iterator[Any]:
        """Frames of FFmpeg from a key frame on."""
        if self._container is None or key == 0:  # seeking to the very start fails in some files
            self._let_go()
            self._file = self._path.open("rb")
            self._container = self._opened(self._file)
            self._container.streams[self._number].codec_context.thread_count = 1
        chosen = self._container.streams[self._number]
        if key == 0:
            yield from self._container.decode(chosen)
            return
        first = int(self._index.stamps[key])
        self._container.seek(first, stream=chosen)
        for frame in self._container.decode(chosen):
            if frame.pts is not None and frame.pts >= first:  # what comes before leans on others
                yield frame

    def _pixels(self, frame: Any) -> tuple[NDArray[np.uint8], bool]:
        """(rows, columns[, 3]) as shown, and whether it had to be turned."""
        wanted = "gray" if self._gray else "rgb24"
        if frame.format.name != wanted:
            matrix = _MATRICES.get(int(frame.colorspace))
            converted = frame.reformat(format=wanted, src_colorspace=matrix)
        else:
            converted = frame
        return _turned(converted.to_ndarray(), frame.side_data.get("DISPLAYMATRIX"))


def _turned(pixels: NDArray[Any], matrix: Any) -> tuple[NDArray[np.uint8], bool]:
    """A frame as its display matrix shows it: turned by right angles and mirrored, or as it is.

    The matrix takes a pixel (x, y) to (a x + c y, b x + d y), y downwards (ISO 14496-12, 8.3.2).
    """
    if matrix is None:
        return pixels, False
    values = np.frombuffer(bytes(matrix), np.int32)
    a, b, c, d = (int(v) for v in np.sign(np.where(abs(values) < 1 << 8, 0, values))[[0, 1, 3, 4]])
    if (a, b, c, d) == (1, 0, 0, 1) or abs(a * d - b * c) != 1 or abs(a) + abs(b) != 1:
        return pixels, False
    if a:
        shown = pixels[::d, ::a]
    else:
        shown = pixels.swapaxes(0, 1)[::b, ::c]
    return np.ascontiguousarray(shown), True


def _video_stream(container: Any, path: Path, notes: list[str]) -> Any:
    """The stream of pictures that move; a cover is none."""
    covers = pyav().stream.Disposition.attached_pic
    found = [s for s in container.streams.video if not s.disposition & covers]
    if not found:
        sound = "sound alone" if container.streams.audio else "no 2D images"
        raise InputError("a video", f"{path}: {sound}", "name a file with 2D images")
    if len(found) > 1:
        notes.append(f"the first of {len(found)} video streams is read")
    return found[0]
