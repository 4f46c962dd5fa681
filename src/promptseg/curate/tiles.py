"""Whole slides as tiles of 1024 x 1024 without overlap, and their masks cut the same way.

"Patches were extracted using a sliding window approach without overlaps. The patches located on
boundaries were padded to this size with 0." (MedSAM, Methods, "Dataset curation and pre-processing".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from promptseg.curate.options import ConversionOptions
from promptseg.curate.rules import Excluded, MaskError, Patch, patch_on, surviving
from promptseg.curate.slices import Piece, values_of
from promptseg.curate.sources import Origin
from promptseg.datasets import CaseFiles, target_of
from promptseg.datasets.truth import objects_of_labels
from promptseg.errors import GeometryError, InputError, PromptsegError, is_fault
from promptseg.formats import slide, tiff
from promptseg.formats.colour_coded import labels_of_colours, refuse_colours
from promptseg.formats.options import ReadOptions
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.whole import whole_labels
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Source

__all__ = ["TILE", "Mosaic", "is_slide", "tile_pieces"]

TILE = 1024
_SLIDES, _TIFFS = (".svs", ".ndpi"), (".tif", ".tiff")
_STEP = 16  # of the mosaic

Shape = tuple[int, int]
Cutter = Callable[[slide.Region, Shape], list[Patch]]


def is_slide(path: Path) -> bool:
    """Tell whether a file is a whole-slide image: by its name, or a large or pyramidal TIFF in
    tiles.
    """
    if path.suffix.lower() in _SLIDES:
        return True
    if path.suffix.lower() not in _TIFFS or not path.is_file():
        return False
    with suppress(Exception):  # a broken file: its reader says it better
        try:
            with open_with_pillow(path) as picture:
                return tiff.is_slide(picture, slide.LONGEST_SIDE)
        except UnidentifiedImageError:
            return tiff.holds_slide(path, slide.LONGEST_SIDE)
    return False


class Mosaic:
    """A small image of a whole slide, put together from its tiles."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], NDArray[Any]] = {}

    def add(self, region: slide.Region, pixels: NDArray[Any]) -> None:
        """Put a tile in its place."""
        self._tiles[region.y, region.x] = pixels[::_STEP, ::_STEP].copy()

    def image(self) -> Image | None:
        """Return the slide at every 16th pixel; None before there are tiles."""
        if not self._tiles:
            return None
        rows: dict[int, list[NDArray[Any]]] = {}
        for y, x in sorted(self._tiles):
            rows.setdefault(y, []).append(self._tiles[y, x])
        lines = [np.concatenate(own, axis=1) for own in rows.values()]
        return Image.from_array(np.concatenate(lines), "pathology")


def tile_pieces(
    case: CaseFiles,
    origin: Origin,
    options: ConversionOptions,
    excluded: Excluded,
    mosaic: Mosaic,
) -> Iterator[Piece]:
    """Yield the tiles of a slide that hold objects.

    Args:
        case: its image is a slide; its truth a TIFF of labels that is a slide itself, which is read
            tile by tile, or anything that datasets keep masks in, which has to fit into memory.
        origin: of the case.
        options: the rules, and the resolution.
        excluded: gets what is left out.
        mosaic: gets every tile.

    Raises:
        InputError: a slide that cannot be read.
        MaskError: a mask that cannot be read, or has values of no class.
        GeometryError: a mask of another size than the slide.
    """
    cut: Cutter | None = None
    for index, (region, tile) in enumerate(_readable(case.image, options.microns)):
        mosaic.add(region, tile.voxels)
        shape = (tile.geometry.shape[0], tile.geometry.shape[1])
        if cut is None:
            width, height = tile.source.header.size
            with _reading_mask(case):
                cut = _cutter(case, origin, (height, width), region, shape)
        with _reading_mask(case):
            patches = [p for p in cut(region, shape) if p.target not in options.exclude_target]
        kept = surviving(patches, index, (TILE, TILE), options, excluded) if patches else []
        if not kept:
            continue
        if tile.voxels.min() == tile.voxels.max():
            excluded.note("empty image", f"every pixel is {tile.voxels.min()}", index)
            continue
        values = values_of(tile, options.window)
        picture = values.stored.apply(tile.voxels)
        beyond = [(0, TILE - n) for n in shape] + [(0, 0)] * (picture.ndim - 2)
        microns = tile.source.header.microns or (1.0, 1.0)
        yield Piece(index, np.pad(picture, beyond), tuple(kept), microns, values)


def _readable(path: Path, microns: float | None) -> Iterator[tuple[slide.Region, Image]]:
    """Tiles; what the reader of slides raises as one of our errors."""
    try:
        yield from slide.tiles(path, microns, TILE)
    except PromptsegError:
        raise
    except Exception as error:  # libraries raise anything on broken tiles
        if is_fault(error):
            raise
        raise InputError("a whole-slide image", f"{path} ({error})", "get it again") from error


@contextmanager
def _reading_mask(case: CaseFiles) -> Iterator[None]:
    """What readers of masks raise, whatever it is, as errors of the mask."""
    try:
        yield
    except GeometryError:
        raise
    except PromptsegError as error:
        raise MaskError(error.expected, error.got, error.do) from error
    except Exception as error:  # tiles that are broken: errors of the codecs
        if is_fault(error):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MaskError(
            "a mask that can be read", f"{case.truth[0]} ({said})", "get it again"
        ) from error


def _cutter(
    case: CaseFiles, origin: Origin, whole: tuple[int, int], region: slide.Region, shape: Shape
) -> Cutter:
    """What gives the objects on a region of the slide, for tiles of a shape.

    Args:
        case, origin: as for `tile_pieces`.
        whole: (rows, columns) of the slide.
        region, shape: of the first tile; they say at which size the slide is used.
    """
    used = tuple(
        max(1, round(n * pixels / extent))
        for n, pixels, extent in zip(whole, shape, (region.height, region.width), strict=True)
    )
    sizes = list(dict.fromkeys([whole, (used[0], used[1])]))
    if len(case.truth) == 1 and is_slide(case.truth[0]):
        return _SlideMask(case.truth[0], origin, whole, sizes)
    for size in sizes:
        # as large as the mask, and no memory: readers of masks ask for the grid alone
        canvas = Image(
            np.broadcast_to(np.uint8(0), size),
            Geometry.pixels(size),
            "pathology",
            Source(case.image),
        )
        try:
            return _Objects(case.truth_reader(case, canvas).segments, whole, size)
        except GeometryError:
            if size == sizes[-1]:
                raise
    raise AssertionError("a slide has a size")


class _Objects:
    """Objects of a whole slide, cut to its tiles."""

    def __init__(self, segments: Sequence[Segment], whole: Shape, size: Shape) -> None:
        self.segments, self.whole, self.size = segments, whole, size

    def __call__(self, region: slide.Region, shape: Shape) -> list[Patch]:
        rows, columns = _places(region, shape, self.whole, self.size)
        found = []
        for segment in self.segments:
            if patch := _cut(segment, rows, columns):
                found.append(patch)
        return found


class _SlideMask:
    """Labels that are a slide themselves, read tile by tile."""

    def __init__(self, path: Path, origin: Origin, whole: Shape, sizes: list[Shape]) -> None:
        self.path, self.classes, self.whole = path, origin.classes, whole
        width, height = slide.read(path, ReadOptions(region="0,0,1,1")).source.header.size
        self.size = (height, width)
        if self.size not in sizes:
            raise GeometryError(
                f"a mask as large as its slide, {sizes[0][1]} x {sizes[0][0]} pixels",
                f"{path}: {width} x {height}",
                "resample it with nearest neighbours",
            )

    def __call__(self, region: slide.Region, shape: Shape) -> list[Patch]:
        rows, columns = _places(region, shape, self.whole, self.size)
        place = (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)
        read = slide.read(self.path, ReadOptions(region=",".join(map(str, place)))).voxels
        if read.ndim == 3 and not self.classes.colours:
            raise refuse_colours(read, self.path)
        if read.ndim == 3:
            read = labels_of_colours(read, self.classes.colours, self.path)
        labels = whole_labels(read, self.path, [])
        labels = labels[np.ix_(rows - rows[0], columns - columns[0])]
        segments = objects_of_labels(labels, self.classes, self.path)
        return [p for s in segments if (p := patch_on(s, target_of(s), None))]


def _places(
    region: slide.Region, shape: Shape, whole: Shape, size: Shape
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a mask of `size` that are nearest to the pixels of a tile."""
    found = []
    for start, extent, count, of_slide, of_mask in zip(
        (region.y, region.x), (region.height, region.width), shape, whole, size, strict=True
    ):
        middles = start + (np.arange(count) + 0.5) * extent / count
        found.append(np.minimum(middles * of_mask / of_slide, of_mask - 1).astype(np.int64))
    return found[0], found[1]


def _cut(segment: Segment, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Patch | None:
    """What of an object lies on some rows and columns of its grid; both increase."""
    inside = []
    for places, extent in zip((rows, columns), segment.region, strict=True):
        first, last = np.searchsorted(places, (extent.start, extent.stop))
        if first == last:
            return None
        inside.append((int(first), places[first:last] - extent.start))
    (top, down), (left, across) = inside
    return Patch.cropped(target_of(segment), segment.crop[np.ix_(down, across)], top, left)
