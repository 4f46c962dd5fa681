"""Clouds: the model's own estimate against the truth, and embeddings seen along their main axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.evaluate.report.calibration import Calibration
from promptseg.evaluate.report.plots.style import MARKERS, canvas, colours, legend, to_svg

__all__ = ["calibration_plot", "embedding_plot", "principal_components"]

Floats = NDArray[np.float64]

_MOST_POINTS = 600


def calibration_plot(found: Mapping[str, Calibration]) -> str:
    """Predicted IoU against true DSC: masks as dots, means of bins with deviation, one panel per model.

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
            x, y, spread = (
                np.array(v)
                for v in zip(*((b.predicted, b.true, b.spread) for b in c.bins), strict=True)
            )
            axes.errorbar(x, y, spread, marker="o", ms=4, capsize=2, color=colour[model])
            axes.set_xlabel("predicted IoU")
            axes.set_title(model)
            axes.set_xlim(0, 1.02)
            axes.set_ylim(0, 1.02)
        panels[0].set_ylabel("true DSC")
        return to_svg(figure)


def principal_components(vectors: Floats, count: int = 2) -> tuple[Floats, Floats]:
    """Project vectors on the axes along which they spread most.

    Args:
        vectors: (n, d), finite, n of at least 2.
        count: axes wanted; fewer come back if n or d is smaller.

    Returns:
        (n, count) coordinates, and the share of the variance that each axis explains. The sign of an
        axis is such that its largest coordinate is positive.

    Raises:
        InputError: not such an array.
    """
    if vectors.ndim != 2 or len(vectors) < 2 or not np.isfinite(vectors).all():
        raise InputError("(n, d) finite embeddings, n of at least 2", f"shape {vectors.shape}")
    centred = vectors - vectors.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    found = (left * size)[:, :count]
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    share = size**2 / max(float((size**2).sum()), np.finfo(float).tiny)
    return found * np.where(largest < 0, -1, 1), share[:count]


def embedding_plot(vectors: Floats, labels: Sequence[str]) -> str:
    """Embeddings along their two main axes, a colour and marker per label.

    Args:
        vectors: (n, d).
        labels: (n,) such as data sets or modalities.

    Raises:
        InputError: the lengths differ, or see `principal_components`.
    """
    if len(labels) != len(vectors):
        raise InputError(f"{len(vectors)} labels, one per embedding", f"{len(labels)}")
    points, share = principal_components(vectors)
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
        share = np.append(share, 0.0)
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
