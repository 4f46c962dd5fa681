"""The report in a sentence: how good a model is, or which of several does best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from promptseg.evaluate.report.blocks import Section
from promptseg.evaluate.report.compare import LEVEL, Line
from promptseg.evaluate.report.quantities import QUANTITIES
from promptseg.evaluate.report.tables import score

__all__ = ["verdict"]

_DSC = QUANTITIES["dsc"]
_MOST = 3  # sections that a sentence names


def verdict(pooled: Sequence[Line]) -> str:
    """Say what the run has shown, over all tasks together, at the last step of every section.

    Args:
        pooled: lines of all tasks together.
    """
    sections: dict[Section, list[Line]] = {}
    for line in pooled:
        if line.quantity == _DSC and line.summary.n:
            sections.setdefault(line.section, []).append(line)
    if not sections:
        return "No mask has a DSC: nothing can be said of these models."
    last = {
        s: [n for n in own if n.step == max(m.step for m in own)] for s, own in sections.items()
    }
    some = list(last.items())[:_MOST]
    said = [_of_section(section, own, brief=k > 0) for k, (section, own) in enumerate(some)]
    rest = len(last) - len(said)
    more = f"; {rest} more below" if rest else ""
    return f"{_capital('; '.join(said))}{more}."


def _of_section(section: Section, lines: Sequence[Line], brief: bool) -> str:
    """`with box (2d), A does best: mean DSC 85.6 %, ahead of B at 80.1 (p = 0.002)`."""
    step = lines[0].step
    asked = section.prompt or "the given masks"
    where = f"with {asked}" if section.prompt else f"of {asked}"
    where += f" ({', '.join(filter(None, (section.protocol, section.setting)))})"
    where += f" after {step} corrections" if step else ""
    best = max(lines, key=lambda n: n.summary.mean)
    masks = f"{best.summary.n} masks of {best.patients} patient{'' if best.patients == 1 else 's'}"
    mean = f"mean DSC of {score(best.summary.mean, _DSC)} %"
    low, high = (score(v, _DSC) for v in best.mean_interval)
    between = f" (95 % interval {low} to {high})" if math.isfinite(best.mean_interval.low) else ""
    more = "" if brief else f"{between} on {masks}"
    if len(lines) == 1:
        return f"{where}, {best.model} reaches a {mean}{more}"
    others = sorted((n for n in lines if n is not best), key=lambda n: -n.summary.mean)
    return f"{where}, {best.model} has the highest {mean}{more}, before {_behind(others[0], best)}"


def _behind(line: Line, best: Line) -> str:
    """`mobile-sam at 80.1 (p = 0.002)`: the test between the two, where one was made."""
    tests = (line.against_baseline, best.against_baseline, line.against_best, best.against_best)
    between = [t for t in tests if t is not None and t.other in (line.model, best.model)]
    p = next((t.p for t in between if not math.isnan(t.p)), math.nan)
    if math.isnan(p):
        shown = "not tested: too few patients" if between else "not tested"
    elif p < LEVEL:
        shown = "a difference is shown, p " + ("< 0.0001" if p < 1e-4 else f"= {p:.2g}")
    else:
        shown = f"no difference is shown, p = {p:.2g}"
    return f"{line.model} at {score(line.summary.mean, _DSC)} % ({shown})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
