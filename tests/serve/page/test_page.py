"""The page in a real browser, with a model that needs no weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import BrightPredictor, ball
from promptseg.cli.main import main
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.inference.predictor import Predictor
from promptseg.timing import read_log
from serve.page.conftest import Driver, Served
from serve.page.phantoms import RAS, body

pytestmark = pytest.mark.browser

A, B = ball((20, 40, 48), (10, 20, 12), 6), ball((20, 40, 48), (10, 20, 36), 6)


def masks(path: Path, like: Path) -> dict[str, np.ndarray]:
    """What a saved file holds, by name."""
    image = read(like)
    found = read_masks(path, image)
    return {s.name: s.mask(image.geometry.shape) for s in found.segments}


@pytest.mark.slow
def test_the_first_hour(driver: Driver, served: Served) -> None:
    """Box, correction, undo, an overlapping second object, save, and after a kill it is all there."""
    driver.open("scan.nii.gz")
    driver.scroll("z", 10)
    place = driver.places("z")
    driver.press("b")
    driver.drag(place, (3, 12), (44, 28))  # both balls
    driver.settle()
    driver.press("p")
    driver.click(place, (36, 20), "right")  # not the second one
    driver.settle()
    assert driver.steps() == ["image opened", "box on object 1", "point on object 1"]
    driver.click(place, (36, 20))
    driver.settle()
    driver.press("Control+z")
    driver.settle()
    assert driver.page.locator("#steps [aria-current]").inner_text() == "point on object 1"

    driver.press("e", "b")
    driver.settle()
    driver.drag(place, (3, 12), (44, 28))
    driver.settle()
    assert driver.objects() == ["object 1", "object 2"]
    saved = masks(driver.save("both.seg.nrrd", ".seg.nrrd"), served.root / "scan.nii.gz")
    np.testing.assert_array_equal(saved["object 1"][10], A[10])
    assert (saved["object 2"] ^ (A | B)).sum() <= 4  # following loses the corners of an egg

    served.kill()
    served.start()
    driver.enter()
    driver.open("scan.nii.gz")
    assert driver.objects() == ["object 1", "object 2"]
    assert driver.steps()[-1] == "box on object 2"
    again = masks(driver.save("again.seg.nrrd", ".seg.nrrd"), served.root / "scan.nii.gz")
    assert again.keys() == saved.keys()
    for name in saved:
        np.testing.assert_array_equal(again[name], saved[name])


BOXES = {"z": (9, (4, 8, 32, 32)), "y": (20, (4, 2, 32, 16)), "x": (18, (8, 2, 32, 16))}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oblique", "anisotropic"])
def test_a_saved_mask_is_that_of_the_command_line(
    name: str,
    driver: Driver,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A box drawn in each of the three planes, voxel for voxel."""
    monkeypatch.setattr(Predictor, "load", lambda *_: BrightPredictor(card="mobile-sam"))
    image = served.root / f"{name}.nii.gz"
    driver.open(f"{name}.nii.gz")
    for axis, (index, (x0, y0, x1, y1)) in BOXES.items():
        driver.scroll(axis, index)
        place = driver.places(axis)
        driver.press("b")
        driver.drag(place, (x0, y0), (x1, y1))
        driver.settle()
        saved = driver.save(f"{name}-{axis}.nii.gz")
        driver.press("Control+z")
        driver.settle()

        theirs = tmp_path / f"{axis}.nii.gz"
        box = f"{x0},{y0},{x1},{y1}@{index}=object 1"
        asked = ["segment", "-i", str(image), "-o", str(theirs), "--model", "mobile-sam"]
        assert main([*asked, "--axis", axis, "--box", box, "--quiet"]) == 0
        ours, reference = masks(saved, image), masks(theirs, image)
        assert ours.keys() == reference.keys() == {"object 1"}
        np.testing.assert_array_equal(ours["object 1"], reference["object 1"])
        assert ours["object 1"].sum() > 0.9 * (body() == 200).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RAS))
def test_the_sides_of_the_patient_are_right(name: str, driver: Driver) -> None:
    """A ball that lies to the left, anterior and superior is seen on those sides of every plane."""
    driver.open(f"sides-{name}.nii.gz")
    driver.page.locator("#style-crosshair").uncheck()
    for axis in "zyx":
        bar = driver.page.locator(f"[data-view={axis}] canvas.bar")
        canvas = driver.page.locator(f"canvas.image[data-axis={axis}]")
        count = int(bar.get_attribute("aria-valuemax"))
        seen = []
        for share in (0.25, 0.75):  # in one of them lies the ball
            driver.scroll(axis, round(count * share))
            gray = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"))
            seen.append(gray[44:-24, 24:-24] > 250)  # without the letters and the plane's name
        ball_seen = max(seen, key=np.sum)
        rows, columns = np.nonzero(ball_seen)
        height, width = ball_seen.shape

        label = canvas.get_attribute("aria-label")
        sides = dict(part.split(": ") for part in label.split("; ")[1].split(", "))
        across = sides["left of the screen" if columns.mean() < width / 2 else "right"]
        upright = sides["top" if rows.mean() + 10 < height / 2 else "bottom"]  # 44 above, 24 below
        assert {across, upright} < {"left", "anterior", "superior"}, (axis, label)
        assert sides["left of the screen"] in ("right", "anterior")  # as radiologists look at it
        assert sides["top"] in ("anterior", "superior")


def test_true_aspect(driver: Driver) -> None:
    """Pixels are as wide and high on the screen as they are in the patient."""
    driver.open("anisotropic.nii.gz")
    for axis, ratio in {"z": 1.0, "y": 4.0 / 0.8, "x": 4.0 / 0.8}.items():
        place = driver.places(axis)
        (x0, y0), (x1, y1) = place(12, 5), place(22, 10)
        wide, high = abs(x1 - x0) / 10, abs(y1 - y0) / 5
        assert high / wide == pytest.approx(ratio, rel=0.12), axis


def test_by_hand(driver: Driver, served: Served) -> None:
    """Lasso on two slices, what lies between filled, brush and eraser, lock, undo of all."""
    driver.open("oblique.nii.gz")
    driver.page.locator("#spread").uncheck()
    driver.press("l")
    square = [(10, 10), (10, 25), (25, 25), (25, 10), (10, 10)]
    for index in (6, 9):
        driver.scroll("z", index)
        driver.drag(driver.places("z"), *square)
        driver.settle()
    driver.press("i")
    driver.page.wait_for_selector(".message:has-text('Filled between')")
    driver.settle()
    image = served.root / "oblique.nii.gz"
    mask = masks(driver.save("drawn.nii.gz"), image)["object 1"]
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [6, 7, 8, 9]
    for index in (7, 8):  # between two equal squares lies that square
        between = mask[index] & mask[6]
        assert 2 * between.sum() / (mask[index].sum() + mask[6].sum()) > 0.95
    driver.press("s", "t")  # erase
    place = driver.places("z")
    driver.drag(place, (12, 17), (22, 17))
    driver.settle()
    erased = masks(driver.save("erased.nii.gz"), image)["object 1"]
    assert not erased[9, 17, 12:23].any()
    assert erased[9].sum() < mask[9].sum()
    np.testing.assert_array_equal(erased[:9], mask[:9])

    driver.page.click("button[aria-label='Lock object 1']")
    driver.drag(place, (12, 12), (22, 12))
    driver.page.wait_for_selector(".message:has-text('is locked')")
    assert len(driver.steps()) == 6
    driver.page.locator("#steps button").first.click()
    driver.settle()
    assert driver.objects() == []


def test_a_box_in_space_and_the_keyboard_alone(driver: Driver, served: Served) -> None:
    """Without a mouse: corners at the crosshair; a 3D box from a rectangle and two scrolled slices."""
    driver.open("anisotropic.nii.gz")
    driver.scroll("z", 3)
    driver.press("c")
    place = driver.places("z")
    driver.drag(place, (4, 8), (32, 32))
    driver.scroll("z", 15)
    driver.page.locator("canvas.image[data-axis=z]").focus()
    driver.press("Enter")
    driver.settle()
    image = served.root / "anisotropic.nii.gz"
    mask = masks(driver.save("space.nii.gz"), image)["object 1"]
    np.testing.assert_array_equal(mask[4:15], body()[4:15] == 200)
    assert not mask[[0, 1, 2, 16, 17]].any()

    driver.press("e", "b")
    driver.settle()
    driver.scroll("z", 9)
    driver.page.locator("canvas.image[data-axis=z]").focus()
    driver.press("Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter")
    driver.settle()
    assert driver.objects() == ["object 1", "object 2"]
    assert driver.steps()[-1] == "box on object 2"


def test_a_picture(driver: Driver, served: Served) -> None:
    """Zoomed in, a box still says what is under the mouse."""
    driver.open("picture.png")
    assert driver.page.locator("canvas.image").count() == 1
    driver.press("+", "+")
    place = driver.places("z")
    driver.press("b")
    driver.drag(place, (26, 16), (64, 44))
    driver.settle()
    mask = masks(driver.save("picture_mask.png", ".png"), served.root / "picture.png")
    found = next(iter(mask.values()))
    assert found.sum() == 20 * 30
    assert found[20:40, 30:60].all()


def test_states_and_notes_of_the_folder(driver: Driver) -> None:
    driver.open("picture.png")
    with driver.page.expect_response(lambda answer: answer.request.method == "PUT"):
        driver.page.fill("#note", "ask a colleague")  # kept while one writes
    driver.page.select_option("#state", "flagged")
    driver.page.wait_for_selector("#images .entry:has-text('flagged')")
    driver.page.reload()
    driver.page.wait_for_selector("html[data-ready]")
    driver.settle()  # the same window goes on where it was
    assert driver.page.input_value("#note") == "ask a colleague"
    assert driver.page.input_value("#state") == "flagged"


def test_the_help_sheet_names_the_keys(driver: Driver) -> None:
    driver.press("?")
    text = driver.page.inner_text("#help-sheet")
    for key in ("P", "B", "L", "S", "T", "E", "R", "V", "Ctrl+Z"):
        assert f"\n{key}\n" in text, key


def test_annotation_times_are_logged_in_sight(driver: Driver, served: Served) -> None:
    """Off at first; a phase with a clock that stands when paused; what the study's reader finds."""
    log = served.root / ".promptseg" / "times.jsonl"
    page = driver.page
    driver.open("scan.nii.gz")
    assert not page.is_visible("#times-section")
    assert not log.exists()
    page.click("#times-open")
    page.fill("#times-expert", "1")
    page.fill("#times-case", "010")
    page.click("#times-start")
    page.wait_for_selector("#times-section:has-text('010 · expert 1')")
    driver.scroll("z", 10)
    driver.press("b")
    driver.drag(driver.places("z"), (3, 12), (20, 28))
    driver.settle()
    page.select_option("#times-now", "refinement")
    page.click("#times-pause")
    page.wait_for_selector("#times-what:text-is('paused')")
    stood = page.inner_text("#times-clock")
    page.wait_for_timeout(1200)
    assert page.inner_text("#times-clock") == stood
    page.click("#times-stop")
    page.wait_for_selector("#times-section", state="hidden")
    finished = read_log(log).finished
    assert {f.phase for f in finished} == {"marker", "inference", "refinement"}
    assert {(f.case, f.expert) for f in finished} == {("010", "1")}
