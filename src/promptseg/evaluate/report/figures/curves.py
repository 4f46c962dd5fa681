"""Curves: scores over correction steps, and over the size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.blocks import Block
from promptseg.evaluate.report.quantities import MAIN, Quantity
from promptseg.metrics.statistics import summarise
from promptseg.plots.style import MARKERS, canvas, colours, legend, to_svg

__all__ = ["step_curves", "training_curves"]

Floats = NDArray[np.float64]


def step_curves(blocks: Sequence[Block]) -> str:
    """Draw mean DSC and NSD of all masks over correction steps; a band shows the interquartile range.

    Args:
        blocks: of one section, all steps.
    """
    models = blocks[0].models
    steps = sorted({block.step for block in blocks})
    colour = colours(models)
    with canvas(7, 3.2, panels=2) as (figure, panels):
        for axes, quantity in zip(panels, MAIN, strict=True):
            for i, model in enumerate(models):
                found = [summarise(_at(blocks, step, i, quantity)) for step in steps]
                c, marker = colour[model], MARKERS[i % len(MARKERS)]
                axes.plot(
                    steps, [100 * s.mean for s in found], marker=marker, ms=4, color=c, label=model
                )
                low, high = [100 * s.q1 for s in found], [100 * s.q3 for s in found]
                axes.fill_between(steps, low, high, color=c, alpha=0.15, linewidth=0)
            axes.set_xlabel("corrections")
            axes.set_ylabel(f"{quantity.label} (%)")
            axes.set_xticks(steps[:: max(1, len(steps) // 9)])
        legend(figure, panels[0], len(models))
        return to_svg(figure)


def training_curves(curves: Mapping[str, Mapping[float, Sequence[float]]], label: str) -> str:
    """Spread of the tasks' medians over the number of training images, as MedSAM's Fig. 5a.

    Args:
        curves: for every curve, by number of training images, the median of every task (0..1).
        label: of the vertical axis.
    """
    colour = colours(list(curves))
    with canvas(7, 3.2) as (figure, (axes,)):
        for i, (name, points) in enumerate(curves.items()):
            sizes = sorted(points)
            found = [summarise(np.asarray(points[size], dtype=np.float64)) for size in sizes]
            middle = np.array([100 * s.median for s in found])
            spread = np.array([[100 * s.q1 for s in found], [100 * s.q3 for s in found]])
            shift = 1 + 0.03 * (i - (len(curves) - 1) / 2)  # bars of two curves side by side
            axes.errorbar(
                np.array(sizes) * shift,
                middle,
                abs(spread - middle),
                color=colour[name],
                marker=MARKERS[i % len(MARKERS)],
                markersize=4,
                capsize=3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xlabel("training images")
        axes.set_ylabel(label)
        legend(figure, axes, len(curves))
        return to_svg(figure)


def _at(blocks: Sequence[Block], step: int, model: int, quantity: Quantity) -> Floats:
    parts = [block.values(quantity)[model] for block in blocks if block.step == step]
    return np.concatenate(parts)
