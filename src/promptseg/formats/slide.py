"""Whole-slide images (SVS, NDPI, pyramidal TIFF) through tiffslide: regions and tiles of a stated size.

The grid of what is read is the slide's own: the centre of pixel (0, 0) of the largest level lies at
(0, 0), x grows along its rows and y along its columns, in millimetres where the slide says how large
its pixels are. So the mask of a region has its place on the slide, whatever the resolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import tiff  # noqa: F401 - quiets tifffile, which tiffslide reads with
from promptseg.formats.files import require_file
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.quiet import quiet
from promptseg.geometry import Geometry
from promptseg.image import Image, Source

if TYPE_CHECKING:
    from promptseg.formats.dicom.tiled import TiledSlide

__all__ = ["LONGEST_SIDE", "Region", "Slide", "SlideRegion", "read", "tiles"]

LONGEST_SIDE = 4096
"""Pixels along the longer side beyond which a slide is only read in part or at a lower resolution."""

_MICRONS_PER_MM = 1000.0
_FILTER = PilImage.Resampling.BICUBIC
_FILTER_REACH = 2


class Region(NamedTuple):
    """A rectangle on a slide, in pixels of its largest level."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Region:
        """Parse a region written as "x,y,width,height".

        Raises:
            InputError: other than four whole numbers, or nothing inside.
        """
        try:
            region = cls(*(int(part) for part in text.split(",")))
        except (TypeError, ValueError):
            raise InputError("a region x,y,width,height in whole pixels", repr(text)) from None
        if region.width < 1 or region.height < 1:
            raise InputError("a region of at least one pixel", repr(text))
        return region


@dataclass(frozen=True)
class SlideRegion:
    """The part of a slide that an image shows; the header of its source.

    Attributes:
        region: where, in pixels of the largest level.
        size: (width, height) of the largest level.
        microns: (x, y) micrometres per pixel of the image; None if the slide does not say.
    """

    region: Region
    size: tuple[int, int]
    microns: tuple[float, float] | None


def read(path: Path, options: ReadOptions | None = None, tiled: TiledSlide | None = None) -> Image:
    """Read a region of a slide, or all of it if it is small enough.

    Args:
        path: the slide.
        options: `region`, and `microns` per pixel, which take the next finer level and average it.
        tiled: the slide, if it is one in DICOM; others are opened by tiffslide.

    Raises:
        InputError: the extra `pathology` is not installed, a region outside, a resolution finer than
            the scan or without a known pixel size, or more pixels than is sane.
    """
    options = options or ReadOptions()
    if options.frame is not None:
        raise InputError("a page (--frame) or a region of a slide", "both", "leave one out")
    with closing(Slide(path, tiled)) as slide:
        whole = Region(0, 0, *slide.size)
        region = whole if options.region is None else Region.parse(options.region)
        width, height = slide.output_size(region, options.microns)
        if options.region is None and max(width, height) > LONGEST_SIDE:
            raise InputError(
                f"a slide of at most {LONGEST_SIDE} pixels along its longer side",
                f"{path} of {width} x {height} pixels{slide.resolution(options.microns)}",
                "choose a part with --region x,y,width,height or fewer pixels with --microns",
            )
        return slide.read(region, options.microns)


def tiles(
    path: str | Path, microns: float | None = None, size: int = 1024
) -> Iterator[tuple[Region, Image]]:
    """Cut a slide into tiles, row by row; those at the right and lower edge are smaller.

    Args:
        path: the slide.
        microns: micrometres per pixel of the tiles; as fine as scanned if None.
        size: pixels along each side of a tile.

    Yields:
        The region each tile covers and the tile, a 2D image (y, x[, 3]).

    Raises:
        InputError: as `read`.
    """
    path = Path(path)
    require_file(path, "a whole-slide image")
    if size < 1:
        raise InputError("tiles of at least one pixel", str(size))
    with closing(Slide(path)) as slide:
        step = [size * factor for factor in slide.factors(microns)]
        edges = [
            [*(round(k * s) for k in range(ceil(n / s - 1e-9))), n]
            for n, s in zip(slide.size, step, strict=True)
        ]
        for top, bottom in zip(edges[1], edges[1][1:], strict=False):
            for left, right in zip(edges[0], edges[0][1:], strict=False):
                region = Region(left, top, right - left, bottom - top)
                yield region, slide.read(region, microns)


class Slide:
    """An open slide: its size, its pixel size, and regions of it; for one thread at a time.

    Args:
        path: the slide.
        tiled: the slide, if it is one in DICOM; others are opened by tiffslide.

    Attributes:
        size: (width, height) of the largest level.
        microns: (x, y) micrometres per pixel of it; None if the slide does not say.

    Raises:
        InputError: no slide, or the extra `pathology` is not installed.
    """

    def __init__(self, path: Path, tiled: TiledSlide | None = None) -> None:
        self.path = path
        self._slide: Any = tiled or self._opened(path)
        width, height = self._slide.dimensions
        self.size = (int(width), int(height))
        self.microns = self._pixel_size()

    def _opened(self, path: Path) -> Any:
        """The slide by tiffslide."""
        try:
            from tiffslide import TiffSlide
        except ImportError:
            raise InputError(
                "the extra pathology for whole-slide images",
                f"{path} without it",
                "pip install 'promptseg[pathology]'",
            ) from None
        try:
            return TiffSlide(path)
        except Exception as error:  # it raises anything on broken files
            raise InputError(
                "a whole-slide image", f"{path} ({error})", "check that the file is complete"
            ) from error

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Return the size (width, height) of every level, the largest first."""
        return [(int(width), int(height)) for width, height in self._slide.level_dimensions]

    def close(self) -> None:
        """Let the file go."""
        self._slide.close()

    def _pixel_size(self) -> tuple[float, float] | None:
        found = [self._slide.properties.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
        if any(value is None or not 0 < float(value) < 1e6 for value in found):
            return None
        return float(found[0]), float(found[1])

    def factors(self, microns: float | None) -> tuple[float, float]:
        """Return how many pixels (x, y) of the largest level make one pixel at a resolution."""
        if microns is None:
            return 1.0, 1.0
        if self.microns is None:
            raise InputError(
                "a slide that says how large its pixels are",
                f"{self.path} without",
                "leave --microns out",
            )
        x, y = (microns / own for own in self.microns)
        if min(x, y) < 1 - 1e-3:
            raise InputError(
                f"a resolution no finer than the scan's {max(self.microns):.4g} microns per pixel",
                f"{microns:g}",
            )
        return x, y

    def output_size(self, region: Region, microns: float | None) -> tuple[int, int]:
        """Return the size (width, height) of a region in pixels at a resolution."""
        x, y = self.factors(microns)
        return max(1, round(region.width / x)), max(1, round(region.height / y))

    def resolution(self, microns: float | None) -> str:
        """Return words on the resolution, as in " at 0.5 microns per pixel"; "" if it is not known."""
        if microns is None and self.microns is not None:
            microns = self.microns[0]
        return "" if microns is None else f" at {microns:.4g} microns per pixel"

    def pixels(self, region: Region, size: tuple[int, int]) -> NDArray[Any]:
        """Read a region scaled to (width, height) pixels, from the coarsest level that is fine enough.

        Returns:
            (height, width[, 3]), in the slide's own type.

        Raises:
            InputError: a region that is not inside, or more pixels than fit into memory.
        """
        if (
            min(region.x, region.y) < 0
            or region.x + region.width > self.size[0]
            or region.y + region.height > self.size[1]
        ):
            raise InputError(
                f"a region inside the slide's {self.size[0]} x {self.size[1]} pixels",
                ",".join(map(str, region)),
            )
        return self._resampled(region, size)

    def read(
        self, region: Region, microns: float | None = None, size: tuple[int, int] | None = None
    ) -> Image:
        """Read a region as a 2D image on the slide's own grid.

        Args:
            region: where.
            microns: per pixel of the 2D image; as fine as scanned if None.
            size: (width, height) of the 2D image, in place of `microns`.

        Raises:
            InputError: as `pixels`, or a resolution finer than the scan or without a known pixel size.
        """
        size = size or self.output_size(region, microns)
        pixels = self.pixels(region, size)
        steps = (region.width / size[0], region.height / size[1])
        found = None
        if self.microns is not None:
            found = (steps[0] * self.microns[0], steps[1] * self.microns[1])
        source = Source(self.path, "slide", SlideRegion(region, self.size, found))
        source.notes.append(
            f"region {','.join(map(str, region))} of a slide of {self.size[0]} x {self.size[1]} "
            f"pixels{self.resolution(found[0] if found else None)}"
        )
        geometry = self._geometry(pixels.shape[:2], region, steps)
        return Image(pixels, geometry, "pathology", source)

    def _geometry(
        self, shape: tuple[int, ...], region: Region, steps: tuple[float, float]
    ) -> Geometry:
        if self.microns is None:
            return Geometry.pixels(shape)
        mm = np.array(self.microns) / _MICRONS_PER_MM
        # the middle of the first pixel lies half a pixel into the region
        origin = (np.array(region[:2]) + (np.array(steps) - 1) / 2) * mm
        return Geometry.from_spacing(shape, [*(steps * mm), 1.0], [*origin, 0.0])

    def _resampled(self, region: Region, size: tuple[int, int]) -> NDArray[Any]:
        """Pixels of a region from the coarsest level that is still fine enough, averaged to `size`."""
        wanted = (region.width / size[0], region.height / size[1])
        levels = [
            (self.size[0] / width, self.size[1] / height)
            for width, height in self._slide.level_dimensions
        ]
        enough = [max(x / wanted[0], y / wanted[1]) <= 1 + 1e-3 for x, y in levels]
        level = max(
            (k for k, fine in enumerate(enough) if fine), key=lambda k: levels[k], default=0
        )
        steps, extent = levels[level], self._slide.level_dimensions[level]
        low = [region[k] / steps[k] for k in range(2)]
        high = [(region[k] + region[k + 2]) / steps[k] for k in range(2)]
        reach = [ceil(_FILTER_REACH * wanted[k] / steps[k]) for k in range(2)]
        first = [max(0, int(low[k]) - reach[k]) for k in range(2)]
        last = [min(int(extent[k]), ceil(high[k]) + reach[k]) for k in range(2)]
        pixels = self._level_pixels(level, first, [b - a for a, b in zip(first, last, strict=True)])
        box = (low[0] - first[0], low[1] - first[1], high[0] - first[0], high[1] - first[1])
        return _scaled(pixels, box, size)

    def _level_pixels(self, level: int, first: list[int], size: list[int]) -> NDArray[Any]:
        """(y, x[, 3]) pixels of a level, counted in its own pixels."""
        require_memory((*size, 3), 2, self.path)
        downsample = float(self._slide.level_downsamples[level])
        location = []
        for start in first:  # tiffslide takes pixels of the largest level and divides them itself
            base = ceil(start * downsample)
            location.append(base if int(base / downsample) == start else base + 1)
        try:
            with quiet():
                pixels = np.asarray(
                    self._slide.read_region(tuple(location), level, tuple(size), as_array=True)
                )
        except (PromptsegError, MemoryError):
            raise
        except Exception as error:  # decoders raise anything on broken tiles
            raise InputError(
                "tiles that can be decoded",
                f"{self.path} ({type(error).__name__})",
                "check that the file is complete",
            ) from error
        if pixels.shape[-1] == 1:
            return np.ascontiguousarray(pixels[..., 0])
        if pixels.shape[-1] not in (3, 4):
            raise InputError(
                "a slide in gray or colour", f"{self.path} with {pixels.shape[-1]} channels"
            )
        return np.ascontiguousarray(pixels[..., :3])


def _scaled(
    pixels: NDArray[Any], box: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[Any]:
    """The part of `pixels` in `box` (left, top, right, bottom) averaged to `size` (width, height)."""
    left, top, right, bottom = (round(edge) for edge in box)
    if (right - left, bottom - top) == size and np.allclose(box, np.round(box), atol=1e-6):
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    if pixels.dtype == np.uint8:
        picture = PilImage.fromarray(pixels)
        return np.asarray(picture.resize(size, _FILTER, box=box))
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    planes = [
        np.asarray(PilImage.fromarray(plane.astype(np.float32)).resize(size, _FILTER, box=box))
        for plane in np.moveaxis(channels, -1, 0)
    ]
    limits = np.iinfo(pixels.dtype) if pixels.dtype.kind in "iu" else None
    scaled = np.stack(planes, axis=-1)
    if limits is not None:
        scaled = np.clip(np.rint(scaled), limits.min, limits.max)
    return scaled.astype(pixels.dtype).reshape(size[::-1] + pixels.shape[2:])
