"""README and docs keep their word: commands are understood, snippets run, nothing is undefined.

Where a model is loaded, one that finds what is bright takes its place, or a tiny SAM with random
weights; what is not run is named in `NOT_RUN`, and its imports are.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import tyro
from PIL import Image as PilImage

from evaluate.made_results import made_rows, made_run, write_results
from fakes import BrightPredictor
from formats.helpers import write_dicom_series
from formats.video_makers import textured, write_video
from promptseg.cli import options as cli_options
from promptseg.cli.main import VERBS, _joined_values
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateOptions
from promptseg.models import checkpoint
from promptseg.models.cards import CARDS
from promptseg.models.families import sam
from promptseg.models.families.sam import build as builders
from promptseg.segment.segmenter import Segmenter
from train.tiny import TINY, build_tiny, made_data

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_site" not in p.parts)
PAGES = [ROOT / "README.md", *DOCS, ROOT / "recipes" / "README.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "semantic.md": "trains a model; tests/train/test_semantic_training.py does",
    "slides.md": "needs a whole slide; tests/slides makes one and does the same",
    "mcp.md": "needs a folder with a scan; tests/serve/test_mcp.py makes one",
    "loop.md": "needs an expert between its calls; tests/loop is one",
    "lists.md": "needs a list of scans; tests/jobs/test_listed.py makes one",
    "tools.md": "writes weights into folders of other tools; tests/export/test_tools.py runs it",
    "export.md": "exports real weights, which tests/export does",
    "server.md": "tutorials/server.md speaks to a server; tests/apps runs the client against one",
    "words.md": "asks SAM 3, whose weights are not ours to hand on; see tests/segment/test_by_words.py",
    "models.md": "the last snippet reads a checkpoint of 375 MB, which tests/compat does not need",
}


def snippets(page: Path) -> list[str]:
    """The Python of a page, in order."""
    return [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind == "python"]


def commands() -> list[Any]:
    """Every command line of promptseg on any page."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for kind, block in FENCE.findall(text):
            lines = block.splitlines() if kind in ("", "bash", "sh") else []
            for number, line in enumerate(lines):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                starts = [k for k, w in enumerate(words) if w == "promptseg" and k < 6]
                if starts and words[0] in ("promptseg", "torchrun", ".venv/bin/python"):
                    name = f"{page.stem}-{number}-{line[:60]}"
                    found.append(pytest.param(words[starts[0] + 1 :], id=name))
    return found


class _Understood(BaseException):
    """The options were parsed; nothing is to be done."""


@pytest.mark.parametrize("words", commands())
def test_commands_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = tyro.cli

    def parse(*arguments: Any, **keywords: Any) -> None:
        real(*arguments, **keywords)
        raise _Understood

    monkeypatch.setattr(cli_options.tyro, "cli", parse)
    monkeypatch.setattr(cli_options, "_read_config", lambda path: {})
    monkeypatch.chdir(ROOT)
    verb, *rest = words
    assert verb in VERBS
    rest = [{"CONFIG.yaml": "pyproject.toml"}.get(word, word) for word in rest]
    if rest[:1] == ["--help"]:
        return
    from_file = {"--config", "--replay"} & set(rest)  # which has the rest
    with pytest.raises((_Understood, InputError) if from_file else _Understood):
        import_module(f"promptseg.cli.{verb}").run(_joined_values(rest))


def test_there_are_commands_to_understand() -> None:
    assert len(commands()) > 50


@pytest.mark.parametrize("page", [p for p in PAGES if snippets(p)], ids=lambda p: p.name)
def test_nothing_is_undefined(page: Path) -> None:
    """Names of all snippets of a page, which are read one after the other."""
    source = "\n".join(snippets(page))
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,E9", "-q", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [p for p in PAGES if snippets(p)], ids=lambda p: p.name)
def test_everything_imported_is_there(page: Path) -> None:
    for node in ast.walk(ast.parse("\n".join(snippets(page)))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("promptseg"):
            module = import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the snippets name."""
    values = np.zeros((20, 400, 410), np.int16)
    values[8:16, 200:350, 110:260] = 100  # HU
    values[8:17, 62:95, 60:96] = 100
    write_dicom_series(tmp_path / "demo" / "ct", np.diag([1.0, 1.0, 3.0]), stored=values + 1024)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(values.T, affine), tmp_path / "scan.nii.gz")
    picture = np.full((400, 410), 40, np.uint8)
    picture[48:129, 62:159] = 210
    PilImage.fromarray(picture).save(tmp_path / "slice.png")
    for kind, pixels in (("images", picture), ("masks", (picture > 128).astype(np.uint8))):
        folder = tmp_path / "pictures" / "us" / kind
        folder.mkdir(parents=True)
        PilImage.fromarray(pixels).save(folder / "a.png")
    (tmp_path / "pictures" / "us" / "dataset.json").write_text(
        '{"name": "us", "modality": "ultrasound", "targets": {"1": "block"}}'
    )
    finished = {"request": EvaluateOptions().to_json(), "finished": "2026-01-02"}
    for name in ("RESULTS", "RESULTS2"):
        write_results(tmp_path / name, made_rows(patients=7), made_run(**finished))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny SAM under the names of the real models, and as a file of fine-tuned weights."""
    before = dict(CARDS)
    names = ("lite-medsam", "mobile-sam", "promptseg-lite")
    CARDS.clear()
    CARDS.update({name: replace(TINY, name=name) for name in names})
    for module in (builders, sam):
        monkeypatch.setattr(module, "build_tiny", build_tiny, raising=False)
    state = build_tiny().state_dict()
    torch.save(state, workplace / "start.pth")
    torch.save({k: 1.01 * v for k, v in state.items()}, workplace / "tuned.pth")
    monkeypatch.setattr(checkpoint.assets, "fetch", lambda name, quiet: workplace / "start.pth")
    yield workplace
    CARDS.clear()
    CARDS.update(before)


def run(page: str, source: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Execute the Python of a page; returns its names."""
    found = {"__name__": page} if namespace is None else namespace
    exec(compile(source, page, "exec"), found)  # our own documentation
    return found


@pytest.mark.parametrize("name", ["README.md", "sessions.md", "study.md"])
def test_snippets_that_segment(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import promptseg

    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    monkeypatch.setattr(promptseg, "load", lambda *_, **__: segmenter, raising=False)
    page = next(p for p in PAGES if p.name == name)
    found = run(name, "\n".join(snippets(page)))
    if name == "README.md":
        assert found["result"]["liver"].sum() > 1000
        assert found["result"].segments[0].measurements["volume_ml"] > 0
        assert (workplace / "liver.nii.gz").exists()
    if name == "sessions.md":
        assert found["session"].result()["tumour"].any()


def test_snippets_on_data(workplace: Path) -> None:
    made_data(workplace / "curated")
    (workplace / "pictures").rename(workplace / "data")
    docs = ROOT / "docs"
    found = run("datasets.md", "\n".join(snippets(docs / "datasets.md")))
    assert found["truth"].segments[0].name == "block"
    found = run("curate.md", "\n".join(snippets(docs / "curate.md")))
    assert found["collection"].samples
    run("reports.md", "\n".join(snippets(docs / "reports.md")))
    assert (workplace / "RESULTS" / "report.html").exists()


def test_snippets_on_a_video(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(workplace / "clip.mp4", textured(12), "mpeg4", "yuv420p")
    run("video.md", "\n".join(snippets(ROOT / "docs" / "video.md")))
    assert capsys.readouterr().out == "12 0.4 (24, 32, 3)\n"


def test_numbers_that_a_snippet_promises(capsys: pytest.CaptureFixture[str]) -> None:
    source = "\n".join(snippets(ROOT / "docs" / "metrics.md"))
    run("metrics.md", source)
    promised = re.findall(r"# ([\d. ]+)$", source, re.MULTILINE)
    assert promised
    assert capsys.readouterr().out.split("\n")[: len(promised)] == promised


def test_snippets_with_networks(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = ROOT / "docs"
    found = run("models.md", "\n".join(snippets(docs / "models.md")[:-1]))
    assert found["refined"].masks.shape == (1, 400, 410)
    run("embeddings.md", "\n".join(snippets(docs / "embeddings.md")))
    made_data(tiny / "collection", images=24)
    run("catalogue.md", "\n".join(snippets(docs / "catalogue.md")))
    (tiny / "collection").rename(tiny / "data")
    found = run("finetuned.md", "\n".join(snippets(docs / "finetuned.md")))
    assert found["card"].base == "mobile-sam"
    assert (tiny / "mine" / "report.md").exists()


def test_every_page_with_python_is_run_or_named() -> None:
    run_here = {"README.md", "sessions.md", "study.md", "datasets.md", "curate.md", "reports.md"}
    run_here |= {
        "metrics.md",
        "models.md",
        "embeddings.md",
        "catalogue.md",
        "finetuned.md",
        "video.md",
    }
    assert {p.name for p in PAGES if snippets(p)} == run_here | set(NOT_RUN)


def links(page: Path) -> list[str]:
    """The files that a page leads to, its pictures included; no addresses."""
    text = FENCE.sub("", page.read_text("utf-8"))
    found = re.findall(r"\]\(([^)#\s]*)(?:#[^)\s]*)?\)", text)
    return [link for link in found if link and "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in links(page) if not (page.parent / link).exists()]
    assert missing == []


def test_the_way_in_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    assert "docs/start.md" in links(ROOT / "README.md")
    assert "docs/index.md" in links(ROOT / "README.md")
    there = {link for name in ("index.md", "start.md") for link in links(docs / name)}
    pages = {page.relative_to(docs).as_posix() for page in DOCS}
    assert pages - {"index.md"} <= there


def test_the_readme_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 100
