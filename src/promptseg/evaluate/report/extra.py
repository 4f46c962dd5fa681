"""Plots that belong to no section: training-set sizes and image embeddings."""

from __future__ import annotations

from functools import partial

import numpy as np

from promptseg.evaluate.report.blocks import Section, Task
from promptseg.evaluate.report.content import Picture, Plot, draw
from promptseg.evaluate.report.embeddings import component_picture, read_embeddings
from promptseg.evaluate.report.pictures import picture_address
from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Results
from promptseg.metrics.statistics import summarise

__all__ = ["embedding_view", "training_plots", "training_sizes"]

_LABEL = "median DSC of a task (%)"


def training_sizes(results: Results) -> dict[str, dict[float, list[float]]]:
    """Return each section's curve: the tasks' medians of DSC by number of training images.

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
    """Draw the curves in one plot; none without curves."""
    from promptseg.evaluate.report.figures.curves import training_curves

    if not curves:
        return []
    caption = f"{whose}: medians of all tasks by number of training images; median and quartiles."
    return draw(name, caption, partial(training_curves, curves, _LABEL), warnings)


def embedding_view(
    results: Results, images: bool, warnings: list[str]
) -> tuple[list[Plot], list[Picture]]:
    """Draw the embeddings beside the results along their main axes; nothing if there are none.

    Args:
        results: whose folder is looked at.
        images: show the encoder's output as pictures, if it is there.
        warnings: what could not be drawn is added.

    Raises:
        InputError: the file cannot be used.
    """
    from promptseg.evaluate.report.figures.scatter import embedding_plot

    paths = [results.folder / f"embeddings.{ending}" for ending in ("npz", "csv")]
    found = [read_embeddings(path) for path in paths if path.exists()]
    plots, pictures = [], []
    for embeddings in found:
        labels, vectors, maps, map_labels = embeddings
        if len(vectors):
            caption = (
                f"{len(vectors)} image embeddings of {vectors.shape[1]} numbers, projected on the two "
                "axes along which they spread most."
            )
            draw_it = partial(embedding_plot, vectors, labels)
            plots += draw("embeddings", caption, draw_it, warnings)
        if images:
            pictures += [
                Picture(picture_address(component_picture(features)), f"{label}: main components")
                for label, features in zip(map_labels, maps, strict=False)
            ]
    return plots, pictures
