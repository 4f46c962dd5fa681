"""The report of a training: report.md to read, report.json for programs, curves.png to look at."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.errors import MissingPackageError
from promptseg.formats.files import atomic_path
from promptseg.provenance import DISCLAIMER
from promptseg.train.curves import History, draw_curves, read_history
from promptseg.train.pages import (
    class_table,
    comparison_table,
    easy_start,
    modality_table,
    number,
    outcome_lines,
    reported_on,
    table,
)
from promptseg.train.release import plain
from promptseg.train.validate import Validation
from promptseg.train.verdict import Verdict, compare

__all__ = ["write_report"]

log = logging.getLogger("promptseg")
_PICTURE = "curves.png"


def write_report(
    folder: Path,
    baseline: Validation,
    tuned: Validation,
    facts: dict[str, Any],
    asks: frozenset[str],
    history: Path | None = None,
) -> Verdict:
    """Judge a training and write down why.

    Args:
        folder: of the training; report.md, report.json and curves.png in it are replaced.
        baseline: of the model that it began with.
        tuned: of the model that came out.
        facts: what is known of the training; plain values, dictionaries of them, and paths.
        asks: kinds of prompts that it asked with.
        history: folder with train.csv and validation.csv, or one such file: a column `update`, and
            `loss` and kinds of prompts ("box+8") where known. Left out if None or not there.

    Returns:
        The verdict.

    Raises:
        InputError: two validations that do not pair.
        OutputError: the folder cannot be written.
    """
    verdict = compare(baseline, tuned, asks, str(facts.get("reported_on") or "the report"))
    picture = _draw(folder / _PICTURE, verdict, read_history(history))
    content = {
        "notice": DISCLAIMER,
        "promptseg": __version__,
        "verdict": verdict.to_json(),
        "asked_with": sorted(asks),
        "facts": plain(facts),
    }
    with atomic_path(folder / "report.json") as path:
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    page = "\n\n".join(_paragraphs(verdict, plain(facts), picture)) + "\n"
    with atomic_path(folder / "report.md") as path:
        path.write_text(page, encoding="utf-8")
    return verdict


def _draw(path: Path, verdict: Verdict, history: History) -> str:
    """Draw the curves; returns what the page shows in their place."""
    try:
        draw_curves(path, verdict, history)
    except MissingPackageError as error:
        path.unlink(missing_ok=True)  # of an earlier run
        log.warning("no curves: %s", error)
        return f"No curves: {error}."
    return f"![DSC before and after, and the course of the training]({_PICTURE})"


def _paragraphs(verdict: Verdict, facts: Mapping[str, Any], picture: str) -> Iterator[str]:
    yield f"# Fine-tuning report\n\n{DISCLAIMER[0].upper()}{DISCLAIMER[1:]}."
    yield outcome_lines(verdict)
    if said := " ".join(filter(None, (easy_start(facts), reported_on(facts)))):
        yield said
    yield picture
    yield "## Prompts"
    yield comparison_table(verdict.comparisons)
    yield (
        "DSC of every class on every image that shows it, all counting the same. The interval is a "
        "bootstrap over patients, p a signed-rank test of the patients' means. With every dataset and "
        "every class counting the same:"
        if verdict.classes
        else "DSC over the objects, all counting the same. `box+N` is after N rounds of corrections; a "
        "round is a click where the answer misses the object and one where it is too much, with the "
        "previous mask. The interval is a bootstrap over patients, p a signed-rank test of the "
        "patients' means. What the training did not ask with does not count for the verdict. With "
        "every dataset counting the same:"
    )
    before, after = verdict.macro
    yield table(
        ["", *before],
        [
            ["before", *(number(v) for v in before.values())],
            ["after", *(number(v) for v in after.values())],
        ],
    )
    yield "## Modalities"
    yield modality_table(verdict)
    if verdict.classes:
        yield "## Classes"
        yield class_table(verdict)
        yield (
            "A class is scored on the images, or stacks of slices, that show it; what is found of it "
            "on others counts nowhere."
        )
        if facts:
            yield f"## Training\n\n```json\n{json.dumps(facts, indent=1)}\n```"
        return
    yield "## Does it still listen to prompts?"
    rows = (
        ("DSC gained per round of corrections", "gain", "+.4f"),
        ("share of corrections that made it worse", "worsened", ".3f"),
        ("DSC lost to a box shifted by a tenth", "shifted", ".3f"),
    )
    yield table(
        ["", "before", "after"],
        [
            [words, *(number(getattr(x, k), form) for x in verdict.listening)]
            for words, k, form in rows
        ],
    )
    yield "## How far the embeddings moved"
    drift = verdict.drift
    yield table(
        ["samples", "relative L2", "cosine", "linear CKA"],
        [[drift.samples, *(number(v) for v in (drift.relative_l2, drift.cosine, drift.cka))]],
    )
    yield "Averaged to 8 x 8 places. 0, 1 and 1 mean that nothing moved."
    if facts:
        yield "## Training"
        yield f"```json\n{json.dumps(facts, indent=1)}\n```"
