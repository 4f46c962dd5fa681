"""The navigation of the site, with the pages that nobody has given a place yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["named_pages", "with_missing_pages"]


def named_pages(nav: Any) -> Iterator[str]:
    """Yield the pages that a navigation names, in its order.

    Args:
        nav: the value of `nav` in mkdocs.yml: lists, dictionaries of one title, names of files.
    """
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for one in nav.values():
            yield from named_pages(one)
    else:
        for one in nav or ():
            yield from named_pages(one)


def with_missing_pages(nav: Any, pages: Iterable[str]) -> list[Any]:
    """Add a section "More" with the pages that a navigation does not name.

    Args:
        nav: the value of `nav` in mkdocs.yml.
        pages: all pages, as paths below docs/.

    Examples:
        >>> with_missing_pages([{"Home": "index.md"}], ["index.md", "loop.md"])
        [{'Home': 'index.md'}, {'More': ['loop.md']}]
    """
    named = set(named_pages(nav))
    missing = [page for page in pages if page not in named]
    return [*(nav or ()), *([{"More": missing}] if missing else [])]
