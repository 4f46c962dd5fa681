"""Results of a video as files, in one pass over its frames, whatever their number."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.formats.video import Selection
from promptseg.formats.video.encode import lossless, viewable
from promptseg.intensity import Intensity
from promptseg.prompts import Box3D, PlacedPrompt
from promptseg.segment.video.draw import overlay_frame
from promptseg.segment.video.masks import FrameMasks

__all__ = ["AREAS", "LABELS", "MASKS", "OVERLAY", "Film", "write_film"]

OVERLAY, MASKS, LABELS, AREAS = "overlay.webm", "masks.zip", "labels.mkv", "areas.csv"
UNTIMED = 0.1
"""Seconds a frame is shown where nothing says when frames were taken."""

_COLUMNS = ("frame", "time_s", "label", "name", "area_px", "predicted_iou", "presence")
_CAPTION_FROM = 200  # rows: smaller frames have no room for words
_Each = Callable[[int, list[NDArray[np.bool_]]], object]


@dataclass(frozen=True)
class Film:
    """All that is written of a video.

    Attributes:
        frames: the video.
        masks: what was found, by place of the frame.
        names: of the objects; their labels are 1, 2, 3, ...
        prompts: placed on the frames.
        intensity: how frames are shown.
        layers: whether objects overlap and each has a layer of its own; else later ones win.
    """

    frames: Selection
    masks: FrameMasks
    names: Sequence[str]
    prompts: Sequence[PlacedPrompt]
    intensity: Intensity
    layers: bool

    @property
    def labels(self) -> range:
        """Return the label numbers of the objects."""
        return range(1, len(self.names) + 1)

    def planes(self, masks: list[NDArray[np.bool_]]) -> list[NDArray[Any]]:
        """Draw one image of all label numbers, or one for every object with its own."""
        kind = np.uint8 if len(self.names) < 256 else np.uint16
        if self.layers:
            return [np.where(m, n, 0).astype(kind) for n, m in zip(self.labels, masks, strict=True)]
        plane = np.zeros(self.masks.size, kind)
        for label, mask in zip(self.labels, masks, strict=True):
            plane[mask] = label
        return [plane]

    def seconds(self, place: int) -> float:
        """Return the time, in seconds, at which a written video shows a frame; 0 for the first one."""
        time = self.frames.time(place)
        return place * UNTIMED if time is None else time - (self.frames.time(0) or 0)

    @property
    def step(self) -> float:
        """Return the seconds from frame to frame, on average; of a lone frame those of its video."""
        last = len(self.frames) - 1
        return self.seconds(last) / last if last else 1 / (self.frames.video.rate or 1 / UNTIMED)


def write_film(
    film: Film, paths: Mapping[str, Path], on_frame: Callable[[int], None] | None = None
) -> None:
    """Write a video's results.

    Args:
        film: what to write.
        paths: `OVERLAY`, `MASKS`, `LABELS`, `AREAS` -> file; those without a path are left out.
        on_frame: told the number of frames done.

    Raises:
        OutputError: an encoder that is not there.
    """
    ways = {OVERLAY: _overlay, MASKS: _zip, LABELS: _label_video, AREAS: _table}
    with ExitStack() as stack:
        writers = [stack.enter_context(ways[name](film, path)) for name, path in paths.items()]
        for place in range(len(film.frames)):
            masks = [film.masks.on(number, place) for number in range(len(film.names))]
            for write in writers:
                write(place, masks)
            if on_frame:
                on_frame(place + 1)


@contextmanager
def _overlay(film: Film, path: Path) -> Iterator[_Each]:
    size = film.frames.video.facts.size
    title = "promptseg: research software, not a medical device"
    with viewable(path, size, title, film.step) as video:

        def write(place: int, masks: list[NDArray[np.bool_]]) -> None:
            pixels = film.intensity.apply(film.frames.frame(place))
            time = film.frames.time(place)
            caption = f"{film.frames.numbers[place]}" + ("" if time is None else f"   {time:.2f} s")
            here = [p for p in film.prompts if _lies_on(p, place)]
            words = caption if size[0] >= _CAPTION_FROM else ""
            drawn = overlay_frame(pixels, masks, film.names, here, words)
            video.add([drawn], film.seconds(place))

        yield write


@contextmanager
def _label_video(film: Film, path: Path) -> Iterator[_Each]:
    names = list(film.names) if film.layers else ["labels"]
    wide = len(film.names) > 255
    title = ", ".join(f"{n} {name}" for n, name in zip(film.labels, film.names, strict=True))
    with lossless(path, film.masks.size, names, wide, title, film.step) as video:
        yield lambda place, masks: video.add(film.planes(masks), film.seconds(place))


@contextmanager
def _zip(film: Film, path: Path) -> Iterator[_Each]:
    folders = [""]
    if film.layers:
        folders = [f"{n}_{_plain(name)}/" for n, name in zip(film.labels, film.names, strict=True)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def write(place: int, masks: list[NDArray[np.bool_]]) -> None:
            number = film.frames.numbers[place]
            for folder, plane in zip(folders, film.planes(masks), strict=True):
                content = io.BytesIO()
                PilImage.fromarray(plane).save(content, "PNG")
                entry = zipfile.ZipInfo(f"{folder}{number:06d}.png")  # of no date: same bytes again
                archive.writestr(entry, content.getvalue())

        yield write


@contextmanager
def _table(film: Film, path: Path) -> Iterator[_Each]:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(_COLUMNS)

        def write(place: int, masks: list[NDArray[np.bool_]]) -> None:
            time = film.frames.time(place)
            for label, name, mask in zip(film.labels, film.names, masks, strict=True):
                iou = film.masks.iou(label - 1, place)
                there = film.masks.presence(label - 1, place)
                rows.writerow(
                    (
                        film.frames.numbers[place],
                        "" if time is None else f"{time:.6f}",
                        *(label, name, int(mask.sum())),
                        "" if iou is None else f"{iou:.4f}",
                        "" if there is None else f"{there:.4f}",
                    )
                )

        yield write


def _lies_on(prompt: PlacedPrompt, place: int) -> bool:
    if isinstance(prompt, Box3D):
        _, first, last = prompt.on_axis("z")
        return first <= place <= last
    return prompt.slice == place


def _plain(name: str) -> str:
    """A name as any archive program can unpack it."""
    return re.sub(r"[^\w .,()+-]", "_", name)[:60].strip(" .") or "object"
