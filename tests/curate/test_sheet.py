"""The contact sheet: simulated prompts, panels, the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate.made import make_collection, rectangle, usual
from promptseg.curate.sheet import (
    COLUMNS,
    GAP,
    PANEL,
    SheetPrompt,
    choose,
    draw_panel,
    make_sheet,
    prompt,
)
from promptseg.datasets.collection import Collection, masks_of
from promptseg.simulate import Click

SHAPE = (64, 64)


@pytest.fixture(scope="module")
def usual_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("collection")
    make_collection(root, usual(SHAPE))
    return root


def test_prompts_are_where_they_should_be(usual_root: Path) -> None:
    collection = Collection(usual_root)
    for sample in collection.samples:
        _, labels = collection.read(sample)
        for target, mask in zip(sample.targets, masks_of(sample.targets, labels), strict=True):
            found = prompt(sample, target, mask)
            x0, y0, x1, y1 = target.box
            reach = 20 * 64 / 1024
            assert x0 - reach <= found.drawn[0] <= x0
            assert y0 - reach <= found.drawn[1] <= y0
            assert x1 <= found.drawn[2] <= x1 + reach
            assert y1 <= found.drawn[3] <= y1 + reach
            assert mask[found.click.y, found.click.x]
            assert found == prompt(sample, target, mask)
            assert found != prompt(sample, target, mask, seed=1)


def test_a_panel_shows_them_in_their_colours() -> None:
    """48 x 24 pixels, five times as large: a pixel is a square of 5 x 5."""
    mask = rectangle((24, 48), (10, 5, 19, 14))
    picture = np.full((24, 48), 90, np.uint8)
    prompts = SheetPrompt((10, 5, 19, 14), (8.0, 3.0, 22.0, 16.0), Click(15, 10, 1))
    panel = draw_panel(picture, mask, prompts, (1.0, 1.0))
    assert panel.size == (240, 120)
    at = panel.load()
    assert at is not None
    assert at[50, 40] == at[99, 40] == at[60, 25] == at[60, 74] == (255, 255, 255)  # the box
    assert at[40, 30] == at[114, 30] == at[60, 15] == at[60, 84] == (240, 228, 66)  # as drawn
    assert at[51, 40] == (230, 75, 53)  # the mask's outline, inside of the box
    assert at[77, 52] == (77, 187, 213)  # the click
    assert at[70, 35] == at[5, 5] == (90, 90, 90)
    assert draw_panel(picture, mask, prompts, (1.0, 2.0)).size == (240, 240)  # true proportions


def test_the_sheet(usual_root: Path) -> None:
    collection = Collection(usual_root)
    chosen = choose(collection.samples, 24)
    assert chosen == collection.samples
    page = make_sheet(collection, chosen)
    assert page.width == COLUMNS * (PANEL + GAP) + GAP
    assert page.height == 2 * (PANEL + GAP + 20) + GAP + 4 * 20 + GAP
    colours = {colour for _, colour in page.getcolors(1 << 20) or []}
    assert {(230, 75, 53), (255, 255, 255), (240, 228, 66), (77, 187, 213)} <= colours
    few = choose(collection.samples, 3)
    assert {sample.dataset for sample in few} == {"abdomen", "breast", "colon"}
    assert few == choose(collection.samples, 3)
    assert make_sheet(collection, few[:1]).width == 2 * PANEL + 3 * GAP  # room for the legend


def test_a_sample_that_cannot_be_read_has_an_empty_panel(tmp_path: Path) -> None:
    collection = make_collection(tmp_path, usual(SHAPE))
    (tmp_path / "shards" / "00000.zip").unlink()
    assert make_sheet(collection, collection.samples[:2]).size[0] == 2 * PANEL + 3 * GAP
