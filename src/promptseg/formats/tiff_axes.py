"""Pages of a TIFF as it describes them: slices, channels, time points, objects, and size of pixels.

ImageJ, OME and tifffile write it into the description of the first page, each in its way:
ImageJ as lines (`channels=2`, `slices=4`; channels fastest, then slices, then frames; `spacing` and
`unit` with the resolution of the page), OME-TIFF as XML (`DimensionOrder`, `SizeZ`, `TiffData`,
`PhysicalSizeX`), tifffile as JSON (`shape`, `axes`), this package as JSON too (`promptseg`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.options import PICK_ONE, ReadOptions
from promptseg.notes import Note

__all__ = ["LAYERS", "Chosen", "Stated", "Tags", "choose", "description_of_layers", "stated_axes"]

LAYERS = "one page per object"
"""What this package writes of pages that are objects of one 2D image."""

_MOST_DESCRIPTION = 1 << 26  # characters
_WORDS = {
    "C": "channels",
    "Z": "slices",
    "T": "time points",
    "O": "objects",
    "P": "planes of several images",
    "Q": "pages",
}
_MILLIMETRES = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
    **dict.fromkeys(("inch", "in"), 25.4),
    "\\u00b5m": 1e-3,
    "Å": 1e-7,
    "pm": 1e-9,
}
_LINE = re.compile(r"^(\w+)=(.*)$", re.M)


@dataclass(frozen=True)
class Tags:
    """Tags of a TIFF's first page, as far as they are needed here.

    Attributes:
        description: ImageDescription; "" if there is none.
        resolution: pixels per unit along x and y; None where it is not said.
        count: number of pages.
    """

    description: str
    resolution: tuple[float, float] | None
    count: int


@dataclass(frozen=True)
class Stated:
    """Meaning of the pages of a TIFF, as the file states it.

    Attributes:
        by: who says so: "ImageJ", "OME", "tifffile" or "promptseg".
        axes: one letter for each axis of `pages`, slowest first: Z slices, C channels, T time points,
            O objects; anything else is unknown.
        pages: number of the page at each place.
        spacing: (x, y, z) in mm; None where it is not said.
        objects: label and name of each object.
        notes: what had to be assumed.
    """

    by: str
    axes: str
    pages: NDArray[np.int64]
    spacing: tuple[float | None, float | None, float | None] = (None, None, None)
    objects: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()

    def size(self, axis: str) -> int:
        """Return the size along an axis; 1 if there is none of that letter."""
        return self.pages.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def stack(self) -> str:
        """Return the letter of the axis that is read as a stack; "" if there is none."""
        for axis in ("Z", "T"):
            if self.size(axis) > 1:
                return axis
        unknown = [a for a in self.axes if a not in "CTZOP" and self.size(a) > 1]
        return unknown[-1] if unknown else ""

    def words(self) -> str:
        """Return the sizes in words, as in "2 channels x 4 slices"."""
        sizes = zip(self.axes, self.pages.shape, strict=True)
        return " x ".join(f"{n} {_word(a)}" for a, n in sizes if n > 1)


@dataclass(frozen=True)
class Chosen:
    """The pages to be read.

    Attributes:
        pages: their numbers, in order.
        stack: "Z", "T" or another letter where they make a stack; "" for a 2D image.
        spacing: (x, y, z) in mm; None if not all that the grid needs is said.
        notes: for the user.
    """

    pages: list[int]
    stack: str = ""
    spacing: tuple[float, float, float] | None = None
    notes: list[str] = field(default_factory=list)


def description_of_layers(objects: list[tuple[int, str]]) -> str:
    """Return the ImageDescription of a file with one page per object; (label, name) of each."""
    return json.dumps({"promptseg": LAYERS, "objects": objects})


def stated_axes(tags: Tags, path: Path) -> Stated | None:
    """Return what a TIFF says of its pages; None if it says nothing.

    Raises:
        InputError: it says of more pages than it has, or keeps some in other files.
    """
    text = tags.description.strip("\0 \r\n\t")[:_MOST_DESCRIPTION]
    if text.startswith("ImageJ="):
        return _of_imagej(text, tags, path)
    if text.startswith("{"):
        return _of_json(text, tags, path)
    if "<OME" in text[:4096] and text.endswith("OME>"):
        return _of_ome(text, tags, path)
    return None


def choose(stated: Stated, options: ReadOptions, path: Path) -> Chosen:
    """Choose the pages to read as one 2D image, volume or film.

    Slices make a stack; where there are none, time points do. What is left (channels, and time points
    of stacks) counts as frames, channels fastest. A stack alone gives one page with `frame`, as pages
    of which nothing is said do.

    Raises:
        InputError: several frames and no choice, or a choice beyond the last one.
    """
    stack = stated.stack
    others = "".join(a for a in stated.axes if a != stack and stated.size(a) > 1)
    order = sorted(others, key=lambda a: (a == "C", a != "T"))  # channels last: fastest
    kept = [stated.axes.index(a) for a in [*order, *stack]]
    flat = stated.pages.transpose(
        [*[k for k in range(stated.pages.ndim) if k not in kept], *kept]
    ).reshape(-1, stated.size(stack) if stack else 1)
    notes, what = list(stated.notes), f"{stated.words()} ({stated.by} says so)"
    if len(flat) == 1 and stack and options.frame is not None:
        page = options.frame_of(flat.shape[1], path, _word(stack))
        return Chosen([int(flat[0, page])], "", _picture_spacing(stated), notes)
    frame = options.frame_of(len(flat), path, f"frames: {what}") if len(flat) > 1 else 0
    if len(flat) == 1 and options.frame:
        options.frame_of(1, path)
    if len(flat) > 1:
        place = np.unravel_index(frame, [stated.size(a) for a in order])
        picked = ", ".join(
            f"{_word(a).removesuffix('s')} {k}" for a, k in zip(order, place, strict=True)
        )
        notes.append(Note.frame(frame, len(flat), f"{picked} of {what}"))
    elif flat.shape[1] > 1:
        read_as = "film" if stack == "T" else "volume"
        notes.append(Note(f"{what}: read as a {read_as}", advice=PICK_ONE))
    pages = [int(n) for n in flat[frame]]
    if len(pages) == 1:
        return Chosen(pages, "", _picture_spacing(stated), notes)
    x, y, z = stated.spacing
    known = stack == "Z" and x and y and z
    if stack == "Z" and x and y and not z:
        notes.append(f"{stated.by} says the size of pixels, not the distance of slices")
    return Chosen(pages, stack, (float(x), float(y), float(z)) if known else None, notes)  # type: ignore[arg-type]


def _picture_spacing(stated: Stated) -> tuple[float, float, float] | None:
    x, y, _ = stated.spacing
    return (x, y, 1.0) if x and y else None


def _of_imagej(text: str, tags: Tags, path: Path) -> Stated | None:
    """ImageJ's lines; its page order is channels fastest, then slices, then frames."""
    said = {key: value.rstrip() for key, value in _LINE.findall(text)}
    sizes = [_count(said.get(key)) for key in ("frames", "slices", "channels")]
    images = _count(said.get("images"))
    spacing = _imagej_spacing(said, tags)
    if prod(sizes) == 1:
        _require_pages(images, tags, path, "ImageJ")
        if tags.count > 1:  # pages of which nothing more is said
            return None
        return Stated("ImageJ", "C", np.zeros(1, np.int64), spacing)
    _require_pages(max(prod(sizes), images), tags, path, "ImageJ")
    if tags.count > prod(sizes):  # other pages were put behind: it does not speak for them
        return None
    pages = np.arange(prod(sizes)).reshape(sizes)
    notes = []
    if sizes[1] > 1 and spacing[0] and "spacing" not in said:
        notes.append("ImageJ says no distance of slices: its default, one unit, is taken")
    return Stated("ImageJ", "TZC", pages, spacing, notes=tuple(notes))


def _imagej_spacing(
    said: dict[str, str], tags: Tags
) -> tuple[float | None, float | None, float | None]:
    unit = _MILLIMETRES.get(said.get("unit", "").strip().lower())
    unit = _MILLIMETRES.get(said.get("unit", "").strip()) if unit is None else unit
    if unit is None or tags.resolution is None:
        return (None, None, None)
    across, down = tags.resolution
    distance = _length(said.get("spacing", "1"), 1.0)
    return (unit / across, unit / down, None if distance is None else unit * distance)


def _of_json(text: str, tags: Tags, path: Path) -> Stated | None:
    """tifffile's `{"shape": [4, 2, 60, 70], "axes": "ZCYX"}`, and what this package writes."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    if said.get("promptseg") == LAYERS:
        return Stated("promptseg", "O", np.arange(tags.count), objects=_objects(said, tags.count))
    shape = said.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    axes = str(said.get("axes", ""))
    if len(axes) != len(shape) or axes[-2:] not in ("YX", "XS") or len(set(axes)) < len(axes):
        axes = ""
    # pages hold the last two axes, or three with samples: as many as leave one page each
    leading = next((shape[:-k] for k in (2, 3) if prod(shape[:-k]) == tags.count), None)
    if not leading:
        return None
    letters = axes[: len(leading)] or "abdefghi"[: len(leading)]
    one = sum(n > 1 for n in leading) < 2
    if (one and not axes) or len(letters) < len(leading):
        return None  # one axis that has no name: plain pages
    return Stated("tifffile", letters, np.arange(tags.count).reshape(leading))


def _objects(said: dict[str, Any], count: int) -> tuple[tuple[int, str], ...]:
    """Label and name of every page's object; nothing if they do not fit the pages."""
    try:
        found = tuple((int(label), str(name)) for label, name in said["objects"])
    except (KeyError, TypeError, ValueError):
        return ()
    return found if len(found) == count and all(0 < label < 65_536 for label, _ in found) else ()


def _of_ome(text: str, tags: Tags, path: Path) -> Stated | None:
    """OME-XML: which page holds which slice, channel and time point."""
    try:
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("a document type of its own")
        root = ElementTree.fromstring(text)
        images = [e for e in root.iter() if _tag(e) == "Pixels"]
        if not images:
            return None
        stated = _of_pixels(images[0], tags, path)
    except (ElementTree.ParseError, ValueError, KeyError, RecursionError) as error:
        return Stated(
            "OME", "Q", np.arange(tags.count), notes=(f"its OME description is damaged ({error})",)
        )
    if len(images) > 1:
        each = [_ome_sizes(pixels) for pixels in images]
        total = sum(prod(sizes.values()) for sizes in each)
        if total > tags.count:
            raise _elsewhere(path, total, tags.count)
        return Stated("OME", "P", np.arange(tags.count))
    return stated


def _of_pixels(pixels: Any, tags: Tags, path: Path) -> Stated:
    sizes = _ome_sizes(pixels)
    order = pixels.get("DimensionOrder", "XYZCT")[2:]  # fastest first
    if sorted(order) != ["C", "T", "Z"]:
        raise ValueError(f"DimensionOrder {order}")
    axes = order[::-1]
    shape = [sizes[a] for a in axes]
    count = prod(shape)
    if count > (1 << 24):
        raise ValueError(f"{count} planes")
    blocks = [e for e in pixels if _tag(e) == "TiffData"]
    files = {
        (str(e.text), e.get("FileName")) for block in blocks for e in block if _tag(e) == "UUID"
    }
    if len(files) > 1:
        raise _elsewhere(path, count, tags.count)
    pages = np.full(count, -1, dtype=np.int64)
    for block in blocks or [{}]:
        first = [int(block.get(f"First{a}", 0)) for a in axes]
        start = int(np.ravel_multi_index(first, shape))
        whole = "IFD" not in block.keys() and "PlaneCount" not in block.keys()  # noqa: SIM118
        planes = count - start if whole else int(block.get("PlaneCount", 1))
        end = min(start + planes, count)
        pages[start:end] = int(block.get("IFD", 0)) + np.arange(end - start)
    if pages.min() < 0 or pages.max() >= tags.count:
        raise _elsewhere(path, count, tags.count)
    x, y, z = (
        _ome_length(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"))
        for a in "XYZ"
    )
    return Stated("OME", axes, pages.reshape(shape), (x, y, z))


def _ome_sizes(pixels: Any) -> dict[str, int]:
    """Planes along Z, C and T; channels that share a page as samples count once."""
    sizes = {a: _count(pixels.get(f"Size{a}")) for a in "ZCT"}
    samples = [_count(c.get("SamplesPerPixel")) for c in pixels if _tag(c) == "Channel"]
    if samples and sum(samples) == sizes["C"]:
        sizes["C"] = len(samples)
    return sizes


def _ome_length(text: str | None, unit: str) -> float | None:
    scale = _MILLIMETRES.get(unit, _MILLIMETRES.get(unit.lower()))
    return None if scale is None else _length(text, scale)


def _length(text: str | None, scale: float) -> float | None:
    try:
        length = abs(float(text or "")) * scale
    except ValueError:
        return None
    return length if 0 < length < 1e6 else None


def _count(text: Any) -> int:
    """A count of at least one; one where nothing sensible is said."""
    try:
        return max(1, int(text))
    except (TypeError, ValueError):
        return 1


def _word(axis: str) -> str:
    return _WORDS.get(axis, f"pages along an axis {axis}")


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _require_pages(needed: int, tags: Tags, path: Path, by: str) -> None:
    if needed > tags.count:
        raise InputError(
            f"the {needed} pages that {by} says it has",
            f"{path} with {tags.count}",
            "save it as an OME-TIFF, or in parts of less than 4 GB",
        )


def _elsewhere(path: Path, planes: int, count: int) -> InputError:
    return InputError(
        f"all {planes} planes of an OME-TIFF in one file",
        f"{path} with {count} pages: the others are in files of their own, or missing",
        "save it as one file",
    )
