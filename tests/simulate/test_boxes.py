"""Boxes as people draw them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import InputError
from promptseg.prompts import box_of_mask
from promptseg.simulate import Jitter, first_prompt, generator, jittered_box


def rectangle(rows: int, columns: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((rows, columns), dtype=bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))


@given(
    sizes, st.data(), st.floats(0, 60), st.sampled_from(["outward", "either"]), st.integers(0, 99)
)
def test_every_edge_moves_by_at_most_the_jitter(
    size: tuple[int, int], data: st.DataObject, pixels: float, sign: str, seed: int
) -> None:
    rows, columns = size
    x0, y0 = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    x1 = data.draw(st.integers(x0, columns - 1))
    y1 = data.draw(st.integers(y0, rows - 1))
    mask = rectangle(rows, columns, x0, y0, x1, y1)
    box = jittered_box(mask, generator(seed), Jitter(pixels, sign))  # type: ignore[arg-type]
    reach = pixels * max(rows, columns) / 1024 + 1e-9
    assert np.abs(np.subtract(box, (x0, y0, x1, y1))).max() <= reach
    assert 0 <= box[0] <= box[2] <= columns - 1
    assert 0 <= box[1] <= box[3] <= rows - 1
    if sign == "outward":
        assert box[0] <= x0 and box[1] <= y0 and box[2] >= x1 and box[3] >= y1  # noqa: PT018


def test_jitter_is_uniform_and_counts_in_a_frame_of_1024() -> None:
    """In an image of 512 pixels an edge moves by up to 10, 5 on average."""
    mask = rectangle(512, 400, 150, 200, 250, 300)
    exact = np.array(box_of_mask(mask))
    boxes = np.array([jittered_box(mask, generator(0, k)) for k in range(4000)])
    moved = np.abs(boxes - exact)
    assert moved.max() == pytest.approx(10, abs=0.05)
    np.testing.assert_allclose(moved.mean(axis=0), 5, atol=0.15)
    np.testing.assert_allclose(moved.var(axis=0), 100 / 12, rtol=0.05)
    either = np.array(
        [jittered_box(mask, generator(0, k), Jitter(20, "either")) for k in range(4000)]
    )
    np.testing.assert_allclose((either - exact).mean(axis=0), 0, atol=0.3)


def test_models_of_any_input_size_see_the_same_box() -> None:
    """The same drawing on an image of twice the size gives the box of twice the size."""
    small = rectangle(128, 128, 40, 50, 80, 90)
    large = rectangle(256, 256, 80, 100, 160, 180)
    a = np.subtract(jittered_box(small, generator(7)), (40, 50, 80, 90))
    b = np.subtract(jittered_box(large, generator(7)), (80, 100, 160, 180))
    np.testing.assert_allclose(b, 2 * a)


def test_a_box_never_turns_inside_out() -> None:
    mask = rectangle(1024, 1024, 500, 500, 502, 502)
    for k in range(200):
        x0, y0, x1, y1 = jittered_box(mask, generator(k), Jitter(100, "either"))
        assert x0 <= 501 <= x1
        assert y0 <= 501 <= y1


def test_chance_depends_on_the_place_alone() -> None:
    first = generator(3, "data", "case", "liver", 4, "point").integers(1 << 30)
    generator(3, "data", "other", "liver", 4, "point").integers(1 << 30)
    assert generator(3, "data", "case", "liver", 4, "point").integers(1 << 30) == first
    others = {
        generator(3, "data", "case", "liver", k, "point").integers(1 << 30) for k in range(50)
    }
    assert len(others) == 50
    assert generator(4, "data", "case", "liver", 4, "point").integers(1 << 30) != first


def test_first_prompts() -> None:
    mask = rectangle(40, 50, 10, 20, 30, 35)
    assert first_prompt("box", mask, generator(0)).box == (10, 20, 30, 35)
    clicks = {first_prompt("point", mask, generator(k)).clicks[0] for k in range(30)}
    assert len(clicks) > 20
    assert all(mask[c.y, c.x] and c.label == 1 for c in clicks)
    deep = {first_prompt("point", mask, generator(k), clicking="deepest").clicks for k in range(5)}
    assert len(deep) == 1
    assert first_prompt("jittered-box", mask, generator(1)).box != (10, 20, 30, 35)


@pytest.mark.parametrize("kind", ["box", "jittered-box", "point"])
def test_an_empty_object_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="an empty mask"):
        first_prompt(kind, np.zeros((4, 4), bool), generator(0))  # type: ignore[arg-type]


def test_prompts_that_are_not_on_a_slice_are_refused() -> None:
    with pytest.raises(InputError, match="got text"):
        first_prompt("text", np.ones((4, 4), bool), generator(0))


@pytest.mark.parametrize("pixels", [-1, 2000, float("nan")])
def test_a_jitter_out_of_range_is_refused(pixels: float) -> None:
    with pytest.raises(InputError, match="a jitter of 0 to 1024"):
        Jitter(pixels)
