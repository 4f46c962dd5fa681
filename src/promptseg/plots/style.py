"""Style of every plot: colours that everybody can tell apart, no background, text that is text."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from promptseg.assets.store import cache_folder
from promptseg.errors import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MARKERS", "canvas", "colours", "inline", "legend", "to_svg"]

INK = "#3b4252"  # written as currentColor into pages, so that it follows their text
_GRID = "#8a8f9a"
# Okabe and Ito's, without black and yellow, which vanish on a dark or a white page
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
    "svg.hashsalt": "promptseg",  # the same plot is the same file
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": _GRID,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def canvas(
    width: float, height: float, panels: int = 1, share: bool = False
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Provide a figure in our style with panels side by side; draw inside the `with`.

    Args:
        width, height: in inches; 1 inch is 72 points of the page.
        panels: number of axes in a row.
        share: one vertical axis for all panels.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    _keep_home_clean()
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError("matplotlib", "for plots", "evaluate") from None
    with matplotlib.rc_context(_LOOK), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's font draws the text
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False, sharey=share)[0]
        yield figure, list(axes)


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour per name; beyond six they repeat, and markers tell them apart."""
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(names)}


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Draw the legend of some axes above the figure, once."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(columns, 4))


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG document; the same figure gives the same text. Call inside
    `canvas`.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "promptseg"})
    return out.getvalue()


def inline(svg: str, prefix: str, title: str) -> str:
    """Return the <svg> element for a page: its own ids, the page's text colour, a width that adapts.

    Args:
        svg: document from `to_svg`.
        prefix: of all ids; unique on the page.
        title: for screen readers; escaped here.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(f"{prefix}-{prefix}-", f"{prefix}-")
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _keep_home_clean() -> None:
    """Let matplotlib's list of fonts go into our cache, where nothing else says where."""
    if "matplotlib" not in sys.modules:
        os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
