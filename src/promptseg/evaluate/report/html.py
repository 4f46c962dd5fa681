"""The page of a report: everything in one HTML file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from promptseg.evaluate.report.content import Picture, Plot, SectionPage
from promptseg.evaluate.report.layout import Room, fill
from promptseg.evaluate.report.quantities import NAMES, QUANTITIES
from promptseg.evaluate.report.results import Results
from promptseg.evaluate.report.tables import Table, score

__all__ = ["Page", "render"]


@dataclass
class Page:
    """Content of a report.

    Attributes:
        title: of the page.
        verdict: the run in a sentence.
        headline: the table that sums up.
        sections: one per protocol and prompt.
        gated: cgF1 of words, where instances were counted.
        frames: those of videos that were scored, if there are any.
        extra: plots that belong to no section.
        pictures: of embeddings.
        published: tables and plots of the papers, if asked for.
        definitions: sentences, the meaning of marks and numbers.
        warnings: what the reader should know first.
    """

    title: str
    verdict: str
    headline: Table
    sections: Sequence[SectionPage]
    gated: Table | None = None
    frames: Table | None = None
    extra: list[Plot] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    published: tuple[list[Table], list[Plot]] | None = None
    definitions: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)


def render(page: Page, results: Results) -> str:
    """Return the HTML document."""
    room = Room()
    run = results.run
    context = {
        "title": page.title,
        "created": run.get("created", ""),
        "version": run.get("promptseg", ""),
        "verdict": page.verdict,
        "headline": page.headline,
        "gated": page.gated,
        "frames": page.frames,
        "models": _models(results),
        "datasets": _datasets(results),
        "facts": _facts(run),
        "details": json.dumps(
            {k: run[k] for k in ("options", "rules", "versions") if k in run},
            indent=2,
            ensure_ascii=False,
        )
        if run
        else "",
        "sections": [_section(section, room) for section in page.sections],
        "extra": [room.plot(plot) for plot in page.extra],
        "pictures": [p for p in page.pictures if room.take(len(p.address))],
        "published": page.published
        and {"tables": page.published[0], "plots": [room.plot(p) for p in page.published[1]]},
        "definitions": page.definitions,
        "failed": results.listed("failed"),
        # read last: laying out the rest may add to them
        "warnings": page.warnings + room.warnings(),
        "alarms": results.alarms,
    }
    return fill("report.html.j2", context)


def _section(section: SectionPage, room: Room) -> dict[str, Any]:
    parts = []
    for part in section.parts:
        shown = []
        for failure in part.failures:
            fits = not failure.picture or room.take(len(failure.picture))
            shown.append(
                {
                    "row": failure.row,
                    "dsc": score(failure.row.scores[NAMES.index("dsc")], QUANTITIES["dsc"]),
                    "picture": failure.picture if fits else "",
                    "remark": failure.remark if fits else "no room on this page",
                }
            )
        parts.append(
            {
                "title": part.title,
                "tables": part.tables,
                "tests": part.tests,
                "plots": [room.plot(plot) for plot in part.plots],
                "failures": shown,
            }
        )
    return {"title": section.title, "parts": parts}


def _models(results: Results) -> Table:
    known = {str(m.get("name")): m for m in results.listed("models")}
    body = [
        [name, *(_text(known.get(name, {}).get(k)) for k in ("weights_sha256", "licence"))]
        for name in results.models
    ]
    return Table("Models", ["Model", "SHA-256 of weights", "Licence"], body, words=3)


def _datasets(results: Results) -> Table:
    known = {str(d.get("name")): d for d in results.listed("datasets")}
    names = dict.fromkeys([*known, *(row.dataset for row in results.rows)])
    patients: dict[str, set[str]] = {}
    for row in results.rows:
        patients.setdefault(row.dataset, set()).add(row.patient)
    body = []
    for name in names:
        facts = known.get(name, {})
        notes = facts.get("notes")
        body.append(
            [
                name,
                *(_text(facts.get(k)) for k in ("modality", "layout", "licence")),
                "; ".join(map(str, notes)) if isinstance(notes, list) else _text(notes),
                _text(facts.get("cases")),
                f"{len(patients.get(name, ()))}",
            ]
        )
    head = ["Data set", "Modality", "Layout", "Licence", "Notes", "Cases", "Patients scored"]
    return Table("Data sets", head, body, words=5)


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """The few settings that decide about numbers, in words."""
    facts = []
    rules = run.get("rules")
    if isinstance(rules, dict):
        facts.append(("Rules", ", ".join(f"{k}: {_text(v)}" for k, v in rules.items())))
    facts += [("Seed", _text(run["seed"]))] if "seed" in run else []
    if "max_objects" in run:
        most = run["max_objects"]
        facts.append(("Objects per image", "all" if most is None else f"the {most} largest"))
    return facts


def _text(value: object) -> str:
    return "not said" if value is None else str(value)
