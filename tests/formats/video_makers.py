"""Videos that tests make themselves, with frames and time stamps they know."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 32)
MILLISECOND = Fraction(1, 1000)


def textured(count: int = 12, shape: tuple[int, int] = SHAPE) -> list[NDArray[np.uint8]]:
    """(rows, columns, 3) frames that differ from each other, and from their mirror images."""
    y, x = np.indices(shape)
    return [
        np.stack([np.full(shape, 20 * k % 256), 7 * x + k, 5 * y + 3 * k], -1).astype(np.uint8)
        for k in range(count)
    ]


def uneven(count: int) -> list[int]:
    """Milliseconds at which frames are shown, at no rate at all."""
    return np.cumsum([0, *(17 + k * 29 % 90 for k in range(count - 1))]).tolist()


def write_video(
    path: Path,
    frames: Sequence[NDArray[Any]],
    codec: str = "ffv1",
    pixels: str = "bgr0",
    stamps: Sequence[int] | None = None,
    unit: Fraction = MILLISECOND,
    turned: int | None = None,
    mirrored: bool = False,
    **options: str,
) -> Path:
    """Encode frames; lossless unless another codec is named.

    Args:
        path: its ending says the container.
        frames: (rows, columns[, 3]) uint8.
        codec, pixels, options: as FFmpeg calls them.
        stamps: of frames, in units; 40 ms apart if not given.
        unit: seconds.
        turned: degrees, counter-clockwise, that a player is to turn the frames by.
        mirrored: whether a player is to mirror them afterwards.
    """
    container_options = {k: options.pop(k) for k in ("movflags",) if k in options}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = unit
        if turned is not None or mirrored:
            stream.set_display_rotation(turned or 0, hflip=mirrored)
        for k, frame in enumerate(frames):
            made = av.VideoFrame.from_ndarray(frame, "gray" if frame.ndim == 2 else "rgb24")
            made.pts = stamps[k] if stamps is not None else 40 * k
            made.time_base = unit
            container.mux(stream.encode(made))
        container.mux(stream.encode())
    return path


def cut(path: Path, part: float) -> Path:
    """The same file without its end."""
    content = path.read_bytes()
    short = path.with_name(f"cut_{path.name}")
    short.write_bytes(content[: int(len(content) * part)])
    return short
