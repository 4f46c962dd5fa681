"""Sizes of the targets, as the model will see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from promptseg.datasets.collection import Sample
from promptseg.models.preprocess import Preprocessing

__all__ = ["GRID", "TINY", "Size", "Sizes", "draw_sizes", "sizes_of", "summarise"]

GRID = 256  # of the masks that all networks of the SAM family answer with
TINY = 10.0  # pixels on that grid
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Size(NamedTuple):
    """The size of one target.

    Attributes:
        modality: of its image.
        dataset: of its image.
        share: of the image that it covers, from 0 to 1.
        pixels: that it has on the network's 256 x 256 masks, not rounded.
    """

    modality: str
    dataset: str
    share: float
    pixels: float


class Sizes(NamedTuple):
    """Quantiles of the sizes of some targets.

    Attributes:
        name: dataset or modality.
        targets: how many.
        tiny: of fewer than 10 pixels on the 256 x 256 masks.
        quantiles: of the share of the image: 0, 5, 25, 50, 75, 95 and 100 %.
    """

    name: str
    targets: int
    tiny: int
    quantiles: tuple[float, ...]


def sizes_of(samples: Iterable[Sample], preprocessing: Preprocessing) -> list[Size]:
    """Return the size of every target, from the index alone.

    Args:
        samples: of a collection.
        preprocessing: of the model: where an image lies in its input, and so on its masks.
    """
    found = []
    for sample in samples:
        rows, columns = sample.shape
        transform = preprocessing.input_transform(rows, columns, sample.pixel)
        on_grid = transform.resized[0] * transform.resized[1] * (GRID / transform.size) ** 2
        for target in sample.targets:
            share = target.area / (rows * columns)
            found.append(Size(sample.modality, sample.dataset, share, share * on_grid))
    return found


def summarise(sizes: Sequence[Size], by: str = "modality") -> list[Sizes]:
    """Compute quantiles of sizes and count tiny targets, by modality or dataset; of all at the end."""
    groups: dict[str, list[Size]] = {}
    for size in sizes:
        groups.setdefault(getattr(size, by), []).append(size)
    rows = [_sizes(name, groups[name]) for name in sorted(groups, key=lambda n: -len(groups[n]))]
    return [*rows, _sizes("all", sizes)] if sizes else []


def draw_sizes(sizes: Sequence[Size], path: Path) -> None:
    """Draw a box plot, by modality, of the share of the image that targets cover.

    Boxes are quartiles with the median, whiskers reach from 5 to 95 %, dots are the smallest and the
    largest target.

    Args:
        sizes: at least one.
        path: of the PNG file.

    Raises:
        PromptsegError: matplotlib is not installed.
    """
    from promptseg.plots.style import canvas, colours

    sizes = [size for size in sizes if size.pixels > 0]  # a logarithm is taken
    rows = summarise(sizes)[:-1]
    shares = [
        np.array([100 * size.share for size in sizes if size.modality == row.name]) for row in rows
    ]
    colour = next(iter(colours(["targets"]).values()))
    limit = float(np.median([100 * size.share / size.pixels * TINY for size in sizes]))
    left = min(limit / 3, *(own.min() / 1.5 for own in shares))
    with canvas(7, 1.1 + 0.34 * len(rows)) as (figure, (axes,)):
        axes.axvspan(left, limit, color="#8a8f9a", alpha=0.18, linewidth=0)
        axes.boxplot(
            shares,
            positions=range(len(rows)),
            widths=0.6,
            whis=(5, 95),
            orientation="horizontal",
            manage_ticks=False,
            patch_artist=True,
            showfliers=False,
            boxprops={"facecolor": colour, "alpha": 0.45, "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 1.8},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
        for y, own in enumerate(shares):
            axes.plot([own.min(), own.max()], [y, y], ".", color=colour, markersize=4)
        axes.set_yticks(range(len(rows)), [f"{row.name} ({row.targets:,})" for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xscale("log")
        axes.set_xlim(left, 120)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel(
            "share of the image that a target covers (%, logarithmic); "
            f"gray: fewer than {TINY:g} pixels at {GRID} x {GRID}",
            loc="right",
        )
        figure.savefig(path, format="png", dpi=150, facecolor="white")


def _sizes(name: str, sizes: Sequence[Size]) -> Sizes:
    shares = np.array([size.share for size in sizes])
    tiny = sum(size.pixels < TINY for size in sizes)
    quantiles = tuple(float(v) for v in np.quantile(shares, _QUANTILES))
    return Sizes(name, len(sizes), tiny, quantiles)
