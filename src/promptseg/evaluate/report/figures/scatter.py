"""Clouds: the model's own estimate against the truth, and embeddings seen along their main axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.evaluate.report.calibration import Calibration
from promptseg.evaluate.report.embeddings import principal_components
from promptseg.plots.style import MARKERS, canvas, colours, legend, to_svg

__all__ = ["calibration_plot", "embedding_plot"]

Floats = NDArray[np.float64]

_MOST_POINTS = 600


def calibration_plot(found: Mapping[str, Calibration]) -> str:
    """Draw predicted IoU against true DSC per model: masks as dots, bins by mean and deviation.

    Args:
        found: per model; at most six are drawn.
    """
    shown = list(found.items())[:6]
    colour = colours(list(found))
    with canvas(7, 3.2 if len(shown) < 4 else 2.6, len(shown), share=True) as (figure, panels):
        for axes, (model, c) in zip(panels, shown, strict=True):
            some = np.linspace(0, len(c.true) - 1, min(len(c.true), _MOST_POINTS)).astype(int)
            axes.plot([0, 1], [0, 1], "--", color="#8a8f9a", linewidth=1)
            axes.plot(c.predicted[some], c.true[some], ".", ms=2, alpha=0.35, color=colour[model])
            means = np.array([(b.predicted, b.true, b.spread) for b in c.bins])
            axes.errorbar(*means.T, marker="o", ms=4, capsize=2, color=colour[model])
            axes.set_xlabel("predicted IoU")
            axes.set_title(model)
            axes.set_xlim(0, 1.02)
            axes.set_ylim(0, 1.02)
        panels[0].set_ylabel("true DSC")
        return to_svg(figure)


def embedding_plot(vectors: Floats, labels: Sequence[str]) -> str:
    """Draw embeddings along their two main axes, with a colour and marker per label.

    Args:
        vectors: (n, d).
        labels: (n,) such as data sets or modalities.

    Raises:
        InputError: the lengths differ, or see `principal_components`.
    """
    if len(labels) != len(vectors):
        raise InputError(f"{len(vectors)} labels, one per embedding", f"{len(labels)}")
    points, share = principal_components(vectors)
    names = sorted(set(labels))
    of = np.asarray(labels)
    colour = colours(names)
    with canvas(7, 4) as (figure, (axes,)):
        for i, name in enumerate(names):
            x, y = points[of == name].T
            marker = MARKERS[(i // 6) % len(MARKERS)]
            axes.plot(x, y, marker, ms=4, alpha=0.7, color=colour[name], label=name)
        axes.set_xlabel(f"first component ({100 * share[0]:.0f} % of variance)")
        axes.set_ylabel(f"second component ({100 * share[1]:.0f} %)")
        legend(figure, axes, len(names))
        return to_svg(figure)
