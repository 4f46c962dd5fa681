"""Podium plots: which model comes first, second, third on how many tasks (MedSAM, Fig. 3b)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.quantities import Quantity
from promptseg.metrics.statistics import ranks
from promptseg.plots.style import MARKERS, canvas, colours, legend, to_svg

__all__ = ["podium"]


def podium(models: Sequence[str], medians: NDArray[np.float64], quantity: Quantity) -> str:
    """Draw each model's place on each task, joined by a line (left), and how often it takes it (right).

    Args:
        models: names.
        medians: (models, tasks) the median of every task; tasks with a NaN are left out.
        quantity: what the medians are of.
    """
    medians = medians[:, ~np.isnan(medians).any(axis=0)]
    _, place = ranks(quantity.worth(medians))
    count, tasks = medians.shape
    colour = colours(models)
    scale = 100 if quantity.share else 1
    wide = 0.7 / count
    with canvas(7, 3.4, panels=2) as (figure, (left, right)):
        # models of one place stand side by side, so that lines of tasks do not hide each other
        offset = (np.arange(count) - (count - 1) / 2)[:, None] * wide
        across = place + offset
        order = np.argsort(place + 1e-3 * np.arange(count)[:, None], axis=0)
        for task in range(tasks):
            path = order[:, task]
            x, y = across[path, task], scale * medians[path, task]
            left.plot(x, y, color="#8a8f9a", linewidth=0.5, alpha=0.5)
        for i, model in enumerate(models):
            marker = MARKERS[i % len(MARKERS)]
            left.plot(across[i], scale * medians[i], marker, ms=4, color=colour[model], label=model)
            frequency = [(place[i] == k).sum() for k in range(1, count + 1)]
            x = np.arange(1, count + 1) + offset[i]
            right.bar(x, frequency, wide * 0.9, color=colour[model])
        for axes in (left, right):
            axes.set_xticks(range(1, count + 1))
            axes.set_xlim(0.5, count + 0.5)
            axes.set_xlabel("place")
            axes.grid(axis="x", visible=False)
        left.set_ylabel(f"median {quantity.label}" + (" (%)" if quantity.share else ""))
        right.set_ylabel("tasks")
        right.locator_params(axis="y", integer=True)
        legend(figure, left, count)
        return to_svg(figure)
