"""Frames -> video files: VP9 in WebM to look at, FFV1 in Matroska to compute with.

Neither encoder is under the GPL. Matroska counts milliseconds: frames less than one apart are moved
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import OutputError
from promptseg.formats.video.container import pyav

__all__ = ["Encoder", "lossless", "viewable"]

_VP9 = {"deadline": "realtime", "cpu-used": "8", "crf": "24", "row-mt": "1"}
_FFV1 = {"level": "3", "slicecrc": "1", "g": "1"}
_BT709, _LIMITED = 1, 1
_STEP = 0.04
_STANDARD = 1001  # rates are fractions with at most this below: 30000/1001 frames a second


class Encoder:
    """A file being written; see `viewable` and `lossless`."""

    def __init__(self, path: Path, family: str, title: str, step: float) -> None:
        self._av, self._step = pyav(), step
        self._container: Any = self._av.open(
            str(path.absolute()), "w", format=family, options={"fflags": "bitexact"}
        )
        self._container.metadata["title"] = title
        self._streams: list[Any] = []
        self._last = -1

    def add(self, frames: Sequence[NDArray[Any]], seconds: float) -> None:
        """Encode one frame for every stream.

        Args:
            frames: (rows, columns, 3) uint8 of a viewable video, (rows, columns) uint8 or uint16 of a
                lossless one.
            seconds: when it is shown; later than the frame before.
        """
        self._last = max(self._last + 1, round(1000 * seconds))
        for stream, pixels in zip(self._streams, frames, strict=True):
            if pixels.ndim == 3:
                frame = self._av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709)
            else:
                kind = "gray" if pixels.dtype == np.uint8 else "gray16le"
                frame = self._av.VideoFrame.from_ndarray(pixels, kind)
            frame.pts, frame.time_base = self._last, stream.codec_context.time_base
            self._mux(stream, frame)

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for stream in self._streams:
                    self._mux(stream, None)
        finally:
            self._container.close()

    def _mux(self, stream: Any, frame: Any) -> None:
        for packet in stream.encode(frame):
            packet.duration = max(1, round(1000 * self._step))  # else the last frame has none
            self._container.mux(packet)

    def _stream(self, codec: str, size: tuple[int, int], options: dict[str, str]) -> Any:
        try:
            stream = self._container.add_stream(codec, rate=_rate(self._step), options=options)
        except self._av.error.FFmpegError as error:
            raise OutputError(
                f"PyAV with the encoder {codec}", f"one without ({error})", "pip install av"
            ) from None
        stream.height, stream.width = size
        stream.codec_context.time_base = Fraction(1, 1000)
        self._streams.append(stream)
        return stream


def viewable(path: Path, size: tuple[int, int], title: str, step: float = _STEP) -> Encoder:
    """Open an encoder of a video for people: VP9 in WebM, which browsers play.

    Args:
        path: the file; it is written over.
        size: (rows, columns).
        title: of the file.
        step: seconds from frame to frame, on average; players are told the rate, and show the last
            frame for as long.
    """
    made = Encoder(path, "webm", title, step)
    stream = made._stream("libvpx-vp9", size, _VP9)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.bit_rate, context.colorspace, context.color_range = 0, _BT709, _LIMITED
    return made


def lossless(
    path: Path,
    size: tuple[int, int],
    names: Sequence[str],
    wide: bool,
    title: str,
    step: float = _STEP,
) -> Encoder:
    """Open an encoder of a video of numbers: FFV1 in Matroska, each frame by itself, with a checksum.

    Args:
        path: the file; it is written over.
        size: (rows, columns).
        names: titles of its streams, one each.
        wide: whether numbers have 16 bits.
        title: of the file.
        step: seconds from frame to frame, on average.
    """
    made = Encoder(path, "matroska", title, step)
    for name in names:
        stream = made._stream("ffv1", size, _FFV1)
        stream.pix_fmt = "gray16le" if wide else "gray"
        stream.metadata["title"] = name
    return made


def _rate(step: float) -> Fraction:
    """Frames a second; slow ones as one frame in so many seconds."""
    step = max(step, 0.001)
    if step <= 1:
        return Fraction(1 / step).limit_denominator(_STANDARD)
    return 1 / Fraction(step).limit_denominator(_STANDARD)
