"""The page of a whole slide in a real browser, with a model that needs no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serve.page.conftest import Driver, Served
from slides.makers import SIZE, covered, shapes, write_slide

pytestmark = pytest.mark.browser

SHAPES = shapes()


class SlideDriver:
    """What a hand and an eye do on the page of a slide."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.page = driver, driver.page

    def settle(self) -> None:
        self.page.wait_for_selector("html[data-busy=false]")
        self.page.wait_for_selector("html[data-loading=false]")

    def open(self, name: str) -> None:
        self.page.click(f"#images .entry:has-text('{name}')")
        self.page.wait_for_url("**/slide/slide.html*")
        self.page.wait_for_selector("html[data-ready]")
        self.settle()

    def at(self, px: float, py: float) -> tuple[int, int]:
        """The pixel of the slide that the footer says lies at a place of the screen."""
        self.page.mouse.move(px, py)
        found = re.findall(r"[xy] (\d+)", self.page.inner_text("#under"))
        return int(found[0]), int(found[1])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the slide is on the screen, learnt by pointing."""
        box = self.page.locator("#slide").bounding_box()
        left, top = box["x"] + box["width"] / 2 - 150, box["y"] + box["height"] / 2 - 150
        (x0, y0), (x1, y1) = self.at(left, top), self.at(left + 300, top + 300)
        scale = 300 / np.array([x1 - x0, y1 - y0])
        return left + (x - x0) * scale[0], top + (y - y0) * scale[1]

    def drag(self, x0: int, y0: int, x1: int, y1: int) -> None:
        (left, top), (right, bottom) = self.place(x0, y0), self.place(x1, y1)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move((left + right) / 2, (top + bottom) / 2)
        self.page.mouse.move(right, bottom)
        self.page.mouse.up()
        self.settle()

    def click(self, x: int, y: int, button: str = "left") -> None:
        self.page.mouse.click(*self.place(x, y), button=button)
        self.settle()

    def steps(self) -> list[str]:
        return list(self.page.locator("#steps button").all_inner_texts())

    def colour(self, x: int, y: int) -> Any:
        """(red, green, blue) that is drawn at a pixel of the slide."""
        px, py = self.place(x, y)
        box = self.page.locator("#slide").bounding_box()
        return self.page.evaluate(
            """([x, y]) => [...document.getElementById("slide").getContext("2d")
                .getImageData(x * devicePixelRatio, y * devicePixelRatio, 1, 1).data].slice(0, 3)""",
            [px - box["x"], py - box["y"]],
        )

    def save(self, name: str) -> dict[str, np.ndarray]:
        """What is saved through the dialog, on all pixels, by name."""
        self.page.keyboard.press("Control+s")
        self.page.fill("#save-path", name)
        self.page.click("#save-write")
        self.page.wait_for_selector(f".message:has-text('Saved {name}')")
        content = json.loads((self.driver.served.root / name).read_text())
        found = {}
        for feature in content["features"]:
            polygons = feature["geometry"]["coordinates"]
            polygons = [polygons] if feature["geometry"]["type"] == "Polygon" else polygons
            found[feature["properties"]["name"]] = covered(polygons, SIZE[::-1])
        return found

    def leave(self) -> None:
        self.page.click("#back")
        self.page.wait_for_selector("#images")
        self.page.wait_for_selector("html[data-ready]")


@pytest.fixture
def slide(driver: Driver, served: Served) -> Iterator[SlideDriver]:
    pytest.importorskip("tiffslide", reason="the extra pathology is not installed")
    path = served.root / "shapes.tif"
    if not path.exists():
        write_slide(path)
        driver.page.click("#refresh")
    yield SlideDriver(driver)
    driver.page.evaluate(
        """() => {
            const kept = JSON.parse(sessionStorage.getItem("promptseg-slide"));
            return kept && fetch(`/api/slides/${kept.session}`, {method: "DELETE"});
        }"""
    )


def shape(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    found = np.zeros_like(SHAPES)
    found[y0:y1, x0:x1] = True
    return SHAPES & found


def near(found: np.ndarray, wanted: np.ndarray, zoom: int) -> None:
    """Alike but for what pixels of the zoom cannot tell."""
    assert (found ^ wanted).sum() <= 0.03 * wanted.sum() * (zoom + 1)


@pytest.mark.slow
def test_the_first_hour_on_a_slide(slide: SlideDriver, served: Served) -> None:
    """Zoom, box, clicks, a second object, undo, keys, save; and after a kill it is all there."""
    page = slide.page
    slide.open("shapes.tif")
    assert page.get_attribute("#slide", "data-scale") == "100 µm"
    assert max(slide.colour(500, 350)) > 150, "the block is bright"
    assert max(slide.colour(1000, 600)) < 90, "the rest is dark"
    whole = page.inner_text("#under")
    page.mouse.move(*slide.place(520, 350))
    for _ in range(4):
        page.mouse.wheel(0, -100)
    slide.settle()
    assert slide.at(*slide.place(520, 350)) == pytest.approx((520, 350), abs=3)
    assert page.inner_text("#under") != whole
    slide.drag(380, 280, 660, 420)
    assert slide.steps() == ["image opened", "box on object 1"]
    red, green, _ = slide.colour(500, 350)
    assert red > green, "the object's colour lies over it"

    page.keyboard.press("e")
    page.keyboard.press("0")
    page.keyboard.press("p")
    slide.settle()
    slide.click(1625, 900)
    slide.click(1300, 1520)
    assert slide.steps()[2:] == ["new object 2", "point on object 2", "point on object 2"]
    slide.click(1300, 1520, "right")
    page.keyboard.press("Control+z")
    slide.settle()
    page.keyboard.press("Control+z")
    slide.settle()
    page.keyboard.press("Control+Shift+z")
    slide.settle()
    assert page.locator("#steps [aria-current]").inner_text() == "point on object 2"
    saved = slide.save("both.geojson")
    near(saved["object 1"], shape(380, 280, 660, 420), 1)
    near(saved["object 2"], shape(1600, 800, 1800, 1000) | shape(90, 1500, 2890, 1540), 3)

    served.kill()
    page.keyboard.press("Control+z")
    page.wait_for_selector(".message.error:has-text('does not answer')")
    served.start()
    slide.driver.enter()  # the cookie of the server before is worth nothing
    slide.open("shapes.tif")
    assert slide.steps()[-1] == "point on object 2"
    assert page.locator("#steps [aria-current]").count() == 1
    again = slide.save("again.geojson")
    for name, mask in saved.items():
        np.testing.assert_array_equal(again[name], mask)
    slide.leave()
    assert page.locator("#images .entry:has-text('shapes.tif') .dot.begun").count() == 1


@pytest.mark.slow
def test_a_box_stays_with_its_object(slide: SlideDriver) -> None:
    """An object is begun before the button is let go; the next box is that object's."""
    page = slide.page
    slide.open("shapes.tif")
    slide.drag(380, 280, 660, 420)
    page.mouse.move(*slide.place(1600, 800))
    page.mouse.down()
    page.mouse.move(*slide.place(1800, 1000))
    page.keyboard.press("e")
    page.wait_for_selector("#objects [data-name='object 2'][aria-current]")
    page.mouse.up()
    slide.settle()
    assert slide.steps()[1:] == ["box on object 1", "new object 2", "box on object 1"]
    page.keyboard.press("e")
    slide.drag(1600, 800, 1800, 1000)
    assert slide.steps()[-1] == "box on object 3"


@pytest.mark.slow
def test_keys_alone(slide: SlideDriver) -> None:
    """Without a mouse: to the block, nearer, a box by its corners, a click, another name."""
    page = slide.page
    slide.open("shapes.tif")
    page.locator("#slide").focus()
    page.keyboard.press("1")
    for key, times in (("ArrowLeft", 11), ("ArrowUp", 9)):
        for _ in range(times):
            page.keyboard.press(key)
    slide.settle()
    box = page.locator("#slide").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    x, y = slide.at(*middle)
    assert (x, y) == pytest.approx((1500 - 1.1 * box["width"], 1000 - 0.9 * box["height"]), abs=2)
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    slide.settle()
    assert slide.steps()[1:] == ["box on object 1"]
    page.keyboard.press("p")
    page.keyboard.press("t")
    assert page.get_attribute("#inside", "aria-pressed") == "false"
    page.keyboard.press("?")
    assert page.locator("#help-sheet[open]").count() == 1
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    slide.settle()
    assert slide.steps()[-1] == "remove object 1"
    slide.leave()


@pytest.mark.slow
def test_a_window_that_is_loaded_again_goes_on_and_another_one_asks(
    slide: SlideDriver, chromium: Any, served: Served
) -> None:
    page = slide.page
    slide.open("shapes.tif")
    page.keyboard.press("b")
    slide.drag(380, 280, 660, 420)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    slide.settle()
    assert slide.steps() == ["image opened", "box on object 1"]
    other = chromium.new_context(viewport={"width": 1000, "height": 700})
    second = SlideDriver(Driver(other.new_page(), served))
    second.driver.enter()
    second.page.click("#images .entry:has-text('shapes.tif')")
    second.page.wait_for_url("**/slide/slide.html*")
    second.page.click("#question-yes")
    second.page.wait_for_selector("#steps button:has-text('box on object 1')")
    page.keyboard.press("Control+z")
    page.wait_for_selector("#question-text:has-text('taken over')")
    page.click("#question-no")
    page.wait_for_selector("#images")
    second.leave()
    assert second.driver.faults == []
    other.close()


@pytest.mark.slow
def test_opened_with_options_afresh(slide: SlideDriver) -> None:
    page = slide.page
    slide.open("shapes.tif")
    page.keyboard.press("b")
    slide.drag(380, 280, 660, 420)
    slide.leave()
    page.click("button[aria-label='Open shapes.tif with options']")
    assert not page.is_visible("#open-of"), "users have no names here"
    page.check("#open-afresh")
    page.click("#open-options button.primary")
    page.wait_for_url("**/slide/slide.html*")
    page.wait_for_selector("html[data-ready]")
    slide.settle()
    assert slide.steps() == ["image opened"]
    assert "afresh" not in page.url
    page.reload()
    page.wait_for_selector("html[data-ready]")
    slide.settle()
    slide.drag(380, 280, 660, 420)
    assert slide.steps() == ["image opened", "box on object 1"]
    slide.leave()
