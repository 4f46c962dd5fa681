"""`promptseg info --preview`: a thumbnail, turned and lettered as radiologists expect it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.display import display_of, letter_sides, sheet, show_slice, sides_in_words, write
from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.geometry import AXES, Axis
from promptseg.image import Image
from promptseg.intensity import Intensity

__all__ = ["check_preview", "preview_picture", "save_preview"]

_PICTURE_SIZE = 768
_PANEL_SIZE = 380


def check_preview(path: Path, overwrite: bool, image: Path) -> None:
    """Refuse early what could not be written later, or is the image itself.

    Raises:
        OutputError: not a PNG, exists without `overwrite`, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise OutputError("a preview that ends in .png", str(path), "rename it")
    check_outputs([path], overwrite, Reads([image]))


def save_preview(image: Image, intensity: Intensity, path: Path, overwrite: bool) -> None:
    """Write the thumbnail.

    Raises:
        OutputError: it cannot be written.
    """
    picture = preview_picture(image, intensity)
    with atomic_path(path, overwrite) as temporary:
        picture.save(temporary)


def preview_picture(image: Image, intensity: Intensity) -> PilImage.Image:
    """The picture itself, the middle frame of a video, or the middle slices of a volume.

    Args:
        image: what to show.
        intensity: how its values are shown.
    """
    if image.kind == "volume":
        panels = [_panel(image, intensity, axis, _PANEL_SIZE) for axis in AXES]
        what = "middle slices"
    else:
        panels = [_panel(image, intensity, "z", _PICTURE_SIZE)]
        what = "middle frame" if image.kind == "video" else image.name
    sides = sides_in_words(image, display_of(image.geometry))
    return sheet(panels, [], f"{what}, {sides}. Research software, not a medical device.")


def _panel(image: Image, intensity: Intensity, axis: Axis, size: int) -> PilImage.Image:
    middle = 0 if image.kind == "picture" else image.geometry.slice_count(axis) // 2
    picture, _ = show_slice(image, intensity, axis, middle, size)
    draw = ImageDraw.Draw(picture)
    letter_sides(draw, display_of(image.geometry, axis), *picture.size)
    if image.kind != "picture":
        write(draw, (4, 2), f"{'frame' if image.kind == 'video' else axis} = {middle}")
    return picture
