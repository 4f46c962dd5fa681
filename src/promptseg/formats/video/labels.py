"""Label videos -> layers: gray FFV1 streams, one of all numbers or one for each object."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory
from promptseg.formats.video.container import open_container, pyav

__all__ = ["read_label_streams"]

_KINDS = {"gray": np.uint8, "gray16le": np.uint16}


def read_label_streams(path: Path) -> tuple[NDArray[Any], list[str]] | None:
    """Read every stream of a lossless label video, bit for bit; None if it is another kind of video.

    Args:
        path: a video file.

    Returns:
        (stream, t, y, x) label numbers, and the names of their objects: a stream's title where each
        object has one, else those that the file's title lists; none where nothing names them.

    Raises:
        InputError: a file that was cut off or cannot be decoded, or streams that do not fit each other.
    """
    with open_container(path) as whole:
        count, size = whole.count, whole.facts.size
    av = pyav()
    planes: list[list[NDArray[Any]]] = []
    with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
        streams = list(container.streams.video)
        if any(s.codec_context.name != "ffv1" or s.pix_fmt not in _KINDS for s in streams):
            return None
        kind = np.result_type(*(_KINDS[s.pix_fmt] for s in streams))
        require_memory((2, len(streams), count, *size), kind.itemsize, path)
        titles = [str(s.metadata.get("title", "")) for s in streams]
        if len(streams) == 1:
            titles = _listed(str(container.metadata.get("title", "")))
        places = {stream.index: k for k, stream in enumerate(streams)}
        planes = [[] for _ in streams]
        try:
            for packet in container.demux(*streams):
                for frame in packet.decode():
                    planes[places[packet.stream.index]].append(frame.to_ndarray())
        except av.error.FFmpegError as error:
            raise InputError("a label video that can be decoded", f"{path} ({error})") from None
    if {(len(one), *(p.shape for p in one[:1])) for one in planes} != {(count, size)}:
        raise InputError("streams of one size, with as many frames each", f"{path} with others")
    return np.array(planes, dtype=kind), titles if all(titles) else []


def _listed(title: str) -> list[str]:
    """Names out of `1 liver, 2 spleen`, a comma within a name included."""
    names: list[str] = []
    while match := re.match(rf"{len(names) + 1} (.+?)(?:, (?={len(names) + 2} )|$)", title):
        names.append(match[1])
        title = title[match.end() :]
    return [] if title else names
