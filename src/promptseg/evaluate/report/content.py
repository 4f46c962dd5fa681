"""Content of a report's page, before it is laid out: tables, plots and failures by section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from promptseg.errors import PromptsegError
from promptseg.evaluate.report import overview
from promptseg.evaluate.report.blocks import Block, Section
from promptseg.evaluate.report.calibration import calibrate
from promptseg.evaluate.report.compare import Line
from promptseg.evaluate.report.failures import Failure, failures, worst
from promptseg.evaluate.report.quantities import QUANTITIES
from promptseg.evaluate.report.results import Results, Row
from promptseg.evaluate.report.tables import Table, shown_steps, slug, step_title, task_table

__all__ = ["Part", "Picture", "Plot", "SectionPage", "draw", "section_page"]

_DSC = QUANTITIES["dsc"]
_TASKS_PER_PLOT = 25


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        name: of its file.
        caption: what it shows.
        svg: the document.
    """

    name: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Picture:
    """A picture for the page alone: its `data:` address and what it shows."""

    address: str
    caption: str


@dataclass
class Part:
    """One step of a section; the title is empty where there is only one."""

    title: str
    name: str
    tables: list[Table]
    tests: Table
    plots: list[Plot] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass
class SectionPage:
    """Everything on one protocol, prompt and setting."""

    title: str
    parts: list[Part]


def draw(name: str, caption: str, plot: Callable[[], str], warnings: list[str]) -> list[Plot]:
    """Draw a plot; an empty list, and one warning, where plots cannot be drawn."""
    try:
        return [Plot(slug(name), caption, plot())]
    except PromptsegError as error:
        text = f"Plots are left out: {error}."
        if text not in warnings:
            warnings.append(text)
        return []


def section_page(
    results: Results,
    section: Section,
    lines: Sequence[Line],
    blocks: Sequence[Block],
    count: int,
    images: bool,
    publish: bool,
    warnings: list[str],
) -> SectionPage:
    """Build the tables, plots and worst masks of a section, for its first and its last step.

    Args:
        results: rows and run.
        section: which one.
        lines: of all sections.
        blocks: of this section.
        count: of worst masks per model and step.
        images: show pictures of them.
        publish: only those that a licence lets be published.
        warnings: what could not be drawn is added.
    """
    own = [line for line in lines if line.section == section]
    rows = [r for r in results.rows if (r.protocol, r.prompt, r.setting) == section]
    steps = shown_steps(lines, section)
    parts = []
    for step in steps:
        here = [block for block in blocks if block.step == step]
        part = Part(
            (f"After {step} corrections" if step else "First prompt") if len(steps) > 1 else "",
            slug(step_title(section, step)),
            [task_table(lines, section, step)],
            overview.test_table(lines, section, step),
        )
        if len({line.modality for line in own}) > 1:
            part.tables.insert(0, overview.modalities(lines, section, step))
        at_step = [line for line in own if line.step == step]
        part.plots = _plots(section, step, at_step, here, warnings)
        part.plots += _calibration(section, step, rows, results.models, warnings)
        at_step_rows = [r for r in rows if r.step == step]
        part.failures = _failures(results, at_step_rows, count, images, publish)
        parts.append(part)
    if len(steps) > 1:
        parts[0].plots[:0] = _curves(section, blocks, warnings)
    return SectionPage(section.title, parts)


def _plots(
    section: Section, step: int, lines: Sequence[Line], blocks: Sequence[Block], warnings: list[str]
) -> list[Plot]:
    from promptseg.evaluate.report.figures import boxes, podium

    title = step_title(section, step)
    plots = []
    if len(blocks) > 2:
        caption = (
            f"{title}: medians of all tasks. Box: quartiles and median; whiskers: 1.5 interquartile "
            "ranges; triangles: minimum and maximum."
        )
        plots += draw(f"medians {title}", caption, partial(boxes.median_boxes, lines), warnings)
    models, _, medians = overview.task_medians(lines, _DSC)
    if len(models) > 1 and (~np.isnan(medians).any(axis=0)).sum() > 1:
        caption = (
            f"{title}: places by the median DSC of a task. Left: a dot per model and task, a line "
            "joins a task. Right: how often each place is taken."
        )
        plots += draw(
            f"podium {title}", caption, partial(podium.podium, models, medians, _DSC), warnings
        )
    for start in range(0, len(blocks), _TASKS_PER_PLOT):
        some = blocks[start : start + _TASKS_PER_PLOT]
        number = f" {start // _TASKS_PER_PLOT + 1}" if len(blocks) > _TASKS_PER_PLOT else ""
        plots += draw(
            f"tasks {title}{number}",
            f"{title}: DSC of all masks of every task. Whiskers: 1.5 interquartile ranges.",
            partial(boxes.task_boxes, some),
            warnings,
        )
    return plots


def _curves(section: Section, blocks: Sequence[Block], warnings: list[str]) -> list[Plot]:
    from promptseg.evaluate.report.figures import curves

    caption = f"{section.title}: mean of all masks at every step; band: first to third quartile."
    return draw(f"steps {section.title}", caption, partial(curves.step_curves, blocks), warnings)


def _calibration(
    section: Section, step: int, rows: Sequence[Row], models: Sequence[str], warnings: list[str]
) -> list[Plot]:
    from promptseg.evaluate.report.figures import scatter

    found = {}
    for model in models:
        c = calibrate([r for r in rows if r.model == model and r.step == step])
        if c is not None:
            found[model] = c
    if not found:
        return []
    facts = "; ".join(
        f"{model}: {len(c.true)} masks, mean predicted minus true IoU {c.bias:+.3f}, "
        f"rank correlation with DSC {c.correlation:.2f}"
        for model, c in found.items()
    )
    title = step_title(section, step)
    caption = (
        f"{title}: predicted IoU against true DSC, with bin means and standard deviation. {facts}."
    )
    return draw(f"calibration {title}", caption, partial(scatter.calibration_plot, found), warnings)


def _failures(
    results: Results, rows: Sequence[Row], count: int, images: bool, publish: bool
) -> list[Failure]:
    found = []
    for model in results.models:
        found += worst([r for r in rows if r.model == model], count)
    return failures(results, found, images, publish)
