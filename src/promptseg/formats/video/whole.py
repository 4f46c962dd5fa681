"""Is a video file complete? Told by its own structure, without a frame decoded.

Which of the four families a file is of is told by its first bytes too: FFmpeg is not left to guess, for
some of what it knows (playlists) names other files and addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

__all__ = ["announced_bytes", "family_of"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_BOXES = 10_000


def family_of(head: bytes) -> str | None:
    """Return FFmpeg's name for the kind of a video file, by its first bytes; None if it is no video."""
    if head.startswith(_EBML):
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    return "mov" if head[4:8] in _BOXES else None


def announced_bytes(path: Path, family: str) -> int:
    """Return how long a file has to be by what it says of itself; its own length if it says nothing."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if family == "matroska":
            return _end_of_segment(stream) or size
        if family == "avi":
            return int.from_bytes(stream.read(8)[4:], "little") + 8
        if family == "gif":
            return _end_of_gif(stream, size)
        return max(size, _end_of_boxes(stream, size))


def _end_of_boxes(stream: BinaryIO, size: int) -> int:
    """End of the last box of an MP4 or QuickTime file; they follow each other from the start."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > size:
            break
        stream.seek(at)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file
            return size
        at += length
    return at


def _end_of_segment(stream: BinaryIO) -> int:
    """End of the segment of a Matroska or WebM file; 0 where it is left open, as in live streams."""
    for wanted in (_EBML, _SEGMENT):
        if stream.read(4) != wanted:
            return 0
        first = stream.read(1)
        width = 9 - first[0].bit_length() if first and first[0] else 9
        if width > 8:
            return 0
        rest = stream.read(width - 1)
        length = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
        if length == (1 << 7 * width) - 1:
            return 0
        if wanted == _EBML:
            stream.seek(length, 1)
    return stream.tell() + length


def _end_of_gif(stream: BinaryIO, size: int) -> int:
    """One byte more than there are where the trailer is missing; zeros after it do not count."""
    stream.seek(max(0, size - 4096))
    return size if stream.read().rstrip(b"\0").endswith(b";") else size + 1
