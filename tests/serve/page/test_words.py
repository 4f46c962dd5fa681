"""Words on the page: a field that suggests what the model knows."""

from __future__ import annotations

import numpy as np
import pytest

from serve.page.conftest import Driver, Served
from serve.page.test_page import A, B, masks

pytestmark = pytest.mark.browser


def opened(driver: Driver, name: str, modality: str) -> None:
    """By the dialog, with the model that takes words."""
    page = driver.page
    page.click(f"button[aria-label='Open {name} with options']")
    page.select_option("#open-model", "promptseg-words")
    page.select_option("#open-modality", modality)
    page.click("#open-options button.primary")
    page.wait_for_selector(f"#images .entry[aria-current]:has-text('{name}')")
    driver.settle()


def find(driver: Driver, phrase: str) -> None:
    driver.press("/")
    driver.page.keyboard.type(phrase)
    driver.press("Enter")


def test_words_on_a_volume(driver: Driver, served: Served) -> None:
    page = driver.page
    opened(driver, "scan.nii.gz", "CT")
    known = page.locator("#words-known option").evaluate_all(
        "all => all.map(o => [o.value, o.label])"
    )
    assert known == [["bright", "also: light patch · US, CT"], ["spleen", "CT"],
                     ["liver", "also: LIV · MR"]]  # fmt: skip
    find(driver, "brigth one")
    page.wait_for_selector(".message:has-text(\"the nearest is 'bright'\")")
    assert page.input_value("#words-phrase") == "brigth one"
    driver.scroll("z", 10)
    page.fill("#words-phrase", "light patch")
    page.click("#words-find")
    page.wait_for_selector("#objects .object[data-name='light patch']")
    driver.settle()
    assert "“light patch” 9" in page.inner_text("#objects .facts")
    assert driver.steps() == ["image opened", "text on light patch"]
    place = driver.places("z")
    driver.press("p")
    driver.click(place, (36, 20), "right")
    driver.settle()
    find(driver, "spleen")
    page.wait_for_selector(".message:has-text(\"nothing was found for 'spleen'\")")
    driver.settle()
    assert "nothing was found" in page.inner_text(".object[data-name='spleen'] .facts")
    driver.press("Control+z")
    driver.settle()
    saved = masks(driver.save("words.seg.nrrd", ".seg.nrrd"), served.root / "scan.nii.gz")
    assert list(saved) == ["light patch"]
    np.testing.assert_array_equal(saved["light patch"][10], A[10])
    assert (saved["light patch"] & B).any()


def test_words_on_a_2d_image(driver: Driver) -> None:
    opened(driver, "picture.png", "US")
    find(driver, "bright")
    driver.page.wait_for_selector("#objects .object[data-name='bright']")
    driver.settle()
    assert driver.steps() == ["image opened", "text on bright"]
    assert not driver.page.locator("#cancel").is_visible()
    driver.press("s")  # with the brush's own controls the header is at its longest
    for width in (1366, 1060):
        driver.page.set_viewport_size({"width": width, "height": 768})
        box = driver.page.locator("#help").bounding_box()
        assert box["x"] + box["width"] <= width


def test_a_model_that_takes_none_has_no_field_and_says_which_does(driver: Driver) -> None:
    driver.open("scan.nii.gz")
    assert not driver.page.locator("#words").is_visible()
    driver.press("/")
    driver.page.wait_for_selector(
        ".message:has-text('mobile-sam takes no words; promptseg-words does: open the image with it')"
    )
