"""Rows of images that a model was trained on: named, and left out of the statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from promptseg.errors import InputError
from promptseg.evaluate.report.results import Results, Row

__all__ = ["set_apart"]


def set_apart(results: Results, count_trained: bool = False) -> Results:
    """Leave out the images that a model was trained on, for all models alike.

    They are left out for models that have not seen them too, so that all are compared on the same ones.

    Args:
        results: as they were read.
        count_trained: leave the rows in, and only say so.

    Raises:
        InputError: there is no other image.
    """
    seen = {(row.dataset, row.case) for row in results.rows if row.trained_on}
    if not seen:
        return results
    kept = [row for row in results.rows if (row.dataset, row.case) not in seen]
    if not kept and not count_trained:
        raise InputError(
            "an image that no model under test was trained on",
            f"{len(seen)} images in {results.folder / 'rows.csv'}, all of them trained on",
            "evaluate other images, or count these all the same with --count-trained",
        )
    alarms = [*results.alarms, *_alarms(results, count_trained)]
    if count_trained:
        return replace(results, alarms=alarms)
    return replace(results, rows=kept, alarms=alarms)


def _alarms(results: Results, counted: bool) -> Iterator[str]:
    """A line for every model that has seen images."""
    for model in results.models:
        own = [row for row in results.rows if row.model == model]
        known = [row for row in own if row.trained_on]
        if not known:
            continue
        what = (
            f"{model} was trained on {_images(known)} of these {_images(own)} images "
            f"({len(known)} of {len(own)} rows)"
        )
        if counted:
            rest = "counted, as asked for: these figures do not say what it does on new images"
        else:
            rest = "left out of every figure below, for every model; --count-trained counts them"
        yield f"{what}. They are {rest}."


def _images(rows: Sequence[Row]) -> int:
    return len({(row.dataset, row.case) for row in rows})
