"""What is drawn on the page while something else happens: the wheel, a key, an answer that is slow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.page.conftest import Driver, Served
from serve.page.test_page import A, B, masks
from serve.page.test_tools import BLUE, seen

pytestmark = pytest.mark.browser

SQUARE = [(26, 4), (26, 10), (32, 10), (32, 4), (27, 4)]


@pytest.fixture
def asked(driver: Driver) -> list[dict[str, Any]]:
    """The prompts that the page sends."""
    found: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if request.method == "POST" and request.url.endswith("/prompts"):
            found.append(json.loads(request.post_data))

    driver.page.on("request", note)
    return found


def two_balls(driver: Driver) -> Any:
    """Both segmented, "object 1" the current one; where the pixels of slice 10 are."""
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("b")
    driver.drag(place, (4, 12), (20, 28))
    driver.settle()
    driver.press("e")
    driver.drag(place, (28, 12), (44, 28))
    driver.press("m")
    driver.settle()
    driver.page.wait_for_selector("#objects [data-name='object 1'][aria-current]")
    return place


def saved(driver: Driver, served: Served, name: str) -> dict[str, NDArray[np.bool_]]:
    """What a file of that name holds, by object; a name is used once, as its message stays."""
    path = driver.save(f"{name}.nii.gz")
    found = masks(path, served.root / "scan.nii.gz")
    path.unlink()
    return found


def drag_and_meanwhile(driver: Driver, spots: list[Any], meanwhile: Any) -> None:
    """Something happens between the last move and the release."""
    mouse = driver.page.mouse
    mouse.move(*spots[0])
    mouse.down()
    for spot in spots[1:]:
        mouse.move(*spot)
    meanwhile()
    mouse.up()
    driver.settle()


def turn_and_choose(driver: Driver) -> None:
    """The wheel goes two slices on, and the next object is chosen."""
    where = driver.page.locator("[data-where=z]")
    before = where.inner_text()
    driver.page.mouse.wheel(0, 120)
    driver.press("m")
    driver.page.wait_for_selector("#objects [data-name='object 2'][aria-current]")
    assert where.inner_text() != before


@pytest.mark.slow
def test_a_stroke_stays_on_its_slice_and_object(
    driver: Driver, served: Served, asked: list[dict[str, Any]]
) -> None:
    """Erased on slice 10 of the first object; the slice and the object seen at the end keep theirs."""
    place = two_balls(driver)
    before = saved(driver, served, "before")
    assert before["object 1"][10, 20, 10:15].all()
    driver.page.locator("#spread").uncheck()
    driver.press("s", "t")
    spots = [place(10, 20), place(14, 20)]
    drag_and_meanwhile(driver, spots, lambda: turn_and_choose(driver))
    assert (asked[-1]["slice"], asked[-1]["object"]) == (10, "object 1")
    after = saved(driver, served, "after")
    gone = np.argwhere(before["object 1"] & ~after["object 1"])
    assert {10} == set(gone[:, 0])
    assert not after["object 1"][10, 20, 10:15].any()
    np.testing.assert_array_equal(after["object 2"], before["object 2"])


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["box", "lasso", "marker"])
def test_what_is_drawn_stays_where_it_was_begun(
    tool: str, driver: Driver, asked: list[dict[str, Any]]
) -> None:
    place = two_balls(driver)
    driver.page.locator("#spread").uncheck()
    driver.press({"box": "b", "lasso": "l", "marker": "k"}[tool])
    way = SQUARE if tool == "lasso" else [(7, 20), (17, 21)]
    spots = [place(*pixel) for pixel in way]
    if tool == "marker":  # its long axis
        across = [place(12, 15), place(12, 25)]
        driver.drag(place, (7, 20), (17, 20))
        spots = across
    drag_and_meanwhile(driver, spots, lambda: turn_and_choose(driver))
    assert (asked[-1]["axis"], asked[-1]["slice"]) == ("z", 10)
    assert asked[-1]["object"] == "object 1"


@pytest.mark.slow
def test_enter_sends_a_long_axis_on_its_own_slice(
    driver: Driver, asked: list[dict[str, Any]]
) -> None:
    place = two_balls(driver)
    driver.press("k")
    driver.drag(place, (7, 20), (17, 20))
    driver.press("PageDown", "Enter")
    driver.settle()
    assert asked[-1]["slice"] == 10
    assert "marker" in asked[-1]


def test_a_distance_stays_on_its_slice(driver: Driver) -> None:
    """Drawn on slice 10, the wheel turned: it is seen there, and not on the slice that is shown."""
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("u")
    spots = [place(25, 5), place(40, 5)]
    drag_and_meanwhile(driver, spots, lambda: driver.page.mouse.wheel(0, 120))
    assert seen(driver, BLUE) == 0
    driver.scroll("z", 10)
    driver.page.wait_for_timeout(200)
    assert seen(driver, BLUE) > 50


# Answers that are slow.

PREVIEW = (200, 255, 0)
SLOWLY = """(ms) => {
    const asked = window.fetch;
    window.fetch = async (...how) => {
        if (String(how[0]).endsWith("/prompts")) await new Promise((done) => setTimeout(done, ms));
        return asked(...how);
    };
}"""


def slow(driver: Driver, tool: str) -> Any:
    """The scan, with a server that answers prompts after 2 s; where the pixels of slice 3 are."""
    driver.open("scan.nii.gz")
    driver.scroll("z", 3)
    place = driver.places("z")
    driver.page.locator("#spread").uncheck()
    driver.page.evaluate(SLOWLY, 2000)
    driver.press(tool, *"[[[[[[[[[[[[")
    return place


def touched(mask: NDArray[np.bool_]) -> dict[int, list[int]]:
    """Columns by row of what is set on slice 3; nothing is elsewhere."""
    assert not np.delete(mask, 3, axis=0).any()
    return {
        int(row): np.flatnonzero(mask[3, row]).tolist() for row in np.unique(mask[3].nonzero()[0])
    }


@pytest.mark.slow
def test_a_stroke_goes_on_from_the_one_before_it(driver: Driver, served: Served) -> None:
    """Three strokes before the first is answered: two paint, and the third erases part of the first."""
    place = slow(driver, "s")
    driver.drag(place, (5, 5), (9, 5))
    driver.page.wait_for_timeout(100)
    first = seen(driver, PREVIEW)
    driver.drag(place, (25, 5), (29, 5))
    driver.page.wait_for_timeout(100)
    assert seen(driver, PREVIEW) > 1.5 * first > 0, "both are seen while they wait"
    driver.press("t")
    driver.drag(place, (7, 5), (7, 6))
    driver.settle()
    (mask,) = saved(driver, served, "strokes").values()
    assert touched(mask) == {5: [5, 6, 8, 9, 25, 26, 27, 28, 29]}
    assert len(driver.steps()) == 4
    assert seen(driver, PREVIEW) == 0


@pytest.mark.slow
def test_a_stroke_that_is_undone_before_its_answer_does_not_come_back(
    driver: Driver, served: Served
) -> None:
    """Undone, and then another object begun: what is painted next holds neither."""
    place = slow(driver, "s")
    driver.drag(place, (5, 5), (9, 5))
    driver.press("Control+z")
    driver.drag(place, (25, 5), (29, 5))
    driver.press("e")
    driver.drag(place, (15, 8), (17, 8))
    driver.settle()
    one, two = saved(driver, served, "undone").values()
    assert touched(one) == {5: [25, 26, 27, 28, 29]}
    assert touched(two) == {8: [15, 16, 17]}


@pytest.mark.slow
def test_a_lasso_keeps_what_a_slow_answer_brings(driver: Driver, served: Served) -> None:
    place = slow(driver, "b")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.drag(place, (4, 12), (20, 28))
    driver.press("l")
    driver.drag(place, *SQUARE)
    driver.settle()
    (mask,) = saved(driver, served, "both").values()
    assert mask[10][A[10]].all()
    assert mask[10, 6:9, 28:31].all()
    assert not mask[10][B[10]].any()
