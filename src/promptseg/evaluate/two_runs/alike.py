"""Checks that two runs may be compared: their options, files and masks have to be the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateOptions
from promptseg.evaluate.report.results import Results, Row

__all__ = ["require_finished", "require_same_files", "require_same_masks", "require_same_options"]

_NAMED = 3  # masks that a message names


def require_finished(results: Results) -> None:
    """Refuse a folder whose evaluation is not recorded, or not finished."""
    if not isinstance(results.run.get("request"), dict) or not results.run.get("finished"):
        raise InputError(
            "the folder of a finished evaluation",
            f"{results.folder}: run.json does not say that it is",
            "run promptseg evaluate into it again: it goes on where it was",
        )


def require_same_options(first: Results, second: Results, across: Sequence[str]) -> dict[str, Any]:
    """Refuse runs whose options differ elsewhere than wanted.

    Returns:
        Option -> the two values, of those that differ.
    """
    one, two = _options(first), _options(second)
    differing = {k: (one[k], two[k]) for k in sorted(one) if one[k] != two[k]}
    if foul := [name for name in differing if name not in across]:
        said = ", ".join(f"{k} {one[k]!r} and {two[k]!r}" for k in foul)
        flags = " ".join(f"--across {name.replace('_', '-')}" for name in foul)
        raise InputError(
            "two runs of the same options",
            said,
            f"run one of them again as the other, or say that this is what you compare: {flags}",
        )
    return differing


def _options(results: Results) -> dict[str, Any]:
    """The options of a run; those that its version did not have yet were what they are by default."""
    defaults = {k: _plain(v) for k, v in EvaluateOptions().to_json().items()}
    request = results.run["request"]
    return {k: request.get(k, value) for k, value in defaults.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def require_same_files(first: Results, second: Results, shared: bool) -> list[str]:
    """Refuse runs on different datasets or files.

    Args:
        first, second: the runs.
        shared: masks that both scored are enough; files that differ are then warned of.

    Returns:
        Warnings.
    """
    one, two = _hashes(first), _hashes(second)
    alone = sorted(one.keys() ^ two.keys())
    other = sorted(k for k in one.keys() & two.keys() if one[k] != two[k])
    if not shared and (alone or other):
        said = [*(f"{k} in one of them" for k in alone), *(f"other files of {k}" for k in other)]
        raise InputError(
            "two runs on the same files",
            ", ".join(said),
            "run one of them again on the other's files, or compare what both have with --shared",
        )
    return [f"The runs had other files of {name}; what both scored is compared." for name in other]


def _hashes(results: Results) -> dict[str, Any]:
    present = {row.dataset for row in results.rows}
    named = {str(d.get("name")): d.get("sha256") for d in results.listed("datasets")}
    return {name: named.get(name) for name in present}


def require_same_masks(one: Sequence[Row], two: Sequence[Row], shared: bool) -> int:
    """Refuse runs that scored different masks, or masks of different truths.

    Args:
        one, two: rows of the two models.
        shared: masks that only one has are left out.

    Returns:
        How many were left out.
    """
    first, second = {_mask(row): row for row in one}, {_mask(row): row for row in two}
    alone = sorted(first.keys() ^ second.keys())
    both = first.keys() & second.keys()
    if alone and (not shared or not both):
        names = "; ".join(_words(mask) for mask in alone[:_NAMED])
        raise InputError(
            "two runs that scored the same masks",
            f"{len(both)} that both scored and {len(alone)} that one did: {names}",
            "score the same cases in both, or compare what both have with --shared"
            if both
            else "compare runs on the same cases, prompts and protocols",
        )
    changed = [m for m in sorted(both) if first[m].truth_size != second[m].truth_size]
    if changed:
        raise InputError(
            "two runs against the same truth",
            f"another size of it in {len(changed)} masks: {_words(changed[0])}",
            "run both again on the same files",
        )
    return len(alone)


def _mask(row: Row) -> tuple[str, ...]:
    where = (row.protocol, row.prompt, row.setting, row.dataset, row.target, *row.place)
    return (*where, str(row.step))


def _words(mask: tuple[str, ...]) -> str:
    return " ".join(filter(None, (*mask[:2], *mask[3:5], mask[6], mask[8])))
