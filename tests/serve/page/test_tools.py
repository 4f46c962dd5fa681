"""Every tool and panel of the page, each used once in a real browser."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes import ball
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.serve.results import mask_endings
from serve.page.conftest import Driver, Served
from serve.page.test_page import A, masks

pytestmark = pytest.mark.browser

BLUE, WHITE = (127, 227, 255), (255, 255, 255)


def screen(driver: Driver, axis: str = "z") -> np.ndarray:
    """A plane as it is seen, (rows, columns, 3)."""
    canvas = driver.page.locator(f"canvas.image[data-axis={axis}]")
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)


def seen(driver: Driver, colour: tuple[int, int, int], axis: str = "z") -> int:
    """Pixels of a colour on a plane."""
    return int((np.abs(screen(driver, axis) - colour).max(-1) <= 12).sum())


def wait(driver: Driver, ready: Any) -> None:
    for _ in range(100):
        if ready():
            return
        driver.page.wait_for_timeout(100)
    raise AssertionError("it does not come")


def boxed(driver: Driver, name: str = "scan.nii.gz") -> Any:
    """The first ball of the scan, segmented and followed; where its pixels are."""
    driver.open(name)
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("b")
    driver.drag(place, (4, 12), (20, 28))
    driver.settle()
    return place


def width(driver: Driver) -> float:
    return float(driver.page.input_value("#width"))


def opened_as(driver: Driver, modality: str) -> None:
    """By the dialog."""
    driver.page.click("button[aria-label='Open scan.nii.gz with options']")
    driver.page.select_option("#open-modality", modality)
    driver.page.click("#open-options button.primary")
    driver.page.wait_for_selector("#images .entry[aria-current]:has-text('scan.nii.gz')")
    driver.settle()


def test_window_by_drag_key_preset_and_number(driver: Driver) -> None:
    """Opened as CT, so that its presets are there; as MR only afresh, once work has begun."""
    page = driver.page
    opened_as(driver, "CT")
    assert "CT" in page.inner_text("#model")
    first = width(driver)
    box = driver.canvas()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for tool, button in (("n", "right"), ("w", "left")):
        driver.press("0", tool)
        assert width(driver) == first
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x + 60, y)
        page.mouse.up(button=button)
        assert width(driver) > first
    driver.press("2")
    name = page.locator("#presets option").nth(3).inner_text()
    assert name.endswith(f"{width(driver):.0f} / {float(page.input_value('#level')):.0f}")
    page.fill("#width", "100")
    page.fill("#level", "150")
    page.keyboard.press("Enter")
    page.mouse.move(*driver.places("z")(12, 20))
    wait(driver, lambda: (screen(driver)[60:-60, 60:-60] >= 250).all(-1).any())
    page.click("#new-object")
    driver.settle()
    opened_as(driver, "MR")
    page.wait_for_selector(".message:has-text('modality MR is not used')")
    assert "CT" in page.inner_text("#model")


def test_lines_on_two_slices_are_an_object_between(driver: Driver, served: Served) -> None:
    driver.open("scan.nii.gz")
    driver.press("k")
    for index in (8, 12):
        driver.scroll("z", index)
        place = driver.places("z")
        driver.drag(place, (7, 20), (17, 20))
        driver.drag(place, (12, 15), (12, 25))
        driver.settle()
    assert len(driver.steps()) == 3
    found = masks(driver.save("lines.nii.gz"), served.root / "scan.nii.gz")["object 1"]
    assert np.flatnonzero(found.any((1, 2))).tolist() == [8, 9, 10, 11, 12]
    assert not (found & ~A).any()


def test_distances_are_measured_and_sizes_told(driver: Driver) -> None:
    place = boxed(driver)
    voxels = A.sum()
    wait(driver, lambda: " ml" in driver.page.inner_text("#objects .facts"))
    told = driver.page.inner_text("#objects .facts")
    assert float(told.split(" ml")[0].split()[-1]) == pytest.approx(voxels * 2 / 1000, abs=0.11)
    driver.press("u")
    driver.drag(place, (25, 5), (40, 5))
    wait(driver, lambda: seen(driver, BLUE) > 50)
    driver.press("Delete")
    wait(driver, lambda: seen(driver, BLUE) == 0)
    assert driver.objects() == ["object 1"]


RECTANGLES = """() => {
    window.drawn = {};
    const draw = CanvasRenderingContext2D.prototype.strokeRect;
    CanvasRenderingContext2D.prototype.strokeRect = function (left, top, width, height) {
        const axis = this.canvas.dataset.axis;
        if (axis) window.drawn[axis] = [left, top, width, height].map(Math.round);
        draw.call(this, left, top, width, height);
    };
}"""


def test_a_box_in_space_lies_at_its_place_whatever_its_axis(driver: Driver) -> None:
    """Sent by another client, along each axis in turn; seen where the same box along z is."""
    page = driver.page
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("n")
    driver.click(place, (12, 20))
    page.evaluate(RECTANGLES)
    found = []
    for count, axis in enumerate("zyx", 1):
        page.evaluate(
            """async ([axis, object]) => {
                window.drawn = {};
                const id = sessionStorage.getItem("promptseg-session");
                const body = { object, axis, box3d: [4, 12, 5, 22, 28, 15] };
                const headers = { "Content-Type": "application/json" };
                await fetch(`/api/sessions/${id}/prompts`,
                    { method: "POST", headers, body: JSON.stringify(body) });
            }""",
            [axis, f"along {axis}"],
        )
        wait(driver, lambda n=count: len(driver.objects()) == n)
        driver.settle()
        wait(driver, lambda: len(page.evaluate("window.drawn")) == 3)
        found.append(page.evaluate("window.drawn"))
    assert found[1] == found[0]
    assert found[2] == found[0]
    canvas = driver.canvas()
    x, y = place(4, 12)
    left, top, width, height = found[0]["z"]
    assert width / height == pytest.approx(19 / 17, rel=0.02)
    pixel = width / 19
    assert left == pytest.approx(x - canvas["x"] - pixel / 2, abs=pixel)
    assert top == pytest.approx(y - canvas["y"] - pixel / 2, abs=pixel)


def test_a_preview_is_seen_and_is_no_step(driver: Driver) -> None:
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("p")
    driver.page.locator("#style-crosshair").uncheck()
    driver.page.locator("#style-fill").uncheck()
    driver.page.mouse.move(*place(30, 4))
    driver.page.locator("#preview").check()
    driver.page.keyboard.press("1")  # all values: the balls are white as well
    page = driver.page
    with page.expect_response(lambda answer: answer.url.endswith("/preview")) as answered:
        page.mouse.move(*place(12, 20))
    found = answered.value.json()
    assert found["region"] == [[10, 11], [14, 27], [6, 19]]
    assert driver.steps() == ["image opened"]
    assert driver.objects() == []


def test_objects_have_names_colours_and_eyes(driver: Driver) -> None:
    boxed(driver)
    page = driver.page
    page.locator("#style-crosshair").uncheck()
    page.evaluate(
        """() => {
            const colour = document.querySelector("#objects input[type=color]");
            colour.value = "#ff00ff";
            colour.dispatchEvent(new Event("change"));
        }"""
    )
    magenta = (255, 0, 255)
    wait(driver, lambda: seen(driver, magenta) > 50)
    driver.press("v")
    wait(driver, lambda: seen(driver, magenta) == 0)
    driver.press("v")
    wait(driver, lambda: seen(driver, magenta) > 50)
    page.fill("#objects .name", "left ball")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-name='left ball']")
    driver.settle()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    driver.settle()
    assert driver.objects() == ["left ball"]
    assert page.input_value("#objects input[type=color]") == "#ff00ff"


def test_every_step_back_and_forth(driver: Driver, served: Served) -> None:
    place = boxed(driver)
    driver.press("p")
    driver.click(place, (36, 20))
    driver.settle()
    driver.press("r")
    driver.settle()
    driver.page.wait_for_selector("#steps li:nth-child(5)")
    driver.settle()
    steps = driver.steps()
    assert steps[:3] == ["image opened", "box on object 1", "point on object 1"]
    for _ in steps:
        driver.press("Control+z")
        driver.settle()
    assert driver.objects() == []
    assert driver.page.is_disabled("#undo")
    for _ in range(2):
        driver.press("Control+Shift+z")
        driver.settle()
    assert driver.page.locator("#steps [aria-current]").inner_text() == steps[2]
    found = masks(driver.save("forth.nii.gz"), served.root / "scan.nii.gz")["object 1"]
    assert found[10, 20, 36]
    assert found[10, 20, 12]


def formats() -> list[tuple[str, str]]:
    kinds = {"volume": "scan.nii.gz", "picture": "picture.png"}
    return [(name, ending) for kind, name in kinds.items() for ending in mask_endings(kind)]


def test_every_format_is_saved_and_read_back(driver: Driver, served: Served) -> None:
    for name in ("scan.nii.gz", "picture.png"):
        if name == "scan.nii.gz":
            place = boxed(driver, name)
            expected = None
        else:
            driver.open(name)
            place = driver.places("z")
            driver.press("b")
            driver.drag(place, (26, 16), (64, 44))
            driver.settle()
        image = read(served.root / name)
        for of, ending in formats():
            if of != name:
                continue
            if ending.endswith(".dcm"):
                driver.page.click("#save")
                driver.page.select_option("#save-ending", ending)
                driver.page.fill("#save-path", f"all-{image.kind}{ending}")
                driver.page.click("#save-write")
                driver.page.wait_for_function(
                    """() => document.querySelector("#save-note").textContent
                        || !document.querySelector("#saving").open"""
                )
                if driver.page.is_visible("#saving"):
                    assert "DICOM" in driver.page.inner_text("#save-note")  # of a DICOM image alone
                    driver.page.click("#save-cancel")
                continue
            path = driver.save(f"all-{image.kind}{ending}", ending)
            if ending == ".coco.json":  # which promptseg reads as a dataset alone
                (told,) = json.loads(path.read_text("utf-8"))["annotations"]
                assert expected is not None
                assert told["area"] == expected.sum()
                path.unlink()
                continue
            found = read_masks(path, image).segments
            mask = found[0].mask(image.geometry.shape)
            if name == "picture.png" or expected is None:
                expected = mask
            np.testing.assert_array_equal(mask, expected, err_msg=ending)
            assert mask.any()
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_download(driver: Driver, tmp_path: Path, served: Served) -> None:
    boxed(driver)
    driver.page.click("#save")
    driver.page.select_option("#save-ending", ".nii.gz")
    with driver.page.expect_download() as download:
        driver.page.click("#save-download")
    path = tmp_path / "masks.nii.gz"
    download.value.save_as(path)
    found = masks(path, served.root / "scan.nii.gz")
    assert any((mask == A).mean() > 0.99 for mask in found.values())


def test_done_opens_the_next_image(driver: Driver) -> None:
    page = driver.page
    lines = [row.inner_text() for row in page.locator("#images .entry:not(.folder)").all()]
    names = [line.split("\n")[0] for line in lines if "mask" not in line]  # no results of ours
    driver.open(names[0])
    driver.press("Control+Enter")
    driver.page.wait_for_selector(f"#images .entry[aria-current]:has-text('{names[1]}')")
    driver.settle()
    first = driver.page.locator(f"#images .entry[title='{names[0]}']")
    assert "done" in first.inner_text()


def test_done_waits_for_the_last_answer(driver: Driver) -> None:
    """An image that is closed before its slices are answered would be done with one slice."""
    page = driver.page
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    order: list[str] = []

    def slow(route: Any) -> None:
        page.wait_for_timeout(700)
        order.append("prompts")
        route.continue_()

    def note(request: Any) -> None:
        if request.method in ("PUT", "PATCH", "POST") and '"done"' in (request.post_data or ""):
            order.append("done")

    page.route("**/prompts", slow)
    page.on("request", note)
    driver.press("b")
    driver.drag(driver.places("z"), (4, 12), (20, 28))
    driver.press("Control+Enter")
    driver.press("Control+Enter")
    page.wait_for_selector("#images .entry[title='scan.nii.gz']:has-text('done')")
    driver.settle()
    assert order == ["prompts", "done"]


def test_two_windows_on_one_image(driver: Driver, chromium: Any, served: Served) -> None:
    """The second one asks, and takes over; the first one is told and can come back."""
    boxed(driver)
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(60_000)
    other = Driver(context.new_page(), served)
    other.enter()
    other.page.click("#images .entry:has-text('scan.nii.gz')")
    other.page.wait_for_selector("#question-text:has-text('open in another window')")
    other.page.click("#question-yes")
    other.page.wait_for_selector("#images .entry[aria-current]:has-text('scan.nii.gz')")
    other.settle()
    assert other.objects() == ["object 1"]
    driver.page.wait_for_selector("#question-text:has-text('Nothing is lost')")
    driver.page.click("#question-no")
    assert driver.page.is_visible("#welcome")
    other.leave()
    context.close()
    assert other.faults == []


def test_a_frame_of_a_video(driver: Driver, served: Served) -> None:
    pytest.importorskip("av")
    disc = ball((1, 40, 48), (0, 20, 12), 8)[0]
    frames = [Image.fromarray(np.roll(disc, 6 * k, 1).astype(np.uint8) * 220) for k in range(4)]
    frames[0].save(served.root / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    driver.page.click("#refresh")
    driver.page.click("button[aria-label='Open clip.gif with options']")
    driver.page.fill("#open-frame", "2")
    driver.page.click("#open-options button.primary")
    driver.page.wait_for_selector("#images .entry[aria-current]:has-text('clip.gif')")
    driver.settle()
    place = driver.places("z")
    driver.page.mouse.move(*place(24, 20))
    assert driver.page.locator("canvas.image").count() == 1
    driver.press("p")
    driver.click(place, (24, 20))
    driver.settle()
    mask = np.asarray(Image.open(driver.save("frame.png", ".png"))) > 0
    (served.root / "clip.gif").unlink()
    assert (mask & np.roll(disc, 12, 1)).sum() > 0.9 * max(mask.sum(), disc.sum())


def test_a_double_click_and_a_change_of_mind_leave_one_session(driver: Driver) -> None:
    entry = "#images .entry:has-text('{}')"
    driver.page.dblclick(entry.format("scan.nii.gz"))
    driver.page.wait_for_selector("#images .entry[aria-current]:has-text('scan.nii.gz')")
    driver.page.click(entry.format("oblique.nii.gz"))
    driver.page.click(entry.format("picture.png"))
    driver.page.wait_for_selector("#images .entry[aria-current]:has-text('picture.png')")
    driver.settle()
    driver.page.wait_for_timeout(500)
    assert not driver.page.is_visible("#question")
    driver.page.click("#refresh")
    assert driver.page.locator("#images .hint:has-text('open elsewhere')").count() == 0
    assert driver.page.locator("#images .entry[aria-current]").count() == 1
