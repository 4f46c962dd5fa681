"""A browser without a screen, and a server of its own process for it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve import fake_server
from serve.page.phantoms import write_all

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Served:
    """A server on a folder that can be killed, and begun anew without loading everything again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/?token={fake_server.TOKEN}"
        tests = Path(fake_server.__file__).parents[1]
        path = os.pathsep.join([str(tests), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, fake_server.__file__, str(self.root), str(self.port), "--again"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._said().startswith("http")

    def start(self) -> None:
        """Once it has been killed."""
        self._tell("start")
        assert self._said().startswith("http")

    def kill(self) -> None:
        """As a power cut would."""
        self._tell("kill")
        assert self._said() == "killed\n"

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


class Driver:
    """A page and what a hand and an eye do with it.

    Args:
        page: of Playwright.
        served: the server.
    """

    def __init__(self, page: Any, served: Served) -> None:
        self.page, self.served = page, served
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        expected = ("Failed to load resource", "WebSocket connection")  # a server that was killed
        if message.type == "error" and not any(text in message.text for text in expected):
            self.faults.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"http://127.0.0.1:{self.served.port}/", "blob:", "data:")):
            self.faults.append(f"a request to {request.url}")

    def enter(self) -> None:
        """Open the address that the server prints."""
        self.page.goto(self.served.address, timeout=180_000)  # the first one on a busy machine
        self.page.wait_for_selector("html[data-ready]")

    def leave(self) -> None:
        """Close the session, so that the next test finds the image free."""
        self.page.evaluate(
            """() => {
                const id = sessionStorage.getItem("promptseg-session");
                return id && fetch(`/api/sessions/${id}`, {method: "DELETE"});
            }"""
        )

    def open(self, name: str) -> None:
        """Choose an image of the list."""
        self.page.click(f"#images .entry:has-text('{name}')")
        self.page.wait_for_selector(f"#images .entry[aria-current]:has-text('{name}')")
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is on its way."""
        self.page.wait_for_selector("html[data-busy=false]")
        self.page.wait_for_selector("#doing:text-is('Ready')")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def read(self) -> dict[str, float]:
        """What the footer says is under the mouse: x, y, z and the value."""
        text = self.page.inner_text("#under")
        found = {name: float(v) for name, v in re.findall(r"\b([xyz]) (\d+)", text)}
        if found:
            found["value"] = float(re.findall(r"(-?[\d.]+)(?: HU)?$", text)[0])
        return found

    def canvas(self, axis: str = "z") -> dict[str, float]:
        box: dict[str, float] = self.page.locator(f"canvas.image[data-axis={axis}]").bounding_box()
        return box

    def places(self, axis: str = "z") -> Any:
        """The map from pixels (x, y) of slices along an axis to the screen, learnt by pointing."""
        names = {"z": "xy", "y": "xz", "x": "yz"}[axis]
        box, seen, at = self.canvas(axis), [], []
        for count in (5, 11):  # of a narrow image few points are hit by a coarse grid
            shares = np.linspace(0.1, 0.9, count)
            for fx, fy in itertools.product(shares, shares):
                spot = (box["x"] + fx * box["width"], box["y"] + fy * box["height"])
                self.page.mouse.move(*spot)
                found = self.read()
                if found:
                    seen.append([found[names[0]], found[names[1]], 1])
                    at.append(spot)
            if seen and np.linalg.matrix_rank(seen) == 3:
                break
        fitted = np.linalg.lstsq(np.array(seen), np.array(at), rcond=None)[0]

        def place(x: float, y: float) -> tuple[float, float]:
            spot = np.array([x, y, 1]) @ fitted
            for _ in range(4):  # the readings are whole pixels: come nearer
                self.page.mouse.move(*spot)
                found = self.read()
                off = np.array([x - found[names[0]], y - found[names[1]], 0])
                if not off.any():
                    return float(spot[0]), float(spot[1])
                spot = spot + off @ fitted
            raise AssertionError(f"pixel {x}, {y} of a slice along {axis} cannot be pointed at")

        return place

    def drag(self, place: Any, *way: tuple[float, float]) -> None:
        """Press at the first pixel, release at the last one."""
        spots = [place(*pixel) for pixel in way]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*spot)
        self.page.mouse.up()

    def click(self, place: Any, pixel: tuple[float, float], button: str = "left") -> None:
        self.page.mouse.click(*place(*pixel), button=button)

    def scroll(self, axis: str, index: int) -> None:
        """Go to a slice by a click on the scroll bar."""
        bar = self.page.locator(f"[data-view={axis}] canvas.bar")
        size, count = bar.bounding_box(), int(bar.get_attribute("aria-valuemax"))
        bar.click(position={"x": size["width"] / 2, "y": (index + 0.5) / count * size["height"]})
        assert bar.get_attribute("aria-valuetext").startswith(f"slice {index + 1} of {count}")

    def objects(self) -> list[str]:
        found = self.page.locator("#objects .object").all()
        return [row.get_attribute("data-name") for row in found]

    def steps(self) -> list[str]:
        return list(self.page.locator("#steps button").all_inner_texts())

    def save(self, name: str, ending: str = ".nii.gz") -> Path:
        """Through the dialog."""
        self.page.click("#save")
        self.page.select_option("#save-ending", ending)
        self.page.fill("#save-path", name)
        self.page.click("#save-write")
        self.page.wait_for_selector(f".message:has-text('Saved {name}')")
        return self.served.root / name


def program() -> str:
    """The browser; without one, the test is skipped."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program(), args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("cases")
    write_all(root)
    found = Served(root)
    yield found
    found.end()


@pytest.fixture
def driver(chromium: Any, served: Served) -> Iterator[Driver]:
    context = chromium.new_context(viewport={"width": 1366, "height": 768}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    found = Driver(context.new_page(), served)
    found.enter()
    yield found
    found.leave()
    context.close()
    shutil.rmtree(served.root / ".promptseg", ignore_errors=True)
    assert found.faults == []
