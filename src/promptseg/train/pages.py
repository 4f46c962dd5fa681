"""Parts of the Markdown pages that a training writes: tables and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promptseg.train.comparison import Comparison
from promptseg.train.verdict import Verdict

__all__ = [
    "class_table",
    "comparison_table",
    "dataset_table",
    "easy_start",
    "modality_table",
    "number",
    "outcome_lines",
    "reported_on",
    "table",
]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; pipes and line breaks in cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def dataset_table(data: Mapping[str, Any]) -> str:
    """Return a table of the datasets of a training, their licences and sources; `data` as on a card."""
    return table(
        ["dataset", "licence", "source"],
        [
            [
                name,
                ", ".join(text or "not stated" for text in entry["licences"]),
                ", ".join(entry["sources"]) or "-",
            ]
            for name, entry in data.get("datasets", {}).items()
        ],
    )


def number(value: float | None, form: str = ".3f") -> str:
    """Format a number, or a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def outcome_lines(verdict: Verdict) -> str:
    """Return the verdict and its reasons as Markdown."""
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    return f"**{verdict.outcome[0].upper()}{verdict.outcome[1:]}.**\n\n{reasons}"


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return a table of DSC before and after, one row per kind of prompt."""
    header = ["prompt", "asked with", "objects", "patients", "before", "after", "difference"]
    header += ["95 % interval", "p", "better", "worse"]
    return table(
        header,
        [
            [
                *(c.prompt, "yes" if c.asked else "no", c.objects, c.patients),
                *(number(c.before), number(c.after), number(c.difference, "+.3f")),
                f"{number(c.low, '+.3f')} to {number(c.high, '+.3f')}",
                *(number(c.p, ".2g"), c.better, c.worse),
            ]
            for c in comparisons
        ],
    )


def modality_table(verdict: Verdict) -> str:
    """Return a table of DSC before and after, one row per modality."""
    prompts = [c.prompt for c in verdict.comparisons]

    def figures(c: Comparison | None) -> str:
        return f"{c.before:.3f} → {c.after:.3f} ({c.difference:+.3f})" if c else "-"

    return table(
        ["modality", "objects", "patients", *prompts],
        [
            [
                *(name, each[0].objects, each[0].patients),
                *(
                    figures(next((c for c in each if c.prompt == prompt), None))
                    for prompt in prompts
                ),
            ]
            for name, each in verdict.modalities.items()
        ],
    )


def class_table(verdict: Verdict) -> str:
    """Return a table of DSC before and after, one row per class."""
    header = ["class", "images", "patients", "before", "after", "difference", "95 % interval"]
    return table(
        header,
        [
            [
                *(name, c.objects, c.patients, number(c.before), number(c.after)),
                number(c.difference, "+.3f"),
                f"{number(c.low, '+.3f')} to {number(c.high, '+.3f')}",
            ]
            for name, each in verdict.classes.items()
            for c in each
        ],
    )


def reported_on(facts: Mapping[str, Any]) -> str:
    """Say which part of the data the numbers are of, and what that means; empty if it is not
    recorded.
    """
    part = facts.get("reported_on")
    if not part:
        return ""
    doubt = ", on which the best weights were chosen as well: the numbers are too good"
    said = f"Measured on {part}{doubt if 'validation' in str(part) else ''}."
    if seen := facts.get("reported_and_seen"):
        said += (
            f" The starting weights had been trained on {seen} of its images: before and after, the "
            "numbers are too good there, and a verdict says little about new patients."
        )
    return said


def easy_start(facts: Mapping[str, Any]) -> str:
    """Return a remark where the decoder or the network began untrained; empty where it did not."""
    if facts.get("decoder_at_start") != "untrained":
        return ""
    return "Before, its new weights had learnt nothing: any training does better than that."


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("\r", " ")
