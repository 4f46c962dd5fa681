"""Pages laid out: templates, their style, and how much room plots and pictures take.

jinja2 (which torch brings along) escapes every text that comes from data; plots are our own SVG.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from promptseg.evaluate.report.content import Plot

__all__ = ["MOST_BYTES", "Room", "fill"]

MOST_BYTES = 8_000_000
"""Plots and pictures beyond this stay in their folders; the page says so."""


def fill(template: str, context: dict[str, Any]) -> str:
    """Fill a template to a page: one HTML document that loads nothing.

    Args:
        template: its file in the folder `page`.
        context: what it names; `style` and `script` are added.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_page_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ours = {"style": "style.css", "script": "sort.js"}  # hold no data and are not escaped
    own = {name: Markup(_page_file(file)) for name, file in ours.items()}
    return environment.get_template(template).render({**context, **own})


def _page_file(name: str) -> str:
    return (files("promptseg.evaluate.report") / "page" / name).read_text(encoding="utf-8")


class Room:
    """Counts what plots and pictures take, and gives every plot ids of its own."""

    def __init__(self) -> None:
        self.used = self.plots = self.left_out = 0

    def take(self, size: int) -> bool:
        """Take so many bytes of the page's room; false where too little is left."""
        fits = self.used + size <= MOST_BYTES
        self.used += size if fits else 0
        self.left_out += not fits
        return fits

    def plot(self, plot: Plot) -> dict[str, Any]:
        """Return a plot as the template takes it."""
        from markupsafe import Markup

        from promptseg.plots.style import inline

        self.plots += 1
        if not self.take(len(plot.svg)):
            return {"svg": "", "caption": f"{plot.caption} (see plots/{plot.name}.svg)"}
        svg = Markup(inline(plot.svg, f"p{self.plots}", plot.caption))
        return {"svg": svg, "caption": plot.caption}

    def warnings(self) -> list[str]:
        """Return a warning where plots and pictures were left out."""
        if not self.left_out:
            return []
        text = f"{self.left_out} plots and pictures are left out to keep this page small"
        return [f"{text}; they are in the folders plots and failures."]
