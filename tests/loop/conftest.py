"""Made images of bright discs and bars, a tiny model, and an expert that knows where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from curate.made import disc, rectangle
from promptseg.loop.options import LoopOptions
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build as builders
from promptseg.serve.folder import Folder
from train.tiny import TINY, build_tiny

SHAPE = (60, 64)
NAMES = ("disc", "bar")
Masks = dict[str, np.ndarray]
Options = Callable[..., LoopOptions]


def truth(number: int) -> Masks:
    """Where the objects of an image are."""
    rng = np.random.default_rng(number)
    y, x = rng.uniform(14, 40, 2)
    masks = {"disc": disc(SHAPE, y, x, 6.0 + number % 4)}
    if number % 3:
        masks["bar"] = rectangle(SHAPE, (4, 48, 20 + number % 20, 56))
    return masks


def write_image(path: Path, number: int) -> None:
    """Noise, with the objects brighter than it."""
    rng = np.random.default_rng(100 + number)
    pixels = rng.normal(60, 12, SHAPE)
    for mask, value in zip(truth(number).values(), (190, 140), strict=False):
        pixels[mask] = rng.normal(value, 8, int(mask.sum()))
    PilImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def labels_of(masks: Masks) -> np.ndarray:
    """Masks as one label image: 1 is the disc, 2 the bar."""
    labels = np.zeros(SHAPE, np.uint8)
    for name, mask in masks.items():
        labels[mask] = NAMES.index(name) + 1
    return labels


def number_of(path: Path) -> int:
    return int(path.name.removeprefix("case").partition(".")[0])


def images_of(task: Path) -> list[Path]:
    return sorted(task.glob("case*.png"))


def answer(task: Path, path: Path, masks: Masks | None = None) -> None:
    """What another tool saves."""
    drawn = truth(number_of(path)) if masks is None else masks
    PilImage.fromarray(labels_of(drawn)).save(task / "answers" / path.name)


def annotate(task: Path, but: int = 0) -> None:
    """An expert who draws what is there, on all images but the last few."""
    images = images_of(task)
    for path in images[: len(images) - but]:
        answer(task, path)


def mark(task: Path, path: Path, state: str, note: str = "") -> None:
    """What the page writes when somebody chooses a state."""
    Folder(task).remember(path.name, state=state, **({"note": note} if note else {}))


@pytest.fixture(autouse=True)
def _tiny_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before, threads = dict(CARDS), torch.get_num_threads()
    CARDS.clear()
    CARDS["tiny"] = TINY
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    CARDS.clear()
    CARDS.update(before)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(14):
        write_image(folder / f"case{number}.png", number)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.pth"
    torch.save(build_tiny().state_dict(), path)
    return path


@pytest.fixture
def options(images: Path, start: Path, tmp_path: Path) -> Options:
    """Options of a short loop; every keyword changes one."""

    def make(**changes: Any) -> LoopOptions:
        usual: dict[str, Any] = {
            "input": images,
            "output": tmp_path / "loop",
            "model": f"tiny={start}",
            "task": "classes",
            "classes": NAMES,
            "strategy": "both",
            "budget": 14,
            "images": 3,
            "validation_images": 3,
            "updates": 12,
            "quiet": True,
            "threads": 1,
            "device": "cpu",
        }
        return LoopOptions(**{**usual, **changes})

    return make


@pytest.fixture
def labelled(images: Path, tmp_path: Path) -> Path:
    """The same images as a dataset."""
    root = tmp_path / "us_made"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for path in images.iterdir():
        (root / "images" / path.name).write_bytes(path.read_bytes())
        PilImage.fromarray(labels_of(truth(number_of(path)))).save(root / "masks" / path.name)
    (root / "dataset.json").write_text(
        '{"modality": "ultrasound", "targets": {"1": "disc", "2": "bar"}}'
    )
    return root
