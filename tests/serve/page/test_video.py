"""Videos in the page, in a real browser, with a model that needs no weights."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from formats.video_makers import write_video
from serve.page.conftest import Driver, Served
from serve.page.film import Film, wait

pytest.importorskip("av")
pytestmark = pytest.mark.browser

SIZE = (60, 90)
COUNT = 30
BLOCK, BAR = (5, 7, 31, 24), (8, 43, 82, 53)


def block(k: int) -> NDArray[np.bool_]:
    """A block that moves to the right, a pixel on every sixth frame."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:22, 8 + k // 6 : 24 + k // 6] = True
    return mask


def bar(_: int) -> NDArray[np.bool_]:
    """A bar below it that stays."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[46:51, 12:78] = True
    return mask


def picture(k: int) -> NDArray[np.uint8]:
    y, x = np.indices(SIZE)
    frame = np.stack([x // 2, y // 2, (x + y) // 3], -1).astype(np.uint8)
    frame[block(k) | bar(k)] = 220
    return frame


@pytest.fixture
def clip(served: Served) -> Iterator[str]:
    path = write_video(served.root / "clip.mkv", [picture(k) for k in range(COUNT)])
    yield path.name
    path.unlink()


@pytest.fixture
def film(driver: Driver, clip: str) -> Iterator[Film]:
    driver.page.click("#refresh")
    found = Film(driver, SIZE)
    yield found
    driver.page.evaluate(
        """() => {
            const id = sessionStorage.getItem("promptseg-video");
            return id && fetch(`/api/videos/${id}`, {method: "DELETE"});
        }"""
    )


def layers(archive: Path) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """The masks of a zip by object and frame."""
    found: dict[str, dict[int, NDArray[np.bool_]]] = {}
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            folder, _, file = name.partition("/")
            plane = np.asarray(Image.open(io.BytesIO(content.read(name)))) > 0
            found.setdefault(folder, {})[int(Path(file).stem)] = plane
    return found


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.slow
def test_a_video_from_the_list_to_its_results(film: Film, served: Served) -> None:
    """Every second frame, box, stroke, tracking, correction, undo, files; after a kill, too."""
    page = film.page
    film.open(stride="2")
    assert "one of 2" in page.inner_text("#v-model")
    film.at(14)
    film.box(BLOCK)
    assert film.steps() == ["video opened", "box on object 1, frame 14"]
    film.press("e", "s")
    film.settle()
    film.drag((BAR[0], 45), (40, BAR[1]), (60, BAR[3]), (BAR[2], 47))
    assert film.steps()[-1] == "box on object 2, frame 14"
    assert page.inner_text("#v-waiting") == "2 new"
    film.track()
    assert film.steps()[-1] == "tracked object 1, object 2"
    assert "on 15 frames" in page.inner_text("[data-name='object 2'] .facts")

    film.at(20)
    film.page.click("[data-name='object 2'] .facts")
    film.settle()
    film.press("p")
    page.mouse.click(*film.spot(30, 48), button="right")
    film.settle()
    assert page.inner_text("#v-waiting") == "1 to correct"
    film.track()
    assert film.steps()[-1].startswith("corrected object 2: ")
    assert page.locator("#v-line").get_attribute("aria-valuetext").startswith("frame 20")
    film.press("Control+z")
    film.settle()
    film.press("Control+z")
    film.settle()
    assert page.locator("#v-steps [aria-current]").inner_text() == "tracked object 1, object 2"

    film.save("films/one")
    folder = served.root / "films" / "one"
    assert {"overlay.webm", "masks.zip", "areas.csv"} < {p.name for p in folder.iterdir()}
    found = layers(folder / "masks.zip")
    assert list(found) == ["1_object 1", "2_object 2"]
    assert sorted(found["1_object 1"]) == list(range(0, COUNT, 2))
    for k in range(14, COUNT, 2):
        assert iou(found["1_object 1"][k], block(k)) > 0.6, k
        np.testing.assert_array_equal(found["2_object 2"][k], bar(k))
    with (folder / "areas.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 2 * COUNT / 2

    served.kill()
    served.start()
    film.driver.enter()
    film.open()
    assert film.steps()[-1].startswith("corrected object 2: ")
    assert page.locator("#v-steps [aria-current]").inner_text() == "tracked object 1, object 2"
    film.save("films/two")
    again = layers(served.root / "films" / "two" / "masks.zip")
    for name, planes in found.items():
        for k, plane in planes.items():
            np.testing.assert_array_equal(again[name][k], plane)


def test_looking_around(film: Film) -> None:
    """Keys, the wheel, the time line, playing; what is shown is the frame and its masks."""
    page = film.page
    film.open()
    film.at(3)
    film.box(BLOCK)
    film.press("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    assert film.frame() == 14
    film.press("End")
    assert film.frame() == COUNT - 1
    film.press("n")
    assert film.frame() == 3
    page.mouse.move(*film.spot(45, 30))
    page.mouse.wheel(0, 240)
    wait(film.driver, lambda: film.frame() == 7)
    line = page.locator("#v-line").bounding_box()
    left, width = 92, line["width"] - 92 - 10
    page.mouse.click(line["x"] + left + width * (21.5 / COUNT), line["y"] + 30)
    assert film.frame() == 21
    film.press("Home")
    page.wait_for_selector("#v-canvas[data-frame='0']")
    film.press("Space")
    wait(film.driver, lambda: film.frame() > 5)
    film.press("Space")
    paused = film.frame()
    page.wait_for_timeout(400)
    assert film.frame() == paused
    film.press("d")
    page.wait_for_selector(".message:has-text('is in doubt')")

    film.at(3)
    wait(film.driver, lambda: "px" in page.inner_text("#v-here"))
    page.locator("#v-prompts").uncheck()
    page.wait_for_selector(".message", state="detached")
    page.locator("#v-canvas").focus()
    page.wait_for_timeout(300)
    shown = film.pixels()
    film.press("v")
    page.wait_for_timeout(300)
    hidden = film.pixels()
    differs = np.abs(shown - hidden).max(-1) > 8
    differs[[*range(4), *range(-4, 0)]] = differs[:, [*range(4), *range(-4, 0)]] = False  # focus
    rows, columns = np.nonzero(differs)
    canvas = page.locator("#v-canvas").bounding_box()
    x0, y0 = film.spot(7.5, 9.5)
    x1, y1 = film.spot(23.5, 21.5)
    assert abs(columns.min() - (x0 - canvas["x"])) < 12
    assert abs(rows.min() - (y0 - canvas["y"])) < 12
    assert abs(columns.max() - (x1 - canvas["x"])) < 12
    assert abs(rows.max() - (y1 - canvas["y"])) < 12


@pytest.mark.slow
def test_a_box_stays_with_its_frame_and_object(film: Film) -> None:
    """The wheel is turned, and an object begun, before the button is let go."""
    page = film.page
    film.open()
    film.at(3)
    film.box(BLOCK)
    for key, *way in (("b", BAR[:2], BAR[2:]), ("s", (9, 45), (40, 44), (80, 52))):
        page.click("[data-name='object 1'] .facts")
        film.at(3)
        film.press(key)
        page.mouse.move(*film.spot(*way[0]))
        page.mouse.down()
        for pixel in way[1:]:
            page.mouse.move(*film.spot(*pixel))
        page.mouse.wheel(0, 120)
        film.press("e")
        page.wait_for_selector("[data-name='object 1']:not([aria-current])")
        page.mouse.up()
        film.settle()
        assert film.steps()[-1] == "box on object 1, frame 3"
        assert film.frame() != 3


def test_a_video_is_sent_and_what_is_none_is_said(
    film: Film, served: Served, tmp_path: Path
) -> None:
    page = film.page
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(b"no video at all")
    page.set_input_files("#v-files", wrong)
    page.wait_for_selector(".message.error:has-text('something else')")
    page.set_input_files("#v-files", wrong)
    page.wait_for_selector(".message.error:has-text('which exists')")
    sent = write_video(tmp_path / "sent.mkv", [picture(k) for k in range(6)])
    page.set_input_files("#v-files", sent)
    film.confirm("sent.mkv", first="1", last="4")
    assert (served.root / "sent.mkv").read_bytes() == sent.read_bytes()
    assert page.get_attribute("#v-line", "aria-valuemax") == "4"
    (served.root / "wrong.mp4").unlink()
    (served.root / "sent.mkv").unlink()


def test_a_folder_of_frames_is_a_video(film: Film, served: Served) -> None:
    folder = served.root / "numbered"
    folder.mkdir()
    for k in range(5):
        Image.fromarray(picture(k)).save(folder / f"{k:04d}.png")
    film.page.click("#refresh")
    film.page.click("button[aria-label='Open the frames in numbered as a video']")
    film.confirm("numbered")
    film.box(BAR)
    film.track()
    assert "on 5 frames" in film.page.inner_text("[data-name='object 1'] .facts")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_stop_in_the_middle_and_another_window(
    film: Film, served: Served, chromium: object
) -> None:
    """What was found so far stays; the second window takes over, the first one says so."""
    few = [picture(k) for k in range(COUNT)]
    write_video(served.root / "long.mkv", [few[k % COUNT] for k in range(2000)])
    film.page.click("#refresh")
    film.open("long.mkv")
    film.box(BAR)
    film.press("Enter")
    film.page.wait_for_selector("#v-progress:not([hidden])")
    bar = film.page.locator("#v-progress-bar")
    wait(film.driver, lambda: float(bar.get_attribute("value") or 0) > 0.01)
    film.drag((20, 20), (40, 40), settles=False)
    film.press("Escape")
    film.page.wait_for_selector(".message:has-text('stop it (Esc) before you draw')")
    film.settle()
    assert film.steps()[-1].startswith("tracking object 1 stopped after ")
    assert film.page.inner_text("#v-waiting") == "1 new"

    context = chromium.new_context(viewport={"width": 1366, "height": 768})  # type: ignore[attr-defined]
    context.set_default_timeout(60_000)
    other = Film(Driver(context.new_page(), served), SIZE)
    other.driver.enter()
    other.page.click("#images .entry:has-text('long.mkv')")
    other.page.wait_for_selector("#v-open[open]")
    other.page.click("#v-open-go")
    other.page.wait_for_selector("#question-text:has-text('another window')")
    other.page.click("#question-yes")
    other.page.wait_for_selector("#v-canvas[data-frame]:not([data-frame=''])")
    other.settle()
    assert other.steps() == film.steps()
    film.page.wait_for_selector("#question-text:has-text('Nothing is lost')")
    film.page.click("#question-no")
    assert film.page.is_visible("#welcome")
    assert other.driver.faults == []
    other.page.reload()
    other.page.wait_for_selector("#v-canvas[data-frame]:not([data-frame=''])")
    assert other.steps()[-1].startswith("tracking object 1 stopped after ")
    context.close()
    (served.root / "long.mkv").unlink()


def test_images_and_videos_take_turns(film: Film) -> None:
    """An image, a video, an image again: each with its own tools, and nothing of the other."""
    film.driver.open("picture.png")
    film.open()
    assert film.page.is_visible("#v-track")
    assert not film.page.is_visible("#save")
    film.page.keyboard.press("?")
    film.page.wait_for_selector("#v-help-sheet[open]")
    assert "play or pause" in film.page.inner_text("#v-keys")
    film.page.click("#v-help-close")
    film.driver.open("picture.png")
    assert film.page.is_visible("#save")
    assert not film.page.is_visible("#v-track")
    film.page.keyboard.press("?")
    film.page.wait_for_selector("#help-sheet[open]")
    film.page.click("#help-close")
