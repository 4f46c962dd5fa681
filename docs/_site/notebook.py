"""A notebook as a page: its text, its code, and where it is found to be run."""

from __future__ import annotations

import json

__all__ = ["as_markdown"]


def as_markdown(text: str, name: str) -> str:
    """Return the cells of a notebook as Markdown; outputs are made by whoever runs it.

    Args:
        text: the notebook, as stored.
        name: its file name, which the page names below its heading.
    """
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"]).rstrip()
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{source}\n```" if code else source)
        if len(parts) == 1:
            parts.append(f"This page is the notebook `docs/notebooks/{name}`, which the tests run.")
    return "\n\n".join(parts) + "\n"
