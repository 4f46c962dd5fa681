"""A comparison of two runs, from their folders to tables, a plot and a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from promptseg._version import __version__
from promptseg.errors import InputError
from promptseg.evaluate.report.blocks import ALL, Section, arrange
from promptseg.evaluate.report.content import Plot, draw
from promptseg.evaluate.report.layout import Room, fill
from promptseg.evaluate.report.quantities import NAMES, QUANTITIES
from promptseg.evaluate.report.results import Results, Row, read_results
from promptseg.evaluate.report.tables import number, step_title
from promptseg.evaluate.two_runs.alike import (
    require_finished,
    require_same_files,
    require_same_options,
)
from promptseg.evaluate.two_runs.differences import Difference, differences, patient_means
from promptseg.evaluate.two_runs.options import CompareOptions
from promptseg.evaluate.two_runs.outcome import Compared
from promptseg.evaluate.two_runs.pairing import Pair, pairs_of
from promptseg.evaluate.two_runs.words import change_table, difference_table, verdicts
from promptseg.formats.files import atomic_path, write_csv
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.provenance import DISCLAIMER

__all__ = ["write"]

log = logging.getLogger("promptseg")

_FILES = ("pairs.csv", "comparison.csv", "comparison.json", "comparison.html")
_CHANGES = 5
_WHERE = (
    *("protocol", "prompt", "setting", "step", "dataset", "modality", "target"),
    *("patient", "case", "object", "slice", "frame"),
)
_DSC = QUANTITIES["dsc"]

DEFINITIONS = (
    "A pair is one mask that both runs scored: the same case, object, slice or frame, prompt and step, "
    "against a truth of the same size. Pairs of which one has no value are counted and left out.",
    "Differences are second minus first. For distances and volume differences lower is better; volume "
    "differences are compared by their size.",
    "95 % interval: percentile bootstrap of the mean difference, {resamples} resamples of patients "
    "with all their masks, seed {seed}. With fewer than about ten patients it is too narrow.",
    "p: two-sided Wilcoxon signed-rank test of the patients' mean differences, not adjusted for the "
    "number of tests. Better or worse is said where the interval leaves out 0 and p < 0.05.",
)


def write(first: Path, second: Path, output: Path, options: CompareOptions) -> Compared:
    """See `promptseg.evaluate.two_runs.compare_runs`."""
    if first.resolve() == second.resolve():
        raise InputError("two runs", f"{first} twice", "name the folder of another evaluation")
    runs = read_results(first), read_results(second)
    for run in runs:
        require_finished(run)
    differing = require_same_options(*runs, options.across)
    warnings = require_same_files(*runs, options.shared)
    reads = Reads(
        [folder / name for folder in (first, second) for name in ("rows.csv", "run.json")]
    )
    own_folder = OwnFolder(output)
    own_folder.take("evaluate compare", *_FILES, "plots")
    check_outputs((output / name for name in _FILES), options.overwrite, reads)
    pairs = list(pairs_of(*runs, options))
    found = [differences(pair.results, options.resamples, options.seed) for pair in pairs]
    for pair in pairs:
        warnings += _warnings(pair)
    sections = [s for pair, own in zip(pairs, found, strict=True) for s in _sections(pair, own)]
    plots = [plot for section in sections for plot in section.pop("drawn")(warnings)]
    said = [line for pair, own in zip(pairs, found, strict=True) for line in verdicts(pair, own)]
    content = {
        "notice": DISCLAIMER,
        "promptseg": __version__,
        "first": _about(runs[0]),
        "second": _about(runs[1]),
        "differing_options": {k: list(v) for k, v in differing.items()},
        "verdicts": said,
        "warnings": warnings,
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "models": list(pair.models),
                "masks_left_out": pair.left_out,
                "differences": [d.to_json() for d in own],
            }
            for pair, own in zip(pairs, found, strict=True)
        ],
    }
    own_folder.claim(*_FILES, *(f"plots/{p.name}.svg" for p in plots), taken=options.overwrite)
    _write_pairs(output / "pairs.csv", pairs)
    _write_differences(output / "comparison.csv", pairs, found)
    _write_text(
        output / "comparison.json", json.dumps(content, indent=1, default=str, allow_nan=False)
    )
    for plot in plots:
        _write_text(output / "plots" / f"{plot.name}.svg", plot.svg)
    _write_text(output / "comparison.html", _page(pairs, content, sections, plots, options))
    return Compared(output / "comparison.html", said, content)


def _warnings(pair: Pair) -> list[str]:
    found = list(pair.results.alarms)
    if pair.left_out:
        found.append(
            f"{pair.left_out} masks that only one of {pair.first} and {pair.second} was scored on are "
            "left out."
        )
    for line in found:
        log.warning("%s", line)
    return found


def _about(run: Results) -> dict[str, Any]:
    """What is told of a run, so that a reader knows which it was."""
    return {
        "folder": str(run.folder),
        "created": run.run.get("created"),
        "promptseg": run.run.get("promptseg"),
        "models": [
            {k: model.get(k) for k in ("name", "weights_sha256")} for model in run.listed("models")
        ],
    }


def _sections(pair: Pair, found: Sequence[Difference]) -> list[dict[str, Any]]:
    """Tables of every section at its first and last step, and how its plot is drawn."""
    blocks = list(arrange(pair.results))
    parts = []
    for section in dict.fromkeys(d.section for d in found):
        steps = {d.step for d in found if d.section == section}
        for step in sorted({min(steps), max(steps)}):
            title = step_title(section, step)
            here = [b for b in blocks if (b.section, b.step) == (section, step)]
            own = [d for d in found if (d.section, d.step, d.quantity) == (section, step, _DSC)]
            means = patient_means(here, _DSC).values()
            patients = tuple(100 * np.concatenate([m[k] for m in means]) for k in (0, 1))
            parts.append(
                {
                    "title": f"{pair.first} and {pair.second}: {title}",
                    "tables": [
                        difference_table(pair, found, section, step),
                        change_table(pair, _CHANGES, section, step),
                    ],
                    "drawn": partial(_plot, pair, section, step, own, patients),
                }
            )
    return parts


def _plot(
    pair: Pair,
    section: Section,
    step: int,
    found: Sequence[Difference],
    patients: Any,
    warnings: list[str],
) -> list[Plot]:
    from promptseg.evaluate.report.figures.pairs import Interval, paired_runs

    title = step_title(section, step)
    intervals = [
        Interval(
            "all tasks" if d.task == ALL else d.task.title,
            *(100 * v for v in (d.mean, d.interval.low, d.interval.high)),
        )
        for d in found
    ]
    caption = (
        f"{title}. Left: difference in mean DSC, {pair.second} minus {pair.first}, with its 95 % "
        "interval; the diamond is all tasks together. Right: a mark per patient and task; above the "
        f"line {pair.second} is better."
    )
    name = f"{pair.first} {pair.second} {title}" if pair.first != pair.second else title
    names = pair.first, pair.second
    drawn = partial(paired_runs, intervals, patients, names, _DSC.label)
    return draw(name, caption, drawn, warnings)


def _page(
    pairs: Sequence[Pair],
    content: dict[str, Any],
    sections: Sequence[dict[str, Any]],
    plots: Sequence[Plot],
    options: CompareOptions,
) -> str:
    room = Room()
    drawn = [room.plot(plot) for plot in plots]
    alarms = list(dict.fromkeys(line for pair in pairs for line in pair.results.alarms))
    laid_out = [
        {**section, "plots": drawn[i : i + 1] if len(drawn) == len(sections) else []}
        for i, section in enumerate(sections)
    ]
    context = {
        "title": f"{content['pairs'][0]['first']} and {content['pairs'][0]['second']} compared",
        "version": __version__,
        "verdicts": content["verdicts"],
        "alarms": alarms,
        "warnings": [w for w in content["warnings"] if w not in alarms] + room.warnings(),
        "runs": [("First", content["first"]), ("Second", content["second"])],
        "differing": content["differing_options"],
        "sections": laid_out,
        "definitions": [
            text.format(resamples=options.resamples, seed=options.seed) for text in DEFINITIONS
        ],
    }
    return fill("comparison.html.j2", context)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _write_differences(
    path: Path, pairs: Sequence[Pair], found: Sequence[Sequence[Difference]]
) -> None:
    lines = [
        {"first_model": pair.first, "second_model": pair.second, **d.to_json()}
        for pair, own in zip(pairs, found, strict=True)
        for d in own
    ]
    write_csv(path, list(lines[0]), ([_cell(v) for v in line.values()] for line in lines))


def _write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """A line per mask: where it is, and every score of both runs with the difference."""
    head = ["first_model", "second_model", *_WHERE]
    head += [f"{which}_{name}" for name in NAMES for which in ("first", "second", "difference")]
    write_csv(path, head, (line for pair in pairs for line in _pair_lines(pair)))


def _pair_lines(pair: Pair) -> Iterable[list[str]]:
    seconds = {_where(row): row for row in pair.results.rows if row.model == pair.second}
    for row in pair.results.rows:
        if row.model != pair.first:
            continue
        other = seconds[_where(row)]
        values: list[float] = []
        for one, two in zip(row.scores, other.scores, strict=True):
            values += [one, two, 0.0 if one == two else two - one]
        yield [pair.first, pair.second, *map(str, _where(row)), *map(_cell, values)]


def _where(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _WHERE)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return number(value) if isinstance(value, float) else str(value)
