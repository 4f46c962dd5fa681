"""Several DICOM objects in one message: multipart/related, as RFC 2387 and DICOM PS3.18 have it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from email.message import Message

__all__ = ["boundary_of", "encode", "parts"]

_LONGEST_HEADER = 1 << 16


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a message's parts from its type; None if it is not multipart/related."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        return None
    return boundary.encode("latin-1", "replace") or None


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Yield the contents of the parts of a message, each in pieces, in bounded memory.

    Every part has to be used up before the next one.

    Args:
        chunks: the message as it arrives, cut anywhere.
        boundary: see `boundary_of`.

    Raises:
        EOFError: the message ends before its closing boundary.
        ValueError: the header of a part does not end.
    """
    stream = _Stream(chunks)
    delimiter = b"\r\n--" + boundary
    for _ in stream.until(delimiter):
        pass  # a preamble says nothing
    while not stream.starts_with(b"--"):
        length = 0
        for piece in stream.until(b"\r\n\r\n"):
            length += len(piece)
            if length > _LONGEST_HEADER:
                raise ValueError("the header of a part does not end")
        yield stream.until(delimiter)


def encode(contents: Iterable[bytes]) -> tuple[str, bytes]:
    """Pack DICOM files into one multipart message; returns its Content-Type and its body."""
    boundary = f"promptseg-{secrets.token_hex(16)}"
    start = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(piece for content in contents for piece in (start, content, b"\r\n"))
    kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    return kind, body + f"--{boundary}--\r\n".encode()


class _Stream:
    """Chunks read from mark to mark."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b"\r\n"  # so that the first boundary looks like all others

    def until(self, mark: bytes) -> Iterator[bytes]:
        """What comes before the next `mark`, in pieces; the mark itself is taken too."""
        while (at := self._held.find(mark)) < 0:
            certain = max(0, len(self._held) - len(mark) + 1)
            piece, self._held = self._held[:certain], self._held[certain:]
            yield piece
            self._more()
        piece, self._held = self._held[:at], self._held[at + len(mark) :]
        yield piece

    def starts_with(self, text: bytes) -> bool:
        """Whether `text` comes next."""
        while len(self._held) < len(text):
            self._more()
        return self._held.startswith(text)

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise EOFError("the message ends before its closing boundary")
        self._held += chunk
