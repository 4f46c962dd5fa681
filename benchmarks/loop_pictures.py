"""The picture of docs/loop.md: a loop on made slices, so that no patient's image stands in the docs.

    python benchmarks/loop_pictures.py FOLDER [--picture docs/pictures/loop.png]

Twenty made abdomens, each with a body, a liver and a kidney of its own; the labels answer
in the expert's place. With --picture the report's page is shot by a Chromium of the system.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.loop.options import LoopOptions
from promptseg.loop.run import loop

_SHAPE, _COUNT = (160, 192), 20
_OBJECTS = {1: "liver", 2: "kidney"}


def slice_of(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(rows, columns) picture and labels."""
    rng = np.random.default_rng(number)
    y, x = np.indices(_SHAPE).astype(np.float64)

    def ellipse(cy: float, cx: float, a: float, b: float) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        return found

    cy, cx = 80 + rng.uniform(-6, 6), 96 + rng.uniform(-6, 6)
    values = np.full(_SHAPE, 8.0)
    values[ellipse(cy, cx, 66, 86)] = 60
    values[ellipse(cy, cx, 58, 78)] = 110
    labels = np.zeros(_SHAPE, np.uint8)
    parts = {
        1: ellipse(cy - 6 + rng.uniform(-5, 5), cx - 34, rng.uniform(22, 34), rng.uniform(22, 32)),
        2: ellipse(cy + 22, cx + 34 + rng.uniform(-6, 6), rng.uniform(9, 15), rng.uniform(8, 13)),
    }
    for label, part in parts.items():
        values[part] = {1: 140, 2: 165}[label]
        labels[part] = label
    values[ellipse(cy + 40, cx, 12, 12)] = 230
    return (values + rng.normal(0, 7, _SHAPE)).clip(0, 255).astype(np.uint8), labels


def made(root: Path) -> Path:
    """The slices as a labelled dataset."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number in range(_COUNT):
        for kind, pixels in zip(("images", "masks"), slice_of(number), strict=True):
            PilImage.fromarray(pixels).save(root / kind / f"slice{number:02d}.png")
    targets = ", ".join(f'"{k}": "{name}"' for k, name in _OBJECTS.items())
    (root / "dataset.json").write_text(f'{{"modality": "CT", "targets": {{{targets}}}}}')
    return root


def shoot(page: Path, picture: Path) -> None:
    """The last round on a page as a picture."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 900})
        tab.goto(page.resolve().as_uri())
        tab.locator("section").first.screenshot(path=picture)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="promptseg-lite")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    settings = options.folder / "train.yaml"
    data = made(options.folder / "ct_made")
    settings.write_text("features: 4\ndoublings: 1\nbatch_size: 2\nmicro_batch: 2\n")
    stands = loop(
        LoopOptions(
            input=data,
            output=options.folder / "loop",
            model=options.model,
            task="classes",
            budget=14,
            images=4,
            validation_images=6,
            minutes_per_image=1.5,
            updates=options.updates,
            train=settings,
            flat=0.0,
            simulate=True,
            threads=1,
        )
    )
    for line in stands.lines():
        print(line)
    if options.picture:
        shoot(options.folder / "loop" / "report.html", options.picture)


if __name__ == "__main__":
    main()
