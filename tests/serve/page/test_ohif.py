"""OHIF as it is built for MONAI Label, unmodified, on a real Orthanc, in a browser."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image as PilImage

from dicomweb_servers import Orthanc, orthanc
from formats.helpers import GRIDS, write_dicom_series
from models.peer import fetch
from promptseg.serve.archive import Archive
from promptseg.serve.desk import Desk
from promptseg.serve.limits import Limits
from serve.conftest import Running, running
from serve.fake_server import OPTIONS, TOKEN, bright
from serve.page.conftest import program

pytestmark = [pytest.mark.peer, pytest.mark.browser, pytest.mark.slow]
SHAPE = (24, 64, 80)
STUDY, SERIES = "1.2.3.4", "1.2.826.0.1.3680043.8.498.78"
_FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_WAIT = 180_000  # ms; three volumes are drawn without a graphics card


def ball() -> Any:
    """Bright, and not in the middle: a click on a stack that is read backwards misses it."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((z - 9) / 6) ** 2 + ((y - 30) / 14) ** 2 + ((x - 36) / 16) ** 2 < 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    stored = np.full(SHAPE, 100, np.int16)
    stored[ball()] = 1900
    files = write_dicom_series(folder / "series", GRIDS["oblique"], stored=stored, uid=SERIES)
    with orthanc(folder) as found:
        found.upload(files)
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OHIF's pages out of the wheel of MONAI Label."""
    folder = tmp_path_factory.mktemp("ohif")
    inside = "monailabel/endpoints/static/ohif/"
    with zipfile.ZipFile(fetch("monailabel==0.8.5")) as wheel:
        for name in wheel.namelist():
            if name.startswith(inside) and not name.endswith("/"):
                path = folder / name.removeprefix(inside)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(name))
    return folder.resolve()


@pytest.fixture
def server(archive: Orthanc, pages: Path) -> Iterator[Running]:
    desk = Desk({"bright": bright()}, None, Limits(), OPTIONS)
    with running(desk, archive=Archive(archive.address), ohif=pages) as found:
        yield found
    desk.stop()


@pytest.fixture
def page(chromium: Any, server: Running) -> Iterator[Any]:
    """In a browser with WebGL, which our own page does without."""
    browser = chromium.browser_type.launch(executable_path=program(), args=_FLAGS)
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.set_default_timeout(_WAIT)
    page.goto(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")
    yield page
    browser.close()


def test_a_click_in_ohif_is_drawn_in_three_planes(page: Any, server: Running) -> None:
    base = f"http://127.0.0.1:{server.client.port}"
    page.goto(f"{base}/ohif/monai-label?StudyInstanceUIDs={STUDY}")
    page.click("text=Confirm and Hide")
    page.wait_for_function("document.querySelectorAll('canvas').length >= 3")
    page.fill("input.actionInput", f"{base}/")
    with page.expect_response("**/info/"):
        page.click(".actionButton >> nth=0")
    page.locator("#tab-3").evaluate("tab => tab.click()")
    page.locator("#tab-3 ~ .tab-content .clickable-row", has_text="object").click()
    views = [box for view in page.locator("canvas").all() if (box := view.bounding_box())]
    views = sorted((box for box in views if box["width"] > 200), key=lambda box: box["x"])[:3]
    page.wait_for_function(_BRIGHT)
    plain = [coloured(page, box) for box in views]
    x, y = brightest(page, views[0])
    mask = SimpleITK.GetArrayFromImage(_image(answer_to_a_click(page, x, y))) > 0
    overlap = 2 * (mask & ball()).sum() / (mask.sum() + ball().sum())
    assert overlap > 0.95, "the click came to the slice it was made on"
    page.wait_for_timeout(5_000)
    for box, before in zip(views, plain, strict=True):
        assert coloured(page, box) > before + 500, "the mask is drawn in every plane"


def answer_to_a_click(page: Any, x: float, y: float) -> bytes:
    """Click and run; again where OHIF was not ready to take the click, which it does not say."""
    timeout = pytest.importorskip("playwright.sync_api").TimeoutError
    for _ in range(4):
        page.locator("#tab-3 ~ .tab-content .clickable-row", has_text="object").click()
        page.mouse.click(x, y)
        page.wait_for_timeout(3_000)
        with contextlib.suppress(timeout):
            with page.expect_response("**/infer/**", timeout=40_000) as asked:
                page.locator("#tab-3 ~ .tab-content button").click()
            content: bytes = asked.value.body()
            return content
    raise AssertionError("no click was taken")


_BRIGHT = """() => [...document.querySelectorAll('canvas')].some(view => {
  if (view.clientWidth < 200) return false;
  const copy = document.createElement('canvas');
  copy.width = copy.height = 64;
  const pen = copy.getContext('2d');
  pen.drawImage(view, 0, 0, 64, 64);
  return pen.getImageData(0, 0, 64, 64).data.filter((v, k) => k % 4 === 0 && v > 200).length > 20;
})"""


def shot(page: Any, box: dict[str, float]) -> Any:
    picture = PilImage.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
    return np.asarray(picture, np.int16)


def coloured(page: Any, box: dict[str, float]) -> int:
    """Pixels that are not gray."""
    pixels = shot(page, box)
    return int((pixels.max(-1) - pixels.min(-1) > 30).sum())


def brightest(page: Any, box: dict[str, float]) -> tuple[float, float]:
    """The middle of what is bright in a view, on the page."""
    rows, columns = np.nonzero(shot(page, box).min(-1) > 200)
    return box["x"] + float(np.median(columns)), box["y"] + float(np.median(rows))


def _image(content: bytes) -> Any:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "answer.nrrd"
        path.write_bytes(content)
        return SimpleITK.ReadImage(str(path))
