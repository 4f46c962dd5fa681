"""Images of words: pieces with the thing and without it, masks on the network's grid, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from promptseg.train.words.features import WordFeatures, thumbnail
from promptseg.train.words.images import SIDE, WordImage, cut_out, framed


def image(rows: int = 120, columns: int = 160) -> WordImage:
    """Two discs of a word in a textured image, and a square of another."""
    labels, objects = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint16)
    y, x = np.mgrid[:rows, :columns]
    for number, (r, c) in enumerate([(30, 40), (30, 62)], 1):
        disc = np.hypot(y - r, x - c) < 12
        labels[disc], objects[disc] = 1, number
    labels[90:110, 120:150], objects[90:110, 120:150] = 3, 3
    picture = np.random.default_rng(0).integers(0, 255, (rows, columns), np.uint8)
    return WordImage("a", "set", "p", "US", picture, labels, objects, (0, 2))


def test_pieces_come_in_pairs_of_one_size_one_without_the_thing() -> None:
    pieces = list(cut_out(image(), 0, 4, seed=0))
    assert len(pieces) == 8
    for without, with_ in zip(pieces[::2], pieces[1::2], strict=True):
        assert without.picture.shape == with_.picture.shape
        assert (without.kind, with_.kind) == ("without", "with")
        assert not (without.labels == 1).any()
        assert (with_.labels == 1).mean() > 0.05
        assert without.known == (0, 2)
    assert len({piece.key for piece in pieces}) == 8
    again = list(cut_out(image(), 0, 4, seed=0))
    assert [p.picture.tobytes() for p in again] == [p.picture.tobytes() for p in pieces]


def test_an_image_that_the_thing_fills_gives_no_pieces() -> None:
    full = image()
    full.labels[:] = 1
    assert list(cut_out(full, 0, 3, seed=0)) == []


@pytest.mark.parametrize("resized", [(768, 1024), (1024, 512)])
def test_masks_lie_on_the_grid_as_the_image_lies_in_the_input(resized: tuple[int, int]) -> None:
    labels, deep, (rows, columns) = framed(image(), resized, 1024)
    assert labels.shape == deep.shape == (1, SIDE, SIDE)
    labels, deep = labels[0], deep[0]
    assert (rows, columns) == (resized[0] // 4, resized[1] // 4)
    assert not labels[rows:].any()
    assert not labels[:, columns:].any()
    share = [(labels[:rows, :columns] == word).mean() for word in (1, 3)]
    truth = [image().mask(word - 1).mean() for word in (1, 3)]
    np.testing.assert_allclose(share, truth, rtol=0.05)
    assert not deep[labels == 0].any()
    middle = labels.copy()
    from scipy import ndimage

    _, peaks = ndimage.label((deep > 200) & (middle == 1))
    assert peaks == 2  # discs that touch have two deepest places


def test_a_thumbnail_is_the_image_padded_to_a_square() -> None:
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[:, 50:] = 200
    small = thumbnail(picture)
    assert small.shape == (16, 16)
    assert small[:8, :6].max() == 0
    assert small[:8, 10:].min() == 200
    assert small[8:].max() == 0


def test_what_a_kill_left_half_written_is_cut_off(tmp_path: Path) -> None:
    for name in ("features.f16", "masks.u8", "thumbnails.u8"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    features = WordFeatures(tmp_path)
    features.add([], predictor=_Never())  # type: ignore[arg-type]
    assert [(tmp_path / n).stat().st_size for n in ("features.f16", "masks.u8")] == [0, 0]


class _Never:
    class card:  # noqa: N801
        name = "never"
