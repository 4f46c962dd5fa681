"""`promptseg evaluate compare`: two finished evaluations side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.cli.options import parse
from promptseg.evaluate.two_runs import CompareOptions, compare_runs
from promptseg.names import for_terminal

__all__ = ["CompareCommand", "run"]


@dataclass(kw_only=True)
class CompareCommand(CompareOptions):
    """Compare two finished evaluations mask by mask: differences with intervals by patients, a test,
    tables, a plot and a page (docs/reports.md).

    Runs whose options, files or masks differ are refused, unless told otherwise.
    """

    first: tyro.conf.Positional[Path]
    """Folder of the first evaluation; differences are second minus first."""

    second: tyro.conf.Positional[Path]
    """Folder of the second evaluation."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for comparison.html, comparison.csv, comparison.json, pairs.csv and plots/."""

    json: bool = False
    """Print comparison.json in place of the verdicts."""


def run(argv: list[str]) -> int:
    """Run the comparison; returns the exit code."""
    command = parse(CompareCommand, "evaluate compare", argv)
    options = CompareOptions(**{f.name: getattr(command, f.name) for f in fields(CompareOptions)})
    compared = compare_runs(command.first, command.second, command.output, options)
    if command.json:
        print(json.dumps(compared.content, indent=1, default=str))
        return 0
    for line in compared.verdicts:
        print(for_terminal(line))
    print(f"report: {compared.page}")
    return 0
