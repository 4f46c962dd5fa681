"""The video mode of the page, driven as by a hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.page.conftest import Driver


def wait(driver: Driver, ready: Callable[[], bool], seconds: int = 120) -> None:
    """Until something is so."""
    for _ in range(10 * seconds):
        if ready():
            return
        driver.page.wait_for_timeout(100)
    raise AssertionError("it does not come")


class Film:
    """What a hand and an eye do with a video.

    Args:
        driver: of the page.
        size: (rows, columns) of the frames.
    """

    def __init__(self, driver: Driver, size: tuple[int, int]) -> None:
        self.driver, self.page, self.size = driver, driver.page, size

    def open(self, name: str = "clip.mkv", **fields: str) -> None:
        """Through the list and the dialog."""
        self.page.click(f"#images .entry:has-text('{name}')")
        self.confirm(name, **fields)

    def confirm(self, name: str, **fields: str) -> None:
        """The dialog, with what is to be different in it."""
        self.page.wait_for_selector(f"#v-open[open] #v-open-title:has-text('{name}')")
        for field, value in fields.items():
            self.page.fill(f"#v-open-{field}", value)
        self.page.click("#v-open-go")
        self.page.wait_for_selector("#v-canvas[data-frame]:not([data-frame=''])")
        self.settle()

    def settle(self) -> None:
        self.driver.settle()

    def at(self, frame: int) -> None:
        """Go to a frame by its number."""
        self.page.fill("#v-number", str(frame))
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(f"#v-canvas[data-frame='{frame}']")

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel is on the screen."""
        box = self.page.locator("#v-canvas").bounding_box()
        rows, columns = self.size
        scale = min((box["width"] - 24) / columns, (box["height"] - 24) / rows)
        return (
            box["x"] + box["width"] / 2 + (x + 0.5 - columns / 2) * scale,
            box["y"] + box["height"] / 2 + (y + 0.5 - rows / 2) * scale,
        )

    def drag(self, *way: tuple[float, float], settles: bool = True) -> None:
        spots = [self.spot(*pixel) for pixel in way]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*spot)
        self.page.mouse.up()
        if settles:
            self.settle()

    def box(self, box: Sequence[int]) -> None:
        self.press("b")
        self.drag((box[0], box[1]), (box[2], box[3]))

    def press(self, *keys: str) -> None:
        self.page.locator("#v-canvas").focus()
        self.driver.press(*keys)

    def track(self, seconds: int = 120) -> None:
        """To the end."""
        count = len(self.steps())
        self.press("Enter")
        wait(self.driver, lambda: len(self.steps()) > count, seconds)
        self.settle()

    def steps(self) -> list[str]:
        return list(self.page.locator("#v-steps button").all_inner_texts())

    def frame(self) -> int:
        return int(self.page.input_value("#v-number"))

    def pixels(self) -> NDArray[Any]:
        shot = self.page.locator("#v-canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def save(self, folder: str) -> None:
        self.press("Control+s")
        self.page.fill("#v-save-folder", folder)
        self.page.click("#v-save-write")
        self.page.wait_for_selector(f".message:has-text('in {folder}')")
