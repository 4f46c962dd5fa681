"""The report of a loop: one page that loads nothing, and a table of its rounds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.evaluate.report.content import Plot, draw
from promptseg.evaluate.report.layout import Room, fill
from promptseg.evaluate.report.tables import Table
from promptseg.formats.files import atomic_path, write_csv
from promptseg.loop.options import LoopOptions
from promptseg.loop.state import LoopFolder, Round, RoundResult
from promptseg.loop.taking import is_contradicted

__all__ = ["write_report"]

_HEAD = (
    *("round", "strategy", "images_annotated", "learnt_from", "measured_on", "flagged", "empty"),
    *("expert_minutes", "dsc", "gain", "starting_dsc", "verdict", "against", "agreement"),
    *("training_seconds", "version"),
)
_DEFINITIONS = (
    "DSC is the mean over the kinds of prompts that the training asks with (of classes: over the "
    "classes), on the fixed validation part, of which nothing is learnt. The weights of a round are "
    "those of its validations that did best there: the figure is a little too good, alike for all.",
    "Every version is trained anew from the same starting weights, on all that is annotated by then.",
    "Verdict: this version against the one before, by the rule of promptseg train (docs/finetuned.md).",
    "Agreement: mean DSC of what was proposed and what came back, by name; an object that only one of "
    "them has counts 0.",
    "Expert minutes are what the page logged, of all phases; where nothing was logged, what "
    "--minutes-per-image says.",
    "Pictures: the proposal in orange, what came back in green.",
)


def write_report(folder: LoopFolder, options: LoopOptions) -> Path:
    """Write rounds.csv and report.html, as far as the loop is.

    Args:
        folder: of the loop.
        options: of this call.

    Returns:
        The page.

    Raises:
        OutputError: it cannot be written.
    """
    rounds, results = folder.rounds, folder.results
    rows = _rows(folder, rounds)
    write_csv(folder.root / "rounds.csv", _HEAD, ([*map(str, row)] for row in rows))
    warnings: list[str] = []
    plots = _plots(results, warnings)
    room = Room()
    context = {
        "title": f"Loop on {Path(folder.binding['input']).name}: {options.task}",
        "version": __version__,
        "verdicts": _verdicts(folder, results),
        "plots": [room.plot(plot) for plot in plots],
        "table": Table(
            "The rounds; what is empty is not known.",
            [name.replace("_", " ") for name in _HEAD],
            [[*map(str, row)] for row in rows],
            words=2,
        ),
        "rounds": [_round(one, room) for one in reversed(rounds)],
        "aside": [path.name for path in folder.set_aside()],
        "facts": [(k, _without_folder(v)) for k, v in folder.binding.items() if v],
        "definitions": _DEFINITIONS,
    }
    page = folder.root / "report.html"
    context["warnings"] = warnings + room.warnings()
    with atomic_path(page) as path:
        path.write_text(fill("loop.html.j2", context), encoding="utf-8")
    return page


def _rows(folder: LoopFolder, rounds: Sequence[Round]) -> list[list[Any]]:
    rows, before = [], None
    for one in rounds:
        result, came = one.result, one.came or []
        if result is None:
            continue
        gain = "" if before is None else f"{result.score - before:+.4f}"
        before = result.score
        rows.append(
            [
                *(result.round, one.strategy, result.annotated, result.learnt_from),
                *(result.measured_on, sum(c.state == "flagged" for c in came)),
                sum(c.state == "done" and not c.objects for c in came),
                _number(result.minutes, 1),
                *(f"{result.score:.4f}", gain, _number(result.start, 4)),
                *(result.outcome, result.against, _number(result.agreement, 3)),
                *(f"{result.seconds:.1f}", one.version.relative_to(folder.root).as_posix()),
            ]
        )
    return rows


def _verdicts(folder: LoopFolder, results: Sequence[RoundResult]) -> list[str]:
    """The loop in a few sentences."""
    if not results:
        return ["No round has ended yet."]
    best, first, last = folder.best, results[0], results[-1]
    assert best is not None
    said = [
        f"{last.annotated} images annotated in {len(results)} rounds"
        + ("" if last.minutes is None else f" and {last.minutes:.0f} minutes of an expert")
        + f": DSC {first.score:.3f} after the first round, {last.score:.3f} after the last.",
        f"The best version is that of round {best.round}, with a DSC of {best.score:.3f}"
        + ("." if best.start is None else f"; the starting weights have {best.start:.3f}."),
    ]
    for one in folder.rounds:
        agreed = [c.agreement for c in one.came or () if c.agreement is not None]
        if is_contradicted(agreed):
            said.append(
                f"In round {one.number} the expert contradicted every proposal (mean DSC "
                f"{sum(agreed) / len(agreed):.2f}): names or numbers may be swapped, or another "
                "task meant."
            )
    return said


def _plots(results: Sequence[RoundResult], warnings: list[str]) -> list[Plot]:
    if not results:
        return []
    found = draw(
        "images",
        "DSC on the validation part over images annotated, those for validation included.",
        partial(_curve, [(r.annotated, r.score) for r in results], "images annotated"),
        warnings,
    )
    timed = [(r.minutes, r.score) for r in results if r.minutes is not None]
    if timed:
        found += draw(
            "minutes",
            "DSC on the validation part over minutes of the expert.",
            partial(_curve, timed, "expert minutes"),
            warnings,
        )
    return found


def _curve(points: Sequence[tuple[float, float]], label: str) -> str:
    from promptseg.plots.style import canvas, colours, to_svg

    with canvas(7, 3.2) as (figure, (axes,)):
        x, y = zip(*points, strict=True)
        axes.plot(x, [100 * v for v in y], marker="o", ms=4, color=colours(["dsc"])["dsc"])
        axes.set_xlabel(label)
        axes.set_ylabel("DSC (%)")
        return to_svg(figure)


def _round(one: Round, room: Room) -> dict[str, Any]:
    """A round as the template takes it."""
    came, result = {c.name: c for c in one.came or ()}, one.result
    pictures = []
    for chosen in one.picked:
        path = one.folder / "pictures" / f"{chosen.name}.png"
        address = ""
        if path.exists():
            content = base64.b64encode(path.read_bytes()).decode("ascii")
            address = f"data:image/png;base64,{content}"
        back = came.get(chosen.name)
        facts = [chosen.why] + ([] if chosen.score is None else [f"{chosen.score:.3f}"])
        facts += ["measured on"] if chosen.part == "validation" else []
        if back is not None:
            facts += [back.state] + (
                [] if back.objects or back.state != "done" else ["nothing on it"]
            )
            facts += [] if back.agreement is None else [f"agreement {back.agreement:.2f}"]
            facts += [] if back.seconds is None else [f"{back.seconds:.0f} s"]
            facts += [back.note] if back.note and not back.note.startswith("Chosen: ") else []
        fits = bool(address) and room.take(len(address))
        pictures.append(
            {"name": chosen.name, "address": address if fits else "", "said": "; ".join(facts)}
        )
    said = ["waiting for the expert" if not came else "being learnt from"]
    if result is not None:
        said = [f"DSC {result.score:.3f}"]
        said += [f"{name} {value:.3f}" for name, value in result.means.items()]
        if result.outcome:
            said.append(f"{result.outcome} against {result.against}: {'; '.join(result.reasons)}")
    return {"number": one.number, "said": said, "pictures": pictures}


def _without_folder(value: Any) -> str:
    """A value, without places on this machine."""
    text = str(value)
    return text.replace("\\", "/").rpartition("/")[2] if isinstance(value, str) else text


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
