"""Box plots: how the medians of all tasks spread, and how the masks of every task spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.report.blocks import Block
from promptseg.evaluate.report.compare import Line
from promptseg.evaluate.report.quantities import MAIN, QUANTITIES, Quantity
from promptseg.plots.style import canvas, colours, legend, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["median_boxes", "task_boxes"]

Floats = NDArray[np.float64]

_SLOT = 0.8  # of the height of a task that its boxes fill


def median_boxes(lines: Sequence[Line]) -> str:
    """Draw the distribution of the tasks' medians of DSC and NSD per model, as MedSAM's Fig. 3a.

    Boxes are quartiles with the median, whiskers reach 1.5 interquartile ranges, triangles are minimum
    and maximum.

    Args:
        lines: of one section and step.
    """
    models = list(dict.fromkeys(line.model for line in lines))
    colour = colours(models)
    with canvas(7, 0.9 + 0.45 * len(models), panels=2, share=True) as (figure, panels):
        for axes, quantity in zip(panels, MAIN, strict=True):
            samples = [_medians(lines, model, quantity) for model in models]
            _draw(
                axes,
                samples,
                np.arange(len(models), dtype=np.float64),
                [colour[m] for m in models],
                0.6,
            )
            for y, sample in enumerate(samples):
                if len(sample):
                    axes.plot(sample.min(), y, "^", color=colour[models[y]], markersize=5)
                    axes.plot(sample.max(), y, "v", color=colour[models[y]], markersize=5)
            axes.set_yticks(range(len(models)), models)
            axes.set_xlabel(f"median {quantity.label} of a task (%)")
            axes.grid(axis="y", visible=False)
        panels[0].invert_yaxis()
        return to_svg(figure)


def task_boxes(blocks: Sequence[Block], quantity: Quantity = QUANTITIES["dsc"]) -> str:
    """Draw boxes of all masks per task and model; points are masks beyond the whiskers.

    Args:
        blocks: of one section and step; about 30 fit a page.
        quantity: what is drawn.
    """
    models = blocks[0].models
    colour = colours(models)
    width = _SLOT / len(models)
    height = 0.8 + len(blocks) * (0.14 + 0.16 * len(models))
    with canvas(7, height) as (figure, (axes,)):
        for i, model in enumerate(models):
            places = np.arange(len(blocks), dtype=np.float64) + (i + 0.5) * width - _SLOT / 2
            rows = [block.values(quantity)[i] for block in blocks]
            samples = [_scaled(row[np.isfinite(row)], quantity) for row in rows]
            _draw(axes, samples, places, [colour[model]] * len(blocks), 0.8 * width, fliers=True)
            axes.plot([], [], "s", color=colour[model], label=model)
        axes.set_yticks(range(len(blocks)), [block.task.title for block in blocks])
        axes.set_ylim(len(blocks) - 0.5, -0.5)
        axes.set_xlabel(f"{quantity.label} (%)" if quantity.share else quantity.title)
        axes.grid(axis="y", visible=False)
        legend(figure, axes, len(models))
        return to_svg(figure)


def _medians(lines: Sequence[Line], model: str, quantity: Quantity) -> Floats:
    medians = np.array(
        [n.summary.median for n in lines if n.model == model and n.quantity == quantity]
    )
    return _scaled(medians[np.isfinite(medians)], quantity)


def _scaled(values: Floats, quantity: Quantity) -> Floats:
    return values * 100 if quantity.share else values


def _draw(
    axes: Axes,
    samples: Sequence[Floats],
    places: NDArray[np.float64],
    colour: Sequence[str],
    width: float,
    fliers: bool = False,
) -> None:
    """Lying boxes, one per sample that is not empty."""
    for sample, y, c in zip(samples, places, colour, strict=True):
        if len(sample):
            axes.boxplot(
                [sample],
                positions=[y],
                widths=width,
                orientation="horizontal",
                manage_ticks=False,
                patch_artist=True,
                showfliers=fliers,
                boxprops={"facecolor": c, "alpha": 0.45, "edgecolor": c},
                medianprops={"color": c, "linewidth": 1.8},
                whiskerprops={"color": c},
                capprops={"color": c},
                flierprops={"marker": ".", "markersize": 2.5, "markeredgecolor": c},
            )
