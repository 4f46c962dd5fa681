"""Examples in docstrings run and print what they promise, and every public name has one.

`promptseg.load` gives a model that finds what is bright, in place of the weights it would fetch.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

import promptseg
from fakes import BrightPredictor
from promptseg.segment.segmenter import Segmenter

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
MARK = ">>" + "> "
NO_EXAMPLE: dict[str, str] = {}
"""Public names without an example -> why: what needs a GPU or a viewer, and nothing else."""


def modules() -> list[str]:
    """Names of the modules with examples."""
    files = (f for f in sorted(SOURCE.rglob("*.py")) if MARK in f.read_text("utf-8"))
    names = (".".join(f.relative_to(SOURCE).with_suffix("").parts) for f in files)
    return [name.removesuffix(".__init__") for name in names]


def public_names() -> Iterator[tuple[str, Any]]:
    """Classes and functions of the Python reference, which is made of the same table."""
    path = ROOT / "docs" / "_site" / "python_reference.py"
    spec = importlib.util.spec_from_file_location("python_reference", path)
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for package in reference.PACKAGES:
        for name in import_module(package).__all__:
            value = getattr(import_module(package), name)
            if inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value)):
                yield f"{package}.{name}", value


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with a small data set, and a model that needs no weights."""
    pixels = np.full((40, 48), 40, np.uint8)
    pixels[8:29, 12:39] = 210
    folder = tmp_path / "pictures" / "us"
    for kind, values in (("images", pixels), ("masks", (pixels > 128).astype(np.uint8))):
        (folder / kind).mkdir(parents=True)
        PilImage.fromarray(values).save(folder / kind / "a.png")
    (folder / "dataset.json").write_text(
        '{"name": "us", "modality": "ultrasound", "targets": {"1": "block"}}'
    )
    monkeypatch.chdir(tmp_path)

    def load(model: str = "lite-medsam", **_: Any) -> Segmenter:
        return Segmenter(BrightPredictor(card=model))

    monkeypatch.setattr(promptseg, "load", load, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", modules())
def test_examples_do_what_they_say(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    found = doctest.DocTestFinder().find(module, globs=vars(module).copy())
    for number, test in enumerate(found):
        own = place / str(number)
        own.mkdir()
        (own / "pictures").symlink_to(place / "pictures")
        monkeypatch.chdir(own)
        runner.run(test)
    said = capsys.readouterr().out
    assert any(test.examples for test in found), "an example that the finder does not find"
    assert not runner.failures, said


@pytest.mark.parametrize("name", [name for name, _ in public_names()])
def test_every_public_name_has_an_example(name: str) -> None:
    value = dict(public_names())[name]
    shown = MARK in (inspect.getdoc(value) or "")
    assert shown != (name in NO_EXAMPLE), NO_EXAMPLE.get(
        name, "give its docstring an `Examples:` section"
    )


def test_the_reference_has_names() -> None:
    assert len(list(public_names())) > 50
