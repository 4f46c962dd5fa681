"""Whole slides in DICOM: tiles of one or several levels, put together where a region needs them.

PS3.3 C.8.12.4 and C.7.6.17: the Total Pixel Matrix of a level is cut into frames of one size, row by
row (TILED_FULL) or where each frame says (TILED_SPARSE, whose missing tiles are white).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.pixels import decoded_some

__all__ = ["TiledSlide", "levels_of"]

_NO_LEVELS = {"LABEL", "OVERVIEW", "THUMBNAIL"}
_WHITE = 255
_MOST_TILES = 10**7
_MICRONS_PER_MM = 1000.0


@dataclass(frozen=True)
class _Level:
    """One level of a slide.

    Attributes:
        instance: its object.
        size: (width, height) of the whole level.
        tile: (width, height) of a frame.
        places: (frames, 2) x and y of the first pixel of every frame.
    """

    instance: Instance
    size: tuple[int, int]
    tile: tuple[int, int]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, instance: Instance) -> _Level:
        """Check a header and find its tiles.

        Raises:
            InputError: tiles that do not make one 2D image.
        """
        header, name = instance.header, instance.path.name
        size = _number(header, "TotalPixelMatrixColumns"), _number(header, "TotalPixelMatrixRows")
        tile, count = (_number(header, "Columns"), _number(header, "Rows")), instance.frame_count
        across, down = (ceil(n / t) for n, t in zip(size, tile, strict=True))
        if max(count, across * down) > _MOST_TILES:
            raise InputError(f"at most {_MOST_TILES:,} tiles", f"{across * down:,} in {name}")
        layers = _number(header, "TotalPixelMatrixFocalPlanes", 1)
        if layers > 1 or _number(header, "NumberOfOpticalPaths", 1) > 1:
            raise InputError(
                "a slide of one focal plane and one optical path",
                f"{name} with several",
                "choose a tile with --frame, or export one plane",
            )
        if groups := header.get("PerFrameFunctionalGroupsSequence"):
            stated = [_place(group) for group in groups]
            if len(stated) >= count and None not in stated[:count]:
                places = np.array(stated[:count], np.int64) - 1
                return cls(instance, size, tile, places)
        if count != across * down:
            raise InputError(
                f"{across} x {down} tiles that fill the slide, or tiles that say where they are",
                f"{count} in {name}",
                "export it again",
            )
        rows, columns = np.divmod(np.arange(count), across)
        return cls(instance, size, tile, np.stack([columns * tile[0], rows * tile[1]], axis=1))

    def pixels(self, left: int, top: int, width: int, height: int) -> NDArray[Any]:
        """(height, width, channels) of a part of the level; white where there is no tile."""
        first, last = np.array([left, top]), np.array([left + width, top + height])
        inside = ((self.places < last) & (self.places + self.tile > first)).all(axis=1)
        frames = np.flatnonzero(inside).tolist()
        out: NDArray[Any] | None = None
        for frame, stored in zip(frames, decoded_some(self.instance, frames), strict=True):
            tile = stored[..., None] if stored.ndim == 2 else stored
            if out is None:
                out = np.full((height, width, tile.shape[-1]), _WHITE, tile.dtype)
            x, y = (int(n) for n in self.places[frame] - first)
            a, b = max(0, x), max(0, y)
            c, d = min(width, x + self.tile[0]), min(height, y + self.tile[1])
            out[b:d, a:c] = tile[b - y : d - y, a - x : c - x]
        return np.full((height, width, 3), _WHITE, np.uint8) if out is None else out


class TiledSlide:
    """A slide in DICOM, with what `promptseg.formats.slide` asks of the slides of `tiffslide`.

    Args:
        path: file or folder, for messages.
        instances: one per level, in any order.

    Attributes:
        dimensions: (width, height) of the largest level.
        level_dimensions: the same of every level, the largest first.
        level_downsamples: how much smaller each is.
        properties: micrometres per pixel, if the slide says.

    Raises:
        InputError: tiles that do not make a slide.
    """

    def __init__(self, path: Path, instances: Sequence[Instance]) -> None:
        levels = sorted(map(_Level.of, instances), key=lambda level: -level.size[0])
        self.path, self._levels = path, levels
        self.dimensions = levels[0].size
        self.level_dimensions = [level.size for level in levels]
        self.level_downsamples = [self.dimensions[0] / level.size[0] for level in levels]
        self.properties: dict[str, str] = {}
        if spacing := _spacing(levels[0].instance.header):
            down, across = (_MICRONS_PER_MM * s for s in spacing)
            self.properties = {"tiffslide.mpp-x": str(across), "tiffslide.mpp-y": str(down)}

    def close(self) -> None:
        """Close nothing, as nothing is held open."""

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int], as_array: bool = True
    ) -> NDArray[Any]:
        """Read a part of a level, (height, width, channels).

        Args:
            location: (x, y) of its first pixel, in pixels of the largest level.
            level: the level to take it from.
            size: (width, height), in pixels of that level.
            as_array: always.
        """
        x, y = (int(n / self.level_downsamples[level]) for n in location)
        return self._levels[level].pixels(x, y, *size)


def levels_of(instances: Iterable[Instance]) -> list[Instance]:
    """Return the levels of a slide among the objects of a series; none if they make no slide of tiles.

    2D images of the label and of the whole glass are left out.
    """
    found = []
    for instance in instances:
        kind = instance.header.get("ImageType")
        words = {str(word) for word in ([kind] if isinstance(kind, str) else kind or ())}
        if "TotalPixelMatrixColumns" in instance.header and not words & _NO_LEVELS:
            found.append(instance)
    return found if len(found) > 1 or any(i.frame_count > 1 for i in found) else []


def _number(header: pydicom.Dataset, keyword: str, otherwise: int = 0) -> int:
    """A whole number above 0.

    Raises:
        InputError: it is none.
    """
    try:
        number = int(str(header.get(keyword, otherwise)))
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(
            f"a slide that states its {keyword}", str(header.get(keyword)), "export it again"
        )
    return number


def _place(group: pydicom.Dataset) -> tuple[int, int] | None:
    """(x, y) of a tile, counted from 1; None if it does not say."""
    items = group.get("PlanePositionSlideSequence")
    if not items:
        return None
    try:
        return (
            int(str(items[0].get("ColumnPositionInTotalImagePixelMatrix"))),
            int(str(items[0].get("RowPositionInTotalImagePixelMatrix"))),
        )
    except ValueError:
        return None


def _spacing(header: pydicom.Dataset) -> tuple[float, float] | None:
    """Millimetres between rows and between columns; None if they are not stated."""
    shared = header.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    try:
        values = measures[0].get("PixelSpacing") if measures else None
        down, across = (float(str(v)) for v in values or ())
    except ValueError:
        return None
    return (down, across) if down > 0 and across > 0 else None
