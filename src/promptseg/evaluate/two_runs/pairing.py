"""The rows of two runs brought together as if two models had been evaluated in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptseg.errors import InputError, did_you_mean
from promptseg.evaluate.report.results import Results, Row
from promptseg.evaluate.report.trained import set_apart
from promptseg.evaluate.two_runs.alike import require_same_masks
from promptseg.evaluate.two_runs.options import CompareOptions

__all__ = ["Pair", "pairs_of"]

_OF_SECTIONS = ("protocol", "prompt")
"""Options that rows carry: runs compared across them are named by both."""


@dataclass(frozen=True)
class Pair:
    """A model of the first run and one of the second, with the rows of both.

    Attributes:
        first, second: what the two are called.
        models: their names in the runs.
        results: rows of both under these names, without those that only one has.
        left_out: how many masks only one of them was scored on.
    """

    first: str
    second: str
    models: tuple[str, str]
    results: Results
    left_out: int


def pairs_of(
    first: Results,
    second: Results,
    options: CompareOptions,
) -> Iterator[Pair]:
    """Yield every pair of models that two runs have.

    Args:
        first, second: the runs.
        options: which models, what may differ, and what is counted.

    Raises:
        InputError: no models that pair, or masks that do not.
    """
    sections: dict[str, Any] = {
        n: _both_names(first, second, n) for n in _OF_SECTIONS if n in options.across
    }
    for one, two in _models(first.models, second.models, options.model):
        own = [row._replace(**sections) for row in first.rows if row.model == one]
        other = [row._replace(**sections) for row in second.rows if row.model == two]
        left_out = require_same_masks(own, other, options.shared)
        labels = _labels(first, second, one, two)
        rows = [
            *(row._replace(model=labels[0]) for row in _shared(own, other)),
            *(row._replace(model=labels[1]) for row in _shared(other, own)),
        ]
        run = {"models": [{"name": label} for label in labels]}
        merged = set_apart(Results(first.folder, rows, run), options.count_trained)
        yield Pair(labels[0], labels[1], (one, two), merged, left_out)


def _models(
    first: Sequence[str], second: Sequence[str], wanted: Sequence[str]
) -> list[tuple[str, str]]:
    """Which models are compared: of the same name, or the only one of each run."""
    if not wanted and len(first) == len(second) == 1:
        return [(first[0], second[0])]
    both = [name for name in first if name in second]
    for name in wanted:
        if name not in both:
            raise InputError(
                "a model that both runs have" + (f", out of {', '.join(both)}" if both else ""),
                name,
                did_you_mean(name, both),
            )
    chosen = [name for name in both if not wanted or name in wanted]
    if not chosen:
        raise InputError(
            "a model that both runs have, or two runs with one model each",
            f"{', '.join(first)} and {', '.join(second)}",
            "promptseg report compares the models of one folder",
        )
    return [(name, name) for name in chosen]


def _labels(first: Results, second: Results, one: str, two: str) -> tuple[str, str]:
    """What the two are called: by their models, or by their folders where the models are one."""
    if one != two:
        return one, two
    folders = first.folder.resolve(), second.folder.resolve()
    names = (folders[0].name, folders[1].name)
    if names[0] == names[1]:
        names = (str(folders[0]), str(folders[1]))
    return f"{one} ({names[0]})", f"{two} ({names[1]})"


def _both_names(first: Results, second: Results, name: str) -> str:
    """`3d | predictions`: the one value that each run has."""
    values = [list(dict.fromkeys(getattr(r, name) for r in run.rows)) for run in (first, second)]
    for run, found in zip((first, second), values, strict=True):
        if len(found) > 1:
            raise InputError(
                f"runs of one {name} each, to be compared across it",
                f"{', '.join(found)} in {run.folder}",
                "evaluate one into a folder of its own",
            )
    said = [found[0] or "none" for found in values]
    return said[0] if said[0] == said[1] else " | ".join(said)


def _shared(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    there = {_place(row) for row in others}
    return [row for row in rows if _place(row) in there]


def _place(row: Row) -> tuple[object, ...]:
    section = (row.protocol, row.prompt, row.setting)
    return (*section, row.dataset, row.target, *row.place, row.step)
