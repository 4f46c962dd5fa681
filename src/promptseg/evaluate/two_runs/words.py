"""Words and tables of a comparison for people: a verdict in a sentence, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from promptseg.evaluate.report.blocks import ALL, Section
from promptseg.evaluate.report.quantities import MAIN, NAMES, QUANTITIES, Quantity
from promptseg.evaluate.report.results import Row
from promptseg.evaluate.report.tables import Table, score, step_title
from promptseg.evaluate.two_runs.differences import Difference
from promptseg.evaluate.two_runs.pairing import Pair

__all__ = ["change_table", "difference_table", "verdicts"]

_DSC = QUANTITIES["dsc"]
_OUTCOMES = {1: "is better than", -1: "is worse than", 0: "cannot be told from"}


def verdicts(pair: Pair, found: Sequence[Difference]) -> Iterator[str]:
    """Yield a sentence on all tasks together, for every section at its first and last step."""
    pooled = [d for d in found if d.task == ALL and d.quantity == _DSC]
    for section in dict.fromkeys(d.section for d in pooled):
        steps = {d.step for d in pooled if d.section == section}
        for d in pooled:
            if d.section == section and d.step in (min(steps), max(steps)):
                yield _verdict(pair, d)


def _verdict(pair: Pair, d: Difference) -> str:
    where = f"{step_title(d.section, d.step)}: "
    if not d.masks:
        return f"{where}no mask that both {pair.first} and {pair.second} have a DSC for."
    masks, patients = _counted(d.masks, "mask"), _counted(d.patients, "patient")
    figures = (
        f"mean DSC {_signed(d.mean, _DSC)} points ({score(d.first, _DSC)} to "
        f"{score(d.second, _DSC)}{_bounds(d)}) on {masks} of {patients}"
    )
    if math.isnan(d.test.p):
        return (
            f"{where}too few patients to tell {pair.second} from {pair.first}: {figures}; "
            f"no test ({d.test.reason})."
        )
    return f"{where}{pair.second} {_OUTCOMES[d.shown]} {pair.first}: {figures}, p {_p(d.test.p)}."


def _bounds(d: Difference) -> str:
    low, high = (_signed(v, _DSC) for v in d.interval)
    known = math.isfinite(d.interval.low)
    return f"; 95 % interval of the difference {low} to {high}" if known else ""


def difference_table(pair: Pair, found: Sequence[Difference], section: Section, step: int) -> Table:
    """Return a table of DSC and NSD of both runs on every task, with difference and who is better."""
    here = [d for d in found if (d.section, d.step) == (section, step) and d.quantity in MAIN]
    body = []
    for d in here:
        apart = {1: "better", -1: "worse", 0: "not told apart"}[d.shown]
        if math.isnan(d.test.p):
            apart = "too few patients"
        known = math.isfinite(d.interval.low)
        low, high = (_signed(v, d.quantity) for v in d.interval)
        body.append(
            [
                d.task.title if d.task != ALL else "All tasks",
                d.quantity.label,
                apart,
                f"{d.masks}" + (f" (+ {d.unvalued} without value)" if d.unvalued else ""),
                f"{d.patients}",
                score(d.first, d.quantity),
                score(d.second, d.quantity),
                _signed(d.mean, d.quantity),
                f"{low} to {high}" if known else "n/a",
                _p(d.test.p).removeprefix("= "),
                f"{d.better} / {d.masks - d.better - d.worse} / {d.worse}",
            ]
        )
    head = ["Task", "Metric", f"{pair.second} is", "Masks", "Patients"]
    head += [pair.first, pair.second, "Difference", "95 % interval", "p", "Better / same / worse"]
    caption = (
        f"{step_title(section, step)}: means in percent, and their difference in points "
        f"({pair.second} minus {pair.first}). Better / same / worse: masks."
    )
    return Table(caption, head, body, words=3)


def change_table(pair: Pair, count: int, section: Section, step: int) -> Table:
    """Return a table of the masks whose DSC fell and rose most."""
    at = NAMES.index(_DSC.name)
    scores: dict[tuple[str, ...], list[Row]] = {}
    for row in pair.results.rows:
        if (row.protocol, row.prompt, row.setting) == section and row.step == step:
            scores.setdefault((row.dataset, row.target, *row.place), []).append(row)
    changes = sorted(
        (two.scores[at] - one.scores[at], one, two)
        for one, two in (_in_order(pair, rows) for rows in scores.values() if len(rows) == 2)
        if not math.isnan(two.scores[at] - one.scores[at])
    )
    fallen = [c for c in changes if c[0] < 0][:count]
    risen = [c for c in changes[::-1] if c[0] > 0][:count][::-1]
    body = [
        [
            f"{one.dataset}: {one.target}",
            " ".join(filter(None, (one.case, one.object if one.object != one.target else ""))),
            one.slice or one.frame,
            *(score(row.scores[at], _DSC) for row in (one, two)),
            _signed(change, _DSC),
        ]
        for change, one, two in (*fallen, *risen)
    ]
    head = ["Task", "Case", "Slice", pair.first, pair.second, "Difference"]
    caption = f"{step_title(section, step)}: masks whose DSC fell and rose most, in percent."
    return Table(caption, head, body, words=2)


def _in_order(pair: Pair, rows: Sequence[Row]) -> tuple[Row, Row]:
    first, second = sorted(rows, key=lambda row: row.model != pair.first)
    return first, second


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _signed(value: float, quantity: Quantity) -> str:
    if not math.isfinite(value):
        return score(value, quantity)
    return f"{100 * value:+.1f}" if quantity.share else f"{value:+.3g}"


def _p(p: float) -> str:
    if math.isnan(p):
        return "n/a"
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"
