"""A contact sheet of training samples: the masks, and the prompts that training will simulate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.datasets.collection import Collection, Labels, Sample, Slice, Target, masks_of
from promptseg.display import Display, show_mask, write
from promptseg.errors import InputError
from promptseg.simulate import Click, Jitter, first_click, generator, jittered_box

__all__ = ["COLUMNS", "GAP", "PANEL", "SheetPrompt", "choose", "draw_panel", "make_sheet", "prompt"]

PANEL = 240  # pixels along both sides of a panel
GAP = 6
COLUMNS = 6
_TITLE = 20
_JITTER = Jitter(20, "outward")
_BACKGROUND = (20, 20, 20)
_OUTLINE, _EXACT, _DRAWN, _CLICK = (230, 75, 53), (255, 255, 255), (240, 228, 66), (77, 187, 213)
_LEGEND = (
    ("mask of an expert", _OUTLINE),
    ("its box", _EXACT),
    ("the box, each edge moved outwards by 0 to 20 pixels of a 1024-pixel frame", _DRAWN),
    ("a click at random inside; slices are shown as they are stored", _CLICK),
)


@dataclass(frozen=True)
class SheetPrompt:
    """The prompts of a simulated user for one target.

    Attributes:
        box: XYXY of the target, both ends inside.
        drawn: the box with its edges moved outwards.
        click: a random pixel of the target.
    """

    box: tuple[int, int, int, int]
    drawn: tuple[float, float, float, float]
    click: Click


def choose(samples: Sequence[Sample], count: int = 24, seed: int = 0) -> list[Sample]:
    """Choose random samples, of all datasets alike as far as they go; in order of their keys."""
    rng = generator(seed, "sheet")
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.dataset, []).append(sample)
    waiting = [[own[k] for k in rng.permutation(len(own))] for _, own in sorted(groups.items())]
    chosen: list[Sample] = []
    while len(chosen) < min(count, len(samples)):
        for own in waiting:
            if own and len(chosen) < count:
                chosen.append(own.pop())
    return sorted(chosen, key=lambda sample: sample.key)


def prompt(sample: Sample, target: Target, mask: NDArray[np.bool_], seed: int = 0) -> SheetPrompt:
    """Return the prompts of one target; the same for the same seed.

    Args:
        sample: its sample.
        target: the target.
        mask: (rows, columns) of it.
        seed: of chance.
    """
    rng = generator(seed, sample.key, target.id)
    return SheetPrompt(target.box, jittered_box(mask, rng, _JITTER), first_click(mask, rng))


def draw_panel(
    picture: Slice, mask: NDArray[np.bool_], prompts: SheetPrompt, pixel: tuple[float, float]
) -> PilImage.Image:
    """Draw a sample with the outline of one target and its prompts, in true proportions.

    Args:
        picture: (rows, columns[, 3]).
        mask: (rows, columns) of the target.
        prompts: what is drawn.
        pixel: width and height of a pixel.

    Returns:
        RGB of 240 pixels along the longer side.
    """
    rows, columns = mask.shape
    scale = PANEL / max(columns * pixel[0], rows * pixel[1])
    width = max(1, round(columns * pixel[0] * scale))
    height = max(1, round(rows * pixel[1] * scale))
    shown = PilImage.fromarray(picture).convert("RGB").resize((width, height))
    canvas = np.array(shown)
    canvas[show_mask(mask, Display(), (width, height))[1]] = _OUTLINE
    panel = PilImage.fromarray(canvas)
    draw = ImageDraw.Draw(panel)
    fx, fy = width / columns, height / rows
    for box, colour in ((prompts.drawn, _DRAWN), (prompts.box, _EXACT)):
        x0, y0, x1, y1 = box
        right, bottom = max((x1 + 1) * fx - 1, x0 * fx), max((y1 + 1) * fy - 1, y0 * fy)
        draw.rectangle([x0 * fx, y0 * fy, right, bottom], outline=colour)
    x, y = (prompts.click.x + 0.5) * fx, (prompts.click.y + 0.5) * fy
    draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_CLICK, outline="black")
    return panel


def make_sheet(
    collection: Collection, samples: Sequence[Sample], keep_8bit: bool = False, seed: int = 0
) -> PilImage.Image:
    """Draw panels of some samples, one random target each, with a legend below.

    Args:
        collection: they are of.
        samples: at least one; those that cannot be read get an empty panel.
        keep_8bit: as on the card of the model they are for.
        seed: of the choice of targets and of their prompts.

    Returns:
        RGB; six panels a row.
    """
    columns = min(COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    cell = (PANEL + GAP, PANEL + GAP + _TITLE)
    size = (columns * cell[0] + GAP, rows * cell[1] + GAP + _TITLE * len(_LEGEND) + GAP)
    page = PilImage.new("RGB", (max(size[0], 2 * PANEL + 3 * GAP), size[1]), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    for k, sample in enumerate(samples):
        left, top = GAP + (k % columns) * cell[0], GAP + (k // columns) * cell[1]
        rng = generator(seed, "target", sample.key)
        target = sample.targets[int(rng.integers(len(sample.targets)))]
        try:
            picture, labels = collection.read(sample, keep_8bit)
            panel = _panel_of(sample, target, picture, labels, seed)
        except (InputError, IndexError, ValueError):
            write(draw, (left, top), "cannot be read")
        else:
            page.paste(
                panel, (left + (PANEL - panel.width) // 2, top + (PANEL - panel.height) // 2)
            )
        write(draw, (left, top + PANEL), _fitted(draw, f"{sample.key}: {target.name}"))
    top = rows * cell[1] + GAP
    for k, (text, colour) in enumerate(_LEGEND):
        draw.rectangle([GAP, top + k * _TITLE + 5, GAP + 11, top + k * _TITLE + 16], fill=colour)
        write(draw, (GAP + 18, top + k * _TITLE), text)
    return page


def _panel_of(
    sample: Sample, target: Target, picture: Slice, labels: Labels, seed: int
) -> PilImage.Image:
    mask = masks_of([target], labels)[0]
    return draw_panel(picture, mask, prompt(sample, target, mask, seed), sample.pixel)


def _fitted(draw: ImageDraw.ImageDraw, text: str) -> str:
    """A title, its beginning left out where it is longer than a panel."""
    from PIL import ImageFont

    font = ImageFont.load_default(14)
    shown = text
    while len(shown) > 4 and draw.textlength(shown, font=font) > PANEL:
        text = text[1:]
        shown = f"...{text}"
    return shown
