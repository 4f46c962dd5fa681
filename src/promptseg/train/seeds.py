"""Trainings that differ in their seed alone: what each came to, and how far apart they lie.

MedicoSAM (Fig. 6b) trains every model five times and shows the standard deviation between the
trainings; there it was larger than the differences between models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path, write_csv
from promptseg.metrics.statistics import Spread, spread
from promptseg.parsing import parse_json
from promptseg.provenance import DISCLAIMER
from promptseg.train.pages import number, table

__all__ = ["SEED_FILES", "write_seeds"]

SEED_FILES = ("seeds.csv", "seeds.md")
"""What is written about all seeds."""

_COLUMNS = ("seed", "of", "name", "objects", "patients", "before", "after", "difference", "verdict")


class _Result(NamedTuple):
    """DSC of one kind of prompts, or of a class, before and after one training."""

    seed: int
    of: str
    name: str
    objects: int
    patients: int
    before: float
    after: float
    difference: float
    verdict: str


def write_seeds(folder: Path, trainings: Mapping[int, Path]) -> tuple[str, ...]:
    """Write seeds.csv, a line per training and kind of prompt or class, and seeds.md.

    Args:
        folder: they go to.
        trainings: folder of each finished training by its seed.

    Returns:
        The means with their standard deviations between trainings, in lines.

    Raises:
        InputError: a training without a report.
        OutputError: the folder cannot be written.
    """
    results = [found for seed, one in trainings.items() for found in _results(seed, one)]
    rows = [[_cell(value) for value in result] for result in results]
    write_csv(folder / SEED_FILES[0], _COLUMNS, rows)
    groups: dict[tuple[str, str], list[_Result]] = {}
    for result in results:
        groups.setdefault((result.of, result.name), []).append(result)
    verdicts = {result.seed: result.verdict for result in results}
    with atomic_path(folder / SEED_FILES[1]) as path:
        path.write_text("\n\n".join(_paragraphs(groups, verdicts)) + "\n", encoding="utf-8")
    return tuple(
        f"{name}: DSC {_of(each, 'after')} over {len(each)} seeds "
        f"(before {number(_of(each, 'before').mean)})"
        for (_, name), each in groups.items()
    )


def _results(seed: int, folder: Path) -> Iterator[_Result]:
    path = folder / "report.json"
    try:
        verdict = parse_json(path.read_text(encoding="utf-8"))["verdict"]
        groups = {"prompt": verdict["comparisons"]}
        if verdict["classes"]:
            groups = {"class": [{**c, "prompt": n} for n, (c, *_) in verdict["classes"].items()]}
            groups["all classes"] = verdict["comparisons"]
        for of, comparisons in groups.items():
            for one in comparisons:
                yield _result(seed, of, one, str(verdict["outcome"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("the report of a training", f"{path} ({error})") from None


def _result(seed: int, of: str, said: Mapping[str, Any], verdict: str) -> _Result:
    before, after, difference = (
        math.nan if said[k] is None else float(said[k]) for k in ("before", "after", "difference")
    )
    return _Result(
        seed=seed,
        of=of,
        name=str(said["prompt"]),
        objects=int(said["objects"]),
        patients=int(said["patients"]),
        before=before,
        after=after,
        difference=difference,
        verdict=verdict,
    )


def _paragraphs(
    groups: Mapping[tuple[str, str], list[_Result]], verdicts: Mapping[int, str]
) -> Iterator[str]:
    yield f"# {len(verdicts)} trainings that differ in their seed"
    yield f"{DISCLAIMER[0].upper()}{DISCLAIMER[1:]}."
    head = ["", "objects", "patients", "before", "after", "lowest", "highest", "difference"]
    body = []
    for (_, name), each in groups.items():
        before, after, gained = (_of(each, k) for k in ("before", "after", "difference"))
        counts = (each[0].objects, each[0].patients)
        extremes = number(after.low), number(after.high)
        body.append([name, *counts, before, after, *extremes, gained])
    yield table(head, body)
    yield (
        "Mean DSC of each training on the same held-out images; ± is the standard deviation between "
        "trainings (n - 1). It says how much is chance of the order and of the first weights, and "
        "nothing about other patients: intervals over these are in the report of each training."
    )
    lines = (f"- [seed {s}](seed-{s}/report.md): {word}" for s, word in verdicts.items())
    yield "\n".join(lines)


def _of(results: list[_Result], name: str) -> Spread:
    return spread(np.array([getattr(result, name) for result in results], float))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
