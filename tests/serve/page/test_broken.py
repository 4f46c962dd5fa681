"""Requests that fail once: what they asked for is there a while later, and nobody has to look away."""

from __future__ import annotations

import re
from typing import Any

import pytest

from serve.page.conftest import Driver
from serve.page.film import Film
from serve.page.test_slide_page import SlideDriver, slide
from serve.page.test_tools import wait
from serve.page.test_video import BLOCK, clip, film

__all__ = ["clip", "film", "slide"]  # fixtures

pytestmark = pytest.mark.browser


def broken(page: Any, ending: str, times: int) -> list[str]:
    """The first requests to addresses that end so have no answer; those that were broken off."""
    found: list[str] = []

    def handle(route: Any) -> None:
        if len(found) < times:
            found.append(route.request.url)
            route.abort()
        else:
            route.fallback()

    page.route(re.compile(rf"/{ending}(\?|$)"), handle)
    return found


def bright(driver: Driver, axis: str = "z") -> int:
    """Pixels of a plane that are bright, whatever message lies over it."""
    found = driver.page.evaluate(
        """(axis) => {
            const canvas = document.querySelector(`canvas.image[data-axis=${axis}]`);
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            let count = 0;
            for (let k = 0; k < data.length; k += 4) count += Math.min(...data.slice(k, k + 3)) >= 200;
            return count;
        }""",
        axis,
    )
    return int(found)


@pytest.mark.parametrize(("name", "times"), [("scan.nii.gz", 4), ("picture.png", 1)])
def test_an_image_arrives_after_requests_that_failed(name: str, times: int, driver: Driver) -> None:
    """A volume comes whole, a 2D image as a slice."""
    failed = broken(driver.page, "slices", times)
    driver.open(name)
    driver.page.locator("#style-crosshair").uncheck()
    wait(driver, lambda: bright(driver) > 2000)
    assert len(failed) == times
    assert driver.page.locator(".message:has-text('does not answer')").count() <= 1
    if name == "scan.nii.gz":
        driver.scroll("x", 12)
        wait(driver, lambda: bright(driver, "x") > 2000)


def test_frames_and_masks_of_a_video_arrive(film: Film) -> None:
    page = film.page
    failed = [broken(page, "frame", 2), broken(page, "timeline", 1)]
    film.open()
    wait(film.driver, lambda: film.page.get_attribute("#v-canvas", "data-frame") == "0")
    failed.append(broken(page, "masks", 1))
    film.at(3)
    film.box(BLOCK)
    wait(film.driver, lambda: "px" in page.inner_text("#v-here"))
    assert all(failed)


def test_the_outline_of_a_slide_arrives(slide: SlideDriver) -> None:
    slide.open("shapes.tif")
    failed = broken(slide.page, "outline", 1)
    slide.drag(380, 280, 660, 420)

    def coloured() -> bool:
        red, green, _ = slide.colour(500, 350)
        return bool(red > green)

    wait(slide.driver, coloured)
    assert failed
    assert slide.steps() == ["image opened", "box on object 1"]
