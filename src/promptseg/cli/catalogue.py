"""`promptseg curate list` and `promptseg curate show`: the catalogue of public datasets."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from promptseg.cli.options import parse
from promptseg.curate.catalogue import Entry, commands, entries, find_entry, totals
from promptseg.errors import InputError

__all__ = ["ListCommand", "ShowCommand", "run"]

_HEADINGS = ("dataset", "modality", "targets", "count", "split", "licence", "layout", "opens")
_WIDTHS = {"dataset": 30, "modality": 20, "targets": 32, "licence": 30}


@dataclass
class ListCommand:
    """List the 84 public datasets of MedSAM: what they show, their licence, which of our layouts opens
    them."""

    modality: str | None = None
    """Those of one modality: CT, MR, PET, US, XR, ... or as the supplement says it (MR-T1)."""

    split: Literal["internal", "external"] | None = None
    """Those of MedSAM's internal or external validation."""

    layout: str | None = None
    """Those of one family of files (nifti-pairs, dicom+seg, ...), or that one layout of ours opens."""

    json: bool = False
    """Print as JSON."""


@dataclass
class ShowCommand:
    """All that is known of one dataset, and the commands that follow its download."""

    name: tyro.conf.Positional[str]
    """The dataset; case, blanks and dashes do not count."""

    json: bool = False
    """Print as JSON."""


def run(argv: list[str]) -> int:
    """Run `list` or `show`, which is the first word; returns the exit code."""
    action = argv[0] if argv else ""
    if action == "list":
        _list(parse(ListCommand, "curate list", argv[1:]))
    elif action == "show":
        _show(parse(ShowCommand, "curate show", argv[1:]))
    else:
        raise InputError("list or show", repr(action), "see promptseg curate --help")
    return 0


def _list(command: ListCommand) -> None:
    found = entries(command.modality, command.split, command.layout)
    sums = totals(found)
    if command.json:
        facts = {
            "datasets": [entry.to_json() for entry in found],
            "totals": [total._asdict() for total in sums],
        }
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    _print_table([_HEADINGS, *(_row(entry) for entry in found)])
    print()
    head = ("modality", "datasets", "scans", "images", "opened by our layouts")
    rows = [tuple(str(value) for value in total) for total in sums]
    _print_table([head, *rows, ("all", *(str(sum(column)) for column in _columns(sums)))])


def _show(command: ShowCommand) -> None:
    entry = find_entry(command.name)
    if command.json:
        facts = {**entry.to_json(), "commands": commands(entry)}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    facts = {
        "dataset": entry.dataset,
        "modality": entry.modality,
        "targets": entry.targets,
        "count": f"{entry.count} {entry.unit}",
        "MedSAM": f"{entry.split} validation",
        "link": entry.link,
        "licence": entry.licence,
        "layout": entry.layout,
        "opens with": entry.opens or "none of our layouts as it is",
        "images": entry.images,
        "labels": entry.labels,
        "classes": entry.classes,
        "how": entry.how,
    }
    for key, value in facts.items():
        if value:
            print(f"{key:<12}{value}")
    for line in commands(entry):
        print(f"\n{line}" if "\n" in line else line)


def _row(entry: Entry) -> tuple[str, ...]:
    said = {
        "dataset": entry.dataset,
        "modality": entry.modality,
        "targets": entry.targets,
        "count": f"{entry.count} {entry.unit}",
        "split": entry.split,
        "licence": entry.licence,
        "layout": entry.layout,
        "opens": entry.opens or "-",
    }
    return tuple(
        textwrap.shorten(said[key], _WIDTHS[key], placeholder=" ...")
        if key in _WIDTHS
        else said[key]
        for key in _HEADINGS
    )


def _columns(sums: Sequence[Any]) -> list[list[int]]:
    """The counts of some totals, column by column."""
    return [[getattr(t, name) for t in sums] for name in ("datasets", "scans", "images", "opened")]


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
