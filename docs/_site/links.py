"""Links of a page to files that the site does not have, or has under another name."""

from __future__ import annotations

import posixpath
import re

__all__ = ["links_within"]

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links_within(markdown: str, page: str) -> str:
    """Name files outside docs/ in place of links to them, and lead links to notebooks to their pages.

    Code blocks stay as they are.

    Args:
        markdown: text of the page.
        page: its path below docs/.

    Examples:
        >>> links_within("[its README](../apps/slicer/README.md)", "slicer.md")
        'its README (`apps/slicer/README.md`)'
    """
    out, last = [], 0
    for fence in _FENCE.finditer(markdown):
        out += [_replaced(markdown[last : fence.start()], page), fence.group()]
        last = fence.end()
    return "".join([*out, _replaced(markdown[last:], page)])


def _replaced(text: str, page: str) -> str:
    def name(link: re.Match[str]) -> str:
        said, target = link.groups()
        if "://" in target or target.startswith(("mailto:", "/")):
            return link.group()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        if path == "docs" or path.startswith("docs/"):
            return link.group().replace(".ipynb", ".md")
        return said if said.strip("`") == path else f"{said} (`{path}`)"

    return _LINK.sub(name, text)
