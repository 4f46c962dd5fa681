"""Plots that belong to no section: training-set sizes and image embeddings."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.evaluate.report.blocks import Section, Task
from promptseg.evaluate.report.content import Plot, draw
from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Results
from promptseg.evaluate.report.statistics import summarise

__all__ = ["embedding_plots", "read_embeddings", "training_plots", "training_sizes"]

_LABEL = "median DSC of a task (%)"


def training_sizes(results: Results) -> dict[str, dict[float, list[float]]]:
    """Medians of DSC of every task by number of training images, a curve per section.

    Rows of the first prompt whose column `train_size` has a value count; a section with one size has
    no curve.
    """
    groups: dict[Section, dict[float, dict[tuple[Task, str], list[float]]]] = {}
    for row in results.rows:
        if row.step == 0 and np.isfinite(row.train_size):
            section = Section(row.protocol, row.prompt, row.setting)
            tasks = groups.setdefault(section, {}).setdefault(row.train_size, {})
            key = Task(row.dataset, row.target), row.model
            tasks.setdefault(key, []).append(row.scores[NAMES.index("dsc")])
    return {
        section.title: {
            size: [summarise(np.array(values)).median for values in tasks.values()]
            for size, tasks in sizes.items()
        }
        for section, sizes in groups.items()
        if len(sizes) > 1
    }


def training_plots(
    curves: dict[str, dict[float, list[float]]], name: str, whose: str, warnings: list[str]
) -> list[Plot]:
    """The curves in one plot; none without curves."""
    from promptseg.evaluate.report.plots.curves import training_curves

    if not curves:
        return []
    caption = f"{whose}: medians of all tasks by number of training images; median and quartiles."
    return draw(name, caption, partial(training_curves, curves, _LABEL), warnings)


def embedding_plots(results: Results, warnings: list[str]) -> list[Plot]:
    """embeddings.npz or embeddings.csv of the folder along their main axes; none without them."""
    from promptseg.evaluate.report.plots.scatter import embedding_plot

    for name in ("embeddings.npz", "embeddings.csv"):
        path = results.folder / name
        if path.exists():
            vectors, labels = read_embeddings(path)
            caption = (
                f"{len(vectors)} image embeddings of {vectors.shape[1]} numbers, "
                "projected on the two axes along which they spread most."
            )
            return draw("embeddings", caption, partial(embedding_plot, vectors, labels), warnings)
    return []


def read_embeddings(path: Path) -> tuple[NDArray[np.float64], Sequence[str]]:
    """Vectors and their labels.

    Args:
        path: .npz with `vectors` (n, d), `labels` (n,) and perhaps `models` (n,), the first of which
            is taken alone; or .csv with a column `label` and d columns
            of numbers.

    Raises:
        InputError: it holds something else.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                vectors, labels = archive["vectors"].astype(np.float64), archive["labels"]
                if "models" in archive:  # those of several models share no space
                    first = archive["models"] == archive["models"][0]
                    vectors, labels = vectors[first], labels[first]
                return vectors, [str(label) for label in labels]
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        labels = [line.pop("label") for line in lines]
        return np.array([[float(v) for v in line.values()] for line in lines]), labels
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "embeddings with labels", f"{path} ({error})", "write `vectors` and `labels`"
        ) from error
