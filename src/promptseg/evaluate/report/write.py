"""`promptseg report`: from rows.csv to tables, plots and one page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from promptseg.evaluate.report import content, extra, overview
from promptseg.evaluate.report.blocks import ALL, Block, Section, arrange
from promptseg.evaluate.report.compare import Line, baseline_of, compare
from promptseg.evaluate.report.content import Plot
from promptseg.evaluate.report.definitions import definitions
from promptseg.evaluate.report.frames import frames_table
from promptseg.evaluate.report.gated import gated_table
from promptseg.evaluate.report.html import Page, render
from promptseg.evaluate.report.options import ReportOptions
from promptseg.evaluate.report.results import Results, read_results
from promptseg.evaluate.report.tables import Table, write_summary, write_table
from promptseg.evaluate.report.trained import set_apart
from promptseg.evaluate.report.verdict import verdict
from promptseg.formats.files import atomic_path
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.noted import lines_of

__all__ = ["write"]

log = logging.getLogger("promptseg")


def write(results: Path, options: ReportOptions, renewed: bool = False) -> Path:
    """See `promptseg.evaluate.report.write_report`."""
    page, summary = results / "report.html", results / "summary.csv"
    found = set_apart(read_results(results), options.count_trained)
    for line in found.alarms:
        log.warning("%s", line)
    reads = Reads([results / "rows.csv", results / "run.json"])
    own = OwnFolder(results)
    cut_off = not page.exists() and own.owns(summary)  # the page comes last
    check_outputs((summary,), options.overwrite or renewed or cut_off, reads)
    check_outputs((page,), options.overwrite or renewed, reads)
    baseline = baseline_of(found, options.baseline)
    lines = compare(found, baseline, options.holm, options.resamples, options.seed)
    composed = _compose(found, lines, baseline, options)
    tables, plots = list(_tables(composed)), list(_all_plots(composed))
    own.claim(
        "summary.csv",
        "report.html",
        *(f"tables/{name}.{ending}" for name, _ in tables for ending in ("csv", "tex")),
        *(f"plots/{plot.name}.svg" for plot in plots),
        taken=options.overwrite and not renewed,
    )
    write_summary(summary, lines)
    for name, table in tables:
        write_table(results / "tables", name, table)
    for plot in plots:
        with atomic_path(results / "plots" / f"{plot.name}.svg") as temporary:
            temporary.write_text(plot.svg, encoding="utf-8")
    with atomic_path(page) as temporary:
        temporary.write_text(render(composed, found), encoding="utf-8")
    return page


def _compose(found: Results, lines: list[Line], baseline: str, options: ReportOptions) -> Page:
    pooled = [line for line in lines if line.task == ALL]
    lines = [line for line in lines if line.task != ALL]
    warnings = [*found.warnings, *_listed_warnings(found), *_noted(found)]
    blocks: dict[Section, list[Block]] = {}
    for block in arrange(found):
        blocks.setdefault(block.section, []).append(block)
    sections = [
        content.section_page(
            results=found,
            section=section,
            lines=lines,
            blocks=own,
            count=options.worst,
            images=options.images,
            publish=options.publish,
            warnings=warnings,
        )
        for section, own in blocks.items()
    ]
    sizes = extra.training_sizes(found)
    plots = extra.training_plots(sizes, "training sizes", "This run", warnings)
    embedding_plots, pictures = extra.embedding_view(found, options.images, warnings)
    return Page(
        f"Evaluation of {', '.join(found.models)}",
        verdict(pooled),
        headline=overview.headline(lines, pooled),
        sections=sections,
        gated=gated_table(found.rows),
        frames=frames_table(found.rows),
        extra=plots + embedding_plots,
        pictures=pictures,
        published=_published(found, warnings) if options.published else None,
        definitions=definitions(
            baseline, len(found.models) > 1, options.holm, options.resamples, options.seed
        ),
        warnings=warnings + _absent(lines),
    )


def _published(found: Results, warnings: list[str]) -> tuple[list[Table], list[Plot]]:
    from promptseg.evaluate.report import beside

    sizes = beside.published_training_sizes()
    plots = extra.training_plots(sizes, "published training sizes", "Published", warnings)
    return beside.published_tables(found.rows), plots


def _listed_warnings(found: Results) -> list[str]:
    value = found.run.get("warnings")
    return [str(v) for v in value] if isinstance(value, list) else []


def _noted(found: Results) -> list[str]:
    """What readers noted of the cases, counted; notes.csv names them."""
    value = found.run.get("notes")
    counts = (
        {str(k): n for k, n in value.items() if type(n) is int} if isinstance(value, dict) else {}
    )
    return lines_of(counts)


def _absent(lines: Sequence[Line]) -> list[str]:
    dsc = [line for line in lines if line.quantity.name == "dsc"]
    unvalued, missing = sum(n.unvalued for n in dsc), sum(n.missing for n in dsc)
    texts = []
    if unvalued:
        texts.append(f"{unvalued} rows have no DSC; they are in no mean, median or test.")
    if missing:
        texts.append(
            f"{missing} rows are missing: masks that one model was scored on and another was not. "
            "Their means are of different masks; tests and ranks use the masks both have."
        )
    return texts


def _tables(page: Page) -> Iterator[tuple[str, Table]]:
    yield "summary", page.headline
    if page.gated:
        yield "cgf1", page.gated
    if page.frames:
        yield "frames", page.frames
    for section in page.sections:
        for part in section.parts:
            yield part.name, part.tables[-1]
            if part.tests.body:
                yield f"{part.name}-tests", part.tests


def _all_plots(page: Page) -> Iterator[Plot]:
    for section in page.sections:
        for part in section.parts:
            yield from part.plots
    yield from page.extra
    if page.published:
        yield from page.published[1]
