"""Two runs against each other: differences with their intervals, and patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.plots.style import canvas, colours, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Interval", "paired_runs"]

Floats = NDArray[np.float64]

_LOWER, _SAME, _HIGHER = "lower", "not told apart", "higher"


class Interval(NamedTuple):
    """A difference with its bounds, in percent; NaN bounds where there are none."""

    title: str
    middle: float
    low: float
    high: float


def paired_runs(
    intervals: Sequence[Interval], pairs: tuple[Floats, Floats], names: tuple[str, str], label: str
) -> str:
    """Draw the differences per task and of all with their intervals (left), and the patients (right).

    Args:
        intervals: of tasks, then of all together.
        pairs: two arrays (patients,) in percent: of the first and of the second run.
        names: of the runs.
        label: of the quantity.
    """
    height = max(2.6, 0.9 + 0.24 * len(intervals))
    with canvas(7.5, height, panels=2) as (figure, (left, right)):
        _forest(left, intervals)
        left.set_xlabel(f"difference in mean {label} (points)")
        finite = np.isfinite(pairs).all(axis=0)
        first, second = pairs[0][finite], pairs[1][finite]
        colour = colours([_SAME, _LOWER, _HIGHER])
        for sign, name in ((0, _SAME), (-1, _LOWER), (1, _HIGHER)):
            own = np.sign(second - first) == sign
            marker = {0: "o", -1: "v", 1: "^"}[sign]
            right.plot(first[own], second[own], marker, color=colour[name], markersize=4, alpha=0.7)
        low = min(first.min(initial=100), second.min(initial=100))
        high = max(first.max(initial=low), second.max(initial=low))
        right.plot([low, high], [low, high], color="#8a8f9a", linewidth=1)
        right.set_aspect("equal", adjustable="datalim")
        right.set_xlabel(f"{label} of {_short(names[0])} (%)")
        right.set_ylabel(f"{label} of {_short(names[1])} (%)")
        return to_svg(figure)


def _forest(axes: Axes, intervals: Sequence[Interval]) -> None:
    colour = colours([_SAME, _LOWER, _HIGHER])
    for y, interval in enumerate(intervals):
        name = _HIGHER if interval.low > 0 else _LOWER if interval.high < 0 else _SAME
        marker = "D" if y == len(intervals) - 1 else "o"
        if np.isfinite([interval.low, interval.high]).all():
            axes.plot([interval.low, interval.high], [y, y], color=colour[name], linewidth=2)
        if np.isfinite(interval.middle):
            axes.plot(interval.middle, y, marker, color=colour[name], markersize=6)
    axes.axvline(0, color="#8a8f9a", linewidth=1)
    axes.set_yticks(range(len(intervals)), [_short(i.title) for i in intervals])
    axes.set_ylim(len(intervals) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"
