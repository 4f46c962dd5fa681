"""The site: every page has a place, tables of options are whole, and a strict build succeeds."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from promptseg.cli.kinds import KINDS
from promptseg.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs" / "_site"


def part(name: str) -> ModuleType:
    """A module of docs/_site, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[str]:
    docs = ROOT / "docs"
    found = [*docs.rglob("*.md"), *docs.rglob("*.ipynb")]
    return sorted(p.relative_to(docs).as_posix() for p in found if "_site" not in p.parts)


def test_every_page_has_a_place_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    nav = yaml.safe_load(text)["nav"]
    named = set(part("navigation").named_pages(nav))
    missing = [page for page in pages() if page not in named]
    assert not missing, f"give these pages a place under `nav` in mkdocs.yml: {', '.join(missing)}"
    gone = {page for page in named if not page.startswith("reference/")} - set(pages())
    assert not gone, f"mkdocs.yml names pages that are not there: {', '.join(sorted(gone))}"


def test_a_page_without_a_place_is_reachable_all_the_same() -> None:
    with_missing_pages = part("navigation").with_missing_pages
    nav = [{"Home": "index.md"}, {"Guide": [{"A": "a.md"}, "b.md"]}]
    assert with_missing_pages(nav, ["a.md", "b.md", "index.md"]) == nav
    assert with_missing_pages(nav, ["a.md", "new.md"])[-1] == {"More": ["new.md"]}


def test_links_that_leave_the_docs_become_names() -> None:
    links_within = part("links").links_within
    assert (
        links_within("[its README](../apps/x/README.md#a)", "p.md")
        == "its README (`apps/x/README.md`)"
    )
    assert links_within("[`deploy/`](../../deploy/x.md)", "t/p.md") == "`deploy/` (`deploy/x.md`)"
    kept = "[a](../b.md) [c](https://d.example) ![e](../f/g.png)"
    assert links_within(kept, "t/p.md") == kept
    assert links_within("[n](notebooks/n.ipynb)", "p.md") == "[n](notebooks/n.md)"
    assert links_within("```\n[x](../y.md)\n```", "p.md") == "```\n[x](../y.md)\n```"


def test_tables_of_options_have_every_option_that_help_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = part("options").options_page()
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert set(sections) == set(KINDS)
    for verb, text in sections.items():
        main([*verb.split(), "--help"])
        printed = re.findall(r"^  (?:-\w .*?, )?(--[\w-]+)", capsys.readouterr().out, re.M)
        shown = set(re.findall(r"--[\w-]+", " ".join(re.findall(r"^\| `.*?` \|", text, re.M))))
        assert printed or verb in ("completion", "schema")  # positionals alone
        assert set(printed) <= shown, verb


def test_a_notebook_becomes_text_and_code() -> None:
    text = (ROOT / "docs" / "notebooks" / "box_to_mask.ipynb").read_text("utf-8")
    page = part("notebook").as_markdown(text, "box_to_mask.ipynb")
    assert page.startswith("# From a box to a mask in Python\n")
    assert "```python\nimport numpy as np" in page
    assert "docs/notebooks/box_to_mask.ipynb" in page


class _Links(HTMLParser):
    """The addresses that a page asks for by itself, and those it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.loads.append(known.get("src") or "")
        if tag == "link" and known.get("rel") in ("stylesheet", "preconnect", "icon"):
            self.loads.append(known.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'promptseg[docs]'")
    pytest.importorskip("mkdocstrings", reason="pip install 'promptseg[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    site = tmp_path / "site"
    built = {p.relative_to(site).as_posix() for p in site.rglob("*.html")}
    wanted = {re.sub(r"\.(md|ipynb)$", ".html", page) for page in pages()}
    assert wanted <= built
    for page in ("index.html", "reference/options.html", "reference/python.html"):
        links = _Links()
        links.feed((site / page).read_text("utf-8"))
        assert not [one for one in links.loads if "//" in one]
    assert "Box3D" in (site / "reference" / "python.html").read_text("utf-8")


def test_of_every_release_its_last_fix_is_shown() -> None:
    releases = part("versions").releases
    assert list(releases(["v0.9.0", "v0.10.1", "v0.10.0", "nightly", "v1.0"])) == ["0.10", "0.9"]
    assert releases(["v0.10.1", "v0.10.0"]) == {"0.10": "v0.10.1"}
    assert releases([]) == {}


@pytest.mark.slow
def test_sites_of_versions_are_built_from_tags(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'promptseg[docs]'")
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "mkdocs.yml").write_text("site_name: small\n")

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(source), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    for text, tag in (("first", "v0.1.0"), ("fixed", "v0.1.1"), ("second", "v0.2.0")):
        (source / "docs" / "index.md").write_text(f"# The {text}\n")
        git("add", "-A")
        git("commit", "-qm", text)
        git("tag", tag)
    (source / "docs" / "index.md").write_text("# The next\n")
    out = tmp_path / "out"
    part("versions").main(["--repository", str(source), "--output", str(out)])
    menu = json.loads((out / "versions.json").read_text("utf-8"))
    assert [(one["version"], one["aliases"]) for one in menu] == [
        ("0.2", ["latest"]),
        ("0.1", []),
        ("dev", []),
    ]
    for version, text in (("0.1", "The fixed"), ("0.2", "The second"), ("dev", "The next")):
        assert text in (out / version / "index.html").read_text("utf-8")
    assert 'url=0.2/"' in (out / "index.html").read_text("utf-8")
