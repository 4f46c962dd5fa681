"""The files of a check before training: preflight.md for people, preflight.json for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from promptseg.curate.estimate import duration
from promptseg.curate.preflight_findings import Preflight
from promptseg.curate.sizes import GRID, TINY
from promptseg.datasets.collection import SPLITS
from promptseg.datasets.description import is_open_licence
from promptseg.formats.files import atomic_path
from promptseg.names import for_markdown

__all__ = ["as_json", "to_markdown", "write_report"]

_PAIRS = 50  # look-alikes that the page names


def write_report(found: Preflight, folder: Path) -> None:
    """Write preflight.md and preflight.json, each only when it is whole.

    Raises:
        OutputError: the folder cannot be written.
    """
    with atomic_path(folder / "preflight.json") as path:
        path.write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / "preflight.md") as path:
        path.write_text(to_markdown(found), encoding="utf-8")


def to_markdown(found: Preflight) -> str:
    """Write the findings as a page of Markdown: the verdict, then what it rests on."""
    total = found.statistics.total
    verdict = "ready for training" if found.passed else "not ready for training"
    parts = [f"# Check of a collection: {verdict}\n\n{found.collection}, for {found.model}\n"]
    parts += _list("Errors", found.errors) + _list("Warnings", found.warnings)
    parts.append("\n## Parts\n\n")
    parts.append(_table(("part", "images"), [(p, getattr(total, p)) for p in SPLITS]))
    parts.append(
        f"\nThe report of a training will be on the {found.report_part} part: {found.reported:,} "
        "patients.\n"
    )
    parts.append(
        f"\n{total.masks:,} masks of {len(total.targets)} classes, {total.patients:,} patients; "
        f"{found.read:,} samples were read.\n"
    )
    if found.estimate is not None:
        e = found.estimate
        parts.append(f"\n## Time and memory\n\nEstimated: {e}.\n\n")
        rows: list[tuple[Any, ...]] = [
            ("encoder, one image", f"{e.cost.encoder_seconds:.3g} s"),
            (f"one round, {e.cost.objects} objects", f"{e.cost.round_seconds:.3g} s"),
            ("rounds per image", e.plan.n_steps + 1),
            ("objects per image, on average", f"{e.objects:.2f}"),
            ("one epoch", duration(e.seconds_per_epoch)),
            ("reading one image, one process", f"{found.read_seconds:.3g} s"),
            ("memory", f"{e.peak_bytes / 2**30:.2f} GiB"),
        ]
        parts.append(_table(("what", "measured or estimated"), rows))
    parts.append("\n## Sizes of targets\n\nShare of the image; tiny are those of fewer than ")
    parts.append(f"{TINY:g} pixels on the network's {GRID} x {GRID} masks.\n\n")
    heads = ("modality", "targets", "tiny", *(f"{q} %" for q in (0, 5, 25, 50, 75, 95, 100)))
    rows = [(s.name, s.targets, s.tiny, *(f"{q:.3%}" for q in s.quantiles)) for s in found.sizes]
    parts.append(_table(heads, rows) + "\n![Sizes of targets](sizes.png)\n")
    parts.append("\n## Classes\n\n" + _table(("class", "masks", *SPLITS), found.balance))
    parts.append("\n## Licences\n\n")
    licences = [
        (
            name,
            "; ".join(text or "none stated" for text in texts),
            "yes" if all(map(is_open_licence, texts)) else "not known to be",
        )
        for name, texts in found.licences.items()
    ]
    parts.append(_table(("dataset", "licences, as stated", "open"), licences))
    if found.alike:
        parts.append("\n## Look-alikes in different parts\n\n")
        pairs = [(a.first, a.parts[0], a.second, a.parts[1], a.bits) for a in found.alike[:_PAIRS]]
        parts.append(_table(("sample", "part", "sample", "part", "bits of 256"), pairs))
    parts.append("\n## Samples\n\n![Samples with simulated prompts](sheet.png)\n")
    return "".join(parts)


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"\n## {title}\n\n", *(f"- {for_markdown(line)}\n" for line in lines)] if lines else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    cells = (" | ".join(for_markdown(str(c)) for c in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def as_json(found: Preflight) -> dict[str, Any]:
    """Return all findings as plain values."""
    return {
        "passed": found.passed,
        "errors": found.errors,
        "warnings": found.warnings,
        "collection": str(found.collection),
        "sha256": found.sha256,
        "model": found.model,
        "statistics": found.statistics.to_json(),
        "sizes": [size._asdict() for size in found.sizes],
        "balance": [line._asdict() for line in found.balance],
        "leaks": [leak._asdict() for leak in found.leaks],
        "alike": [pair._asdict() for pair in found.alike],
        "read": found.read,
        "damaged": [damage._asdict() for damage in found.damaged],
        "licences": found.licences,
        "estimate": None if found.estimate is None else found.estimate.to_json(),
        "read_seconds": found.read_seconds,
        "report": {"part": found.report_part, "patients": found.reported},
    }
