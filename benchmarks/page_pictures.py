"""The page of the server in pictures: promptseg-lite in a real browser, driven as by a hand.

usage: python benchmarks/page_pictures.py FOLDER
       python benchmarks/page_pictures.py FOLDER --video
       python benchmarks/page_pictures.py FOLDER --demo

The first writes page.png and page-slice.png, as they stand in the README, of the phantom of
docs_pictures.py; the second page-video.png, of the clip of serve_video.py. The third goes through an
hour's work on the demonstration CT and leaves a picture of every state, to be looked at, not published:
box, following, corrections, objects that overlap, a preview, slices in doubt, dialogs. Needs
Playwright and a Chromium of the system.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import SimpleITK
from docs_pictures import _SPACING, phantom
from PIL import Image
from serve_video import COLUMNS, NAMES, ROWS, box_of, scene, write_clip

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from serve.page.conftest import Driver
from serve.page.film import Film

_SMALL, _LAPTOP = {"width": 1180, "height": 664}, {"width": 1366, "height": 768}
_FRAMES, _PATIENCE_S = 300, 3600
_COLOURS = 192  # of the palette of published pictures
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@contextmanager
def opened(root: Path, size: dict[str, int]) -> Iterator[Driver]:
    """A page of a server on a folder, with whatever went wrong in it told at the end."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "promptseg", "serve", "--root", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            served: Any = SimpleNamespace(address=address, port=address.split(":")[2].split("/")[0])
            with sync_playwright() as running:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = running.chromium.launch(executable_path=path, args=_FLAGS)
                page = browser.new_page(viewport=size, reduced_motion="reduce")
                page.set_default_timeout(120_000)
                driver = Driver(page, served)
                driver.enter()
                yield driver
                browser.close()
                print(*driver.faults, sep="\n", file=sys.stderr)
        finally:
            process.terminate()


def rename(driver: Driver, old: str, new: str) -> None:
    """Give an object its name."""
    driver.page.fill(f"[data-name='{old}'] .name", new)
    driver.press("Enter")
    driver.page.wait_for_selector(f"[data-name='{new}']")
    driver.page.locator("canvas.image[data-axis=z]").focus()
    driver.settle()


def boxed(driver: Driver, place: Any, box: tuple[int, int, int, int], name: str) -> None:
    """A further object by a box, followed to its ends, with a name."""
    if driver.objects():
        driver.press("e")
        driver.settle()
    driver.press("b")
    driver.drag(place, box[:2], box[2:])
    driver.settle()
    rename(driver, "object 1", name)  # the first name that is free again


def quiet(driver: Driver) -> None:
    """Nothing under the mouse, no message."""
    driver.page.mouse.move(5, 5)
    driver.page.wait_for_selector(".message", state="detached")
    driver.page.wait_for_timeout(300)


def published(folder: Path) -> None:
    """The two pictures of the README, in few colours."""
    with tempfile.TemporaryDirectory() as root:
        image = SimpleITK.GetImageFromArray(phantom())
        image.SetSpacing(_SPACING[::-1])
        SimpleITK.WriteImage(image, str(Path(root) / "abdomen.nii.gz"))
        with opened(Path(root), _SMALL) as driver:
            page = driver.page
            page.click("button[aria-label='Open abdomen.nii.gz with options']")
            page.select_option("#open-modality", "CT")
            page.click("#open-options button.primary")
            page.wait_for_selector("#images .entry[aria-current]")
            driver.settle()
            place = driver.places("z")
            boxed(driver, place, (44, 50, 99, 112), "liver")
            boxed(driver, place, (136, 72, 164, 112), "spleen")
            boxed(driver, place, (67, 69, 77, 79), "lesion")
            page.locator("[data-name=liver] .facts").click()
            driver.settle()
            shoot(driver, folder / "page.png")
            driver.press("Space")
            page.wait_for_timeout(300)
            place = driver.places("z")
            driver.press("p")
            driver.click(place, (72, 74))
            driver.settle()
            driver.click(place, (104, 128), "right")
            driver.settle()
            driver.press("u")
            driver.drag(place, (44, 81), (98, 81))
            driver.press("x")
            shoot(driver, folder / "page-slice.png")


def film(folder: Path) -> None:
    """The picture of a video: two objects tracked, one of them corrected after it was out of sight."""
    with tempfile.TemporaryDirectory() as root:
        write_clip(Path(root) / "endoscopy.mkv", _FRAMES)
        with opened(Path(root), _SMALL) as driver:
            page = driver.page
            page.click("#images .entry:has-text('endoscopy')")
            page.wait_for_selector("#v-open[open]")
            page.select_option("#v-open-modality", "endoscopy")
            page.fill("#v-open-stride", "10")
            page.click("#v-open-go")
            page.wait_for_selector("#v-canvas[data-frame='0']")
            hand = Film(driver, (ROWS, COLUMNS))
            hand.at(90)
            for number, name in enumerate(NAMES):
                if number:
                    hand.press("e")
                    hand.settle()
                hand.box(box_of(scene(90)[1][name]))
                page.fill(f"[data-name='object {number + 1}'] .name", name)
                page.keyboard.press("Enter")
                page.wait_for_selector(f"[data-name='{name}']")
                hand.settle()
            hand.track(_PATIENCE_S)
            page.click(f"[data-name={NAMES[0]}] .facts")
            hand.settle()
            hand.at(210)
            hand.box(box_of(scene(210)[1][NAMES[0]]))
            hand.track(_PATIENCE_S)
            page.locator(".vside .title").first.click()
            shoot(driver, folder / "page-video.png")


def shoot(driver: Driver, path: Path) -> None:
    """A picture that is small."""
    quiet(driver)
    driver.page.screenshot(path=path)
    whole = Image.open(path).convert("RGB")
    picture = whole.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def demo(folder: Path) -> None:
    """An hour's work on the demonstration CT."""
    with tempfile.TemporaryDirectory() as root, opened(Path(root), _LAPTOP) as driver:
        page, taken = driver.page, iter(range(1, 100))

        def seen(name: str) -> None:
            page.wait_for_timeout(250)
            page.screenshot(path=folder / f"{next(taken):02}-{name}.png")

        seen("welcome")
        page.click("#demo-large")
        page.wait_for_selector("#images .entry[aria-current]")
        seen("opened")
        driver.settle()
        driver.scroll("z", 10)
        place = driver.places("z")
        driver.press("b")
        spots = [place(98, 190), place(272, 372)]
        page.mouse.move(*spots[0])
        page.mouse.down()
        page.mouse.move(*spots[1])
        seen("box")
        page.mouse.up()
        seen("answering")
        page.wait_for_selector("#cancel", state="visible")
        seen("following")
        driver.settle()
        seen("followed")
        rename(driver, "object 1", "liver")
        driver.press("p")
        driver.click(place, (240, 300))
        driver.settle()
        driver.click(place, (258, 330), "right")
        driver.settle()
        seen("corrected")
        boxed(driver, place, (192, 240, 216, 275), "portal vein")
        seen("overlapping")
        boxed(driver, place, (288, 240, 396, 382), "spleen with a name that is rather long")
        seen("three objects")
        boxed(driver, place, (300, 190, 350, 220), "bowel")
        driver.scroll("z", 4)
        page.locator("#objects button.doubt").first.click()
        driver.settle()
        seen("in doubt")
        driver.press("e", "p")
        driver.settle()
        driver.scroll("z", 10)
        page.locator("#preview").check()
        for x in (262, 263, 262, 263):
            with page.expect_response(lambda answer: answer.url.endswith("/preview")):
                page.mouse.move(*place(x, 300))
            page.wait_for_timeout(200)
        seen("preview")
        driver.press("Space")
        page.wait_for_timeout(300)
        seen("one plane")
        driver.press("Space", "s")
        seen("brush")
        driver.press("?")
        seen("help")
        page.click("#help-close")
        page.click("#save")
        seen("save")
        page.click("#save-cancel")
        page.click("#images .more")
        seen("options")
        page.click("#open-with-cancel")
        page.click("summary")
        page.locator("summary").scroll_into_view_if_needed()
        seen("facts")
        page.click("#times-open")
        seen("times")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--video", action="store_true", help="of a clip")
    parser.add_argument("--demo", action="store_true", help="of the demonstration CT, every state")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    (demo if asked.demo else film if asked.video else published)(asked.folder)


if __name__ == "__main__":
    main()
