"""MkDocs calls these functions: pages are added to the navigation, and the reference is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from links import links_within
from mkdocs.structure.files import File
from navigation import with_missing_pages
from notebook import as_markdown
from options import options_page
from python_reference import python_page

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = (".md", ".ipynb")


def on_config(config: Any) -> Any:
    """Give pages that `nav` does not name a place at its end."""
    docs = Path(config.docs_dir)
    found = sorted(
        path.relative_to(docs).as_posix()
        for path in docs.rglob("*")
        if path.suffix in _PAGES and not path.relative_to(docs).parts[0].startswith((".", "_"))
    )
    config.nav = _notebooks_as_pages(with_missing_pages(config.nav, found))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made: options, Python, changes, and notebooks as pages."""
    changes = (_ROOT / "CHANGELOG.md").read_text("utf-8")
    made = {
        "reference/options.md": options_page(),
        "reference/python.md": python_page(),
        "reference/changelog.md": re.sub(r"\]\(docs/", "](../", changes),
    }
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            text = Path(file.abs_src_path).read_text("utf-8")
            made[_page_of(file.src_uri)] = as_markdown(text, Path(file.src_uri).name)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/ into names of files, as the site has no such pages."""
    return links_within(markdown, page.file.src_uri)


def _page_of(notebook: str) -> str:
    return notebook.removesuffix(".ipynb") + ".md"


def _notebooks_as_pages(nav: Any) -> Any:
    if isinstance(nav, list):
        return [_notebooks_as_pages(one) for one in nav]
    if isinstance(nav, dict):
        return {title: _notebooks_as_pages(one) for title, one in nav.items()}
    return _page_of(nav) if str(nav).endswith(".ipynb") else nav
