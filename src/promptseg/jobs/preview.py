"""`promptseg info --preview`: slices turned as radiologists expect them, ticked as prompts count."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import tyro
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.bounds import check_bounds
from promptseg.display import (
    display_of,
    draw_prompts,
    frame,
    letter_sides,
    prompted_slice,
    sheet,
    show_slice,
    sides_in_words,
)
from promptseg.display.axes import PLANE_AXES
from promptseg.errors import InputError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.geometry import AXES, Axis
from promptseg.image import Image
from promptseg.intensity import Intensity
from promptseg.prompts import Box3D, PlacedPrompt, place, typed_prompts

__all__ = ["PreviewOptions", "check_preview", "preview_picture", "save_preview"]

_ONE, _SEVERAL, _SMALL = 900, 380, 230  # longer side of a slice, by how many there are
_MOST_PANELS = 9
_THIN = 6  # a plane this many times longer than high shows nothing
_FEW = 6  # slices of a thin stack
_TILE = re.compile(r"(\d+),(\d+),(\d+),(\d+)")
_Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class PreviewOptions:
    """Say what a preview shows."""

    axis: Axis | None = None
    """With --preview: the axis slices are taken along (default: all three; with --slice, --sheet or
    --box the stack, z)."""

    slice: int | None = None
    """With --preview: this slice along --axis, counted from 0 (default: the middle one, or those with
    a box or point)."""

    sheet: int | None = None
    """With --preview: a contact sheet of so many slices, evenly spaced from the first to the last."""

    tile: str | None = None
    """With --preview: enlarge x0,y0,x1,y1 of the slice alone, in the indices --box takes."""

    full_size: bool = False
    """With --preview: every voxel at least one pixel, however large the 2D image becomes."""

    window: str | None = None
    """Intensity window: a name (soft-tissue, lung, brain, bone, ...) or WIDTH/LEVEL, as segment takes
    it."""

    box: _Many = ()
    """With --preview: draw this box x0,y0,x1,y1[@slice][=name]; may be repeated."""

    box3d: _Many = ()
    """With --preview: draw this box x0,y0,z0,x1,y1,z1[=name]; may be repeated."""

    point: _Many = ()
    """With --preview: draw this click x,y,+|-[@slice][=name]; may be repeated."""

    text: _Many = ()
    """With --preview: WORDS with boxes around examples, as segment takes them; may be repeated."""

    def for_preview(self) -> list[str]:
        """Return the given options that only a preview has a use for."""
        return [
            "--" + f.name.replace("_", "-")
            for f in fields(PreviewOptions)
            if f.name != "window" and getattr(self, f.name) != f.default
        ]


def check_preview(path: Path | None, overwrite: bool, options: PreviewOptions, image: Path) -> None:
    """Refuse early what could not be written later, or is the image itself.

    Raises:
        InputError: options of a preview without one, or that contradict each other.
        OutputError: not a PNG, exists without `overwrite`, or cannot be written.
    """
    if path is None:
        if options.for_preview():
            raise InputError(
                f"--preview for {', '.join(options.for_preview())}",
                "none",
                "add --preview FILE.png",
            )
        return
    if options.slice is not None and options.sheet is not None:
        raise InputError("--slice or --sheet", "both", "leave one of them out")
    check_bounds(options)
    if path.suffix.lower() != ".png":
        raise OutputError("a preview that ends in .png", str(path), "rename it")
    check_outputs([path], overwrite, Reads([image]))


def save_preview(
    image: Image,
    intensity: Intensity,
    path: Path,
    options: PreviewOptions | None = None,
    overwrite: bool = False,
) -> None:
    """Write the preview.

    Raises:
        PromptError: a box or click outside the image.
        InputError: a slice or tile outside it.
        OutputError: it cannot be written.
    """
    picture = preview_picture(image, intensity, options)
    with atomic_path(path, overwrite) as temporary:
        picture.save(temporary)


def preview_picture(
    image: Image, intensity: Intensity, options: PreviewOptions | None = None
) -> PilImage.Image:
    """Draw the 2D image itself, the middle frame of a video, or slices of a volume, with the prompts.

    Args:
        image: what to show.
        intensity: how its values are shown.
        options: which slices, and what is drawn on them.
    """
    options = options or PreviewOptions()
    prompts = _prompts(image, options)
    views = _views(image, options, prompts)
    if options.full_size:
        size = None
    elif len(views) == 1:
        size = _ONE
    else:
        size = _SEVERAL if len(views) <= _MOST_PANELS else _SMALL
    panels = [_panel(image, intensity, view, size, prompts, options) for view in views]
    columns = 3 if len(views) <= _MOST_PANELS else 5
    return sheet(panels, [], _caption(image, options, views), columns)


def _prompts(image: Image, options: PreviewOptions) -> list[PlacedPrompt]:
    return place(typed_prompts(options), image.geometry, options.axis or "z")


View = tuple[Axis, int]  # axis and slice


def _views(image: Image, options: PreviewOptions, prompts: list[PlacedPrompt]) -> list[View]:
    """The slices to show.

    Raises:
        InputError: slices of a 2D image, or one outside the image.
    """
    if image.kind == "picture":
        for name in ("axis", "slice", "sheet"):
            if getattr(options, name) is not None:
                raise InputError(f"a volume or video for --{name}", "a 2D image", "leave it out")
        return [("z", 0)]
    axis: Axis = options.axis or "z"
    count = image.geometry.slice_count(axis)
    if options.slice is not None and not 0 <= options.slice < count:
        raise InputError(
            f"a slice from 0 to {count - 1} along {axis}", str(options.slice), "correct --slice"
        )
    if options.sheet is not None:
        return [(axis, k) for k in _spread(count, options.sheet)]
    wanted = {s for p in prompts if (s := prompted_slice(p, axis)) is not None}
    if options.slice is not None:
        wanted.add(options.slice)
    in_space = next((p for p in prompts if isinstance(p, Box3D)), None)
    if options.axis is None and options.slice is None and len(wanted) == 1 and in_space:
        return [(a, prompted_slice(in_space, a) or 0) for a in _planes(image)]
    if wanted:
        return [(axis, k) for k in sorted(wanted)]
    if options.axis is not None or options.tile or image.kind == "video":
        return [(axis, count // 2)]
    planes = _planes(image)
    if len(planes) > 1:
        return [(a, image.geometry.slice_count(a) // 2) for a in planes]
    return [(planes[0], k) for k in _spread(image.geometry.slice_count(planes[0]), _FEW)]


def _planes(image: Image) -> list[Axis]:
    """All three axes; of a thin stack the one across its slices alone."""
    extents = [image.geometry.slice_count(a) * image.geometry.slice_step(a) for a in AXES]
    thin = int(np.argmin(extents))
    others = [e for k, e in enumerate(extents) if k != thin]
    return [AXES[thin]] if extents[thin] * _THIN < min(others) else list(AXES)


def _spread(count: int, wanted: int) -> list[int]:
    """Slices evenly spaced from the first to the last; the middle one if one is wanted."""
    if wanted == 1:
        return [count // 2]
    return sorted({int(k) for k in np.linspace(0, count - 1, min(wanted, count)).round()})


def _panel(
    image: Image,
    intensity: Intensity,
    view: View,
    size: int | None,
    prompts: list[PlacedPrompt],
    options: PreviewOptions,
) -> PilImage.Image:
    axis, index = view
    tile = _tile(options.tile, image, axis) if options.tile else None
    shown = show_slice(image, intensity, axis, index, size, tile, countable=True)
    picture = shown.picture.copy()
    draw = ImageDraw.Draw(picture)
    if options.axis is None and axis != "z":  # planar prompts lie on slices of the stack
        prompts = [p for p in prompts if isinstance(p, Box3D)]
    is_2d = image.kind == "picture"
    draw_prompts(draw, shown, prompts, axis, None if is_2d else index, names=True)
    letter_sides(draw, shown.display, *picture.size)
    return frame(shown, picture, axis, _title(image, view))


def _title(image: Image, view: View) -> str:
    """What has to be written to prompt on this slice."""
    axis, index = view
    columns, rows = PLANE_AXES[axis]
    corners = f"{columns}0,{rows}0,{columns}1,{rows}1"
    if image.kind == "picture":
        return f"--box {corners}"
    turned = "" if axis == "z" else f"--axis {axis} "
    return f"{turned}--box {corners}@{index}"


def _tile(text: str, image: Image, axis: Axis) -> tuple[int, int, int, int]:
    """XYXY of a tile, both ends inside.

    Raises:
        InputError: not four whole numbers, or outside the slice.
    """
    match = _TILE.fullmatch(text.replace(" ", ""))
    rows, columns = image.geometry.slice_shape(axis)
    if match:
        x0, y0, x1, y1 = map(int, match.groups())
        if x0 <= x1 < columns and y0 <= y1 < rows:
            return x0, y0, x1, y1
    raise InputError(
        f"a tile x0,y0,x1,y1 within x 0..{columns - 1}, y 0..{rows - 1}",
        repr(text),
        "give whole numbers, the smaller corner first",
    )


def _caption(image: Image, options: PreviewOptions, views: list[View]) -> str:
    if image.kind == "picture":
        what = image.name
    elif options.sheet or len({axis for axis, _ in views}) < len(views):
        what = f"{len(views)} slices of {image.geometry.slice_count(views[0][0])}"
    elif len(views) > 1:
        what = "three planes"
    else:
        what = "one frame" if image.kind == "video" else "one slice"
    sides = sides_in_words(image, display_of(image.geometry, views[0][0]))
    return (
        f"{what}, {sides}. Research software, not a medical device.\n"
        "Numbers are voxel indices as --box and --point take them; arrows: the way they grow."
    )
