"""The pictures of the page in the README: promptseg-lite on a phantom, driven as by a hand.

usage: python benchmarks/page_pictures.py FOLDER

Needs Playwright and a Chromium of the system; the phantom is that of docs_pictures.py. Writes page.png
(three planes, two objects) and page-slice.png (one plane, corrected by clicks and measured).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SimpleITK
from docs_pictures import _SPACING, phantom
from PIL import Image

_SLICES = slice(3, 9)  # of the phantom
_SIZE = {"width": 1180, "height": 664}
_COLOURS = 96  # of the pictures' palette
_LIVER, _SPLEEN = ((44, 50), (99, 112)), ((136, 72), (164, 112))
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The address of a server on a folder."""
    asked = ["serve", "--root", str(root), "--port", "0", "--modality", "CT"]
    command = [sys.executable, "-m", "promptseg", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Hand:
    """Draws on the axial plane, whose pixels lie on the screen as the page's own view says."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel is on the screen: the whole slice is seen, centred, in true aspect."""
        box = self.page.locator("canvas.image[data-axis=z]").bounding_box()
        _, rows, columns = phantom().shape
        scale = min((box["width"] - 24) / columns, (box["height"] - 24) / rows)
        across = box["x"] + box["width"] / 2 + (x + 0.5 - columns / 2) * scale
        return across, box["y"] + box["height"] / 2 + (y + 0.5 - rows / 2) * scale

    def drag(self, ends: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """From one pixel to another."""
        self.page.mouse.move(*self.at(*ends[0]))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*ends[1]))
        self.page.mouse.up()
        self.settle()

    def click(self, x: float, y: float, button: str = "left") -> None:
        """On a pixel."""
        self.page.mouse.click(*self.at(x, y), button=button)
        self.settle()

    def rename(self, old: str, new: str) -> None:
        """Give an object its name."""
        self.page.fill(f"[data-name='{old}'] .name", new)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(f"[data-name='{new}']")
        self.page.locator("canvas.image[data-axis=z]").focus()
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is on its way."""
        self.page.wait_for_selector("html[data-busy=false]")
        self.page.wait_for_selector("#doing:text-is('Ready')")


def shoot(page: Any, path: Path) -> None:
    """A picture of the page in few colours."""
    page.wait_for_selector(".message", state="detached")
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def make(folder: Path) -> None:
    """Draw, and take the pictures."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root, sync_playwright() as running:
        image = SimpleITK.GetImageFromArray(phantom()[_SLICES])
        image.SetSpacing(_SPACING[::-1])
        SimpleITK.WriteImage(image, str(Path(root) / "abdomen.nii.gz"))
        with served(Path(root)) as address:
            browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
            page = browser.new_page(viewport=_SIZE, reduced_motion="reduce")
            page.set_default_timeout(120_000)
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            page.click("#images .entry:has-text('abdomen')")
            hand = Hand(page)
            hand.settle()
            hand.drag(_LIVER)
            hand.rename("object 1", "liver")
            page.keyboard.press("e")
            hand.settle()
            hand.drag(_SPLEEN)
            hand.rename("object 1", "spleen")  # the first name that is free again
            page.locator("[data-name=liver] .facts").click()
            hand.settle()
            shoot(page, folder / "page.png")

            page.keyboard.press("Space")
            page.wait_for_timeout(300)
            page.keyboard.press("p")
            hand.click(72, 74)
            hand.click(104, 128, "right")
            page.keyboard.press("u")
            hand.drag(((44, 81), (98, 81)))
            page.keyboard.press("x")
            shoot(page, folder / "page-slice.png")
            browser.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
