"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build as builders
from promptseg.train.options import TrainOptions
from promptseg.train.setting import StartingWeights
from train.tiny import TINY, build_tiny, made_data

Options = Callable[..., TrainOptions]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_data(tmp_path_factory.mktemp("collection"))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The checkpoint of a tiny model, which promptseg takes for the only one of its own."""
    before = dict(CARDS)
    CARDS.clear()
    CARDS["tiny"] = TINY
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    path = tmp_path / "start.pth"
    torch.save(build_tiny().state_dict(), path)
    yield path
    CARDS.clear()
    CARDS.update(before)  # in their order, which decides between equals


@pytest.fixture
def options(data: Path, start: Path, tmp_path: Path) -> Options:
    """Options of a short training; every keyword changes one."""

    def make(**changes: Any) -> TrainOptions:
        usual: dict[str, Any] = {
            "input": data,
            "output": tmp_path / "run",
            "model": f"tiny={start}",
            "preset": "medicosam",
            "n_steps": 2,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "updates": 4,
            "corrections": 1,
            "validation_images": 3,
            "report_images": 3,
            "workers": 0,
            "quiet": True,
        }
        return TrainOptions(**{**usual, **changes})

    return make


@pytest.fixture
def weights(start: Path) -> StartingWeights:
    return StartingWeights.load(f"tiny={start}", quiet=True)
