"""Fewer objects, fewer cases: the largest objects, the first cases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from promptseg.datasets.dataset import Dataset
from promptseg.errors import InputError
from promptseg.geometry import Axis, axis_position
from promptseg.image import Segment, Segmentation

__all__ = ["choose_cases", "limit_cases", "limit_objects", "size_on"]


def limit_objects(
    truth: Segmentation,
    max_objects: int | None,
    slice_index: int | None = None,
    axis: Axis = "z",
) -> Segmentation:
    """Keep the largest objects, in their order; of equal ones those of the lower label.

    Args:
        truth: the objects.
        max_objects: how many to keep; None keeps all.
        slice_index: counts the pixels of this slice (or frame) alone and leaves out what is not on
            it; None counts all voxels.
        axis: of the slice.

    Raises:
        InputError: fewer than 1.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Geometry, Segment, Segmentation
        >>> from promptseg.datasets import limit_objects
        >>> small, large = np.zeros((2, 4, 4), bool)
        >>> small[0, 0], large[1:3] = True, True
        >>> objects = [Segment.from_mask("small", 1, small), Segment.from_mask("large", 2, large)]
        >>> truth = Segmentation(objects, Geometry.pixels((4, 4)))
        >>> [segment.name for segment in limit_objects(truth, 1).segments]
        ['large']
    """
    _require_positive(max_objects, "objects")
    sizes = {id(s): size_on(s, slice_index, axis) for s in truth.segments}
    there = [s for s in truth.segments if sizes[id(s)]]
    largest = sorted(there, key=lambda s: (-sizes[id(s)], s.label))[:max_objects]
    kept = {id(s) for s in largest}
    return replace(truth, segments=[s for s in there if id(s) in kept])


def limit_cases(dataset: Dataset, max_cases: int | None) -> Dataset:
    """Return a dataset that has only its first cases.

    Args:
        dataset: the dataset, which stays as it is.
        max_cases: how many cases to keep, in the dataset's order; None keeps all.

    Returns:
        A copy with a note of how many cases there were; the dataset itself if nothing is left out.

    Raises:
        InputError: `max_cases` is below 1.

    Examples:
        >>> from promptseg.datasets import limit_cases, open_datasets
        >>> (dataset,) = open_datasets("pictures/us")
        >>> [case.name for case in limit_cases(dataset, 1).cases]
        ['a']
    """
    _require_positive(max_cases, "cases")
    if max_cases is None or max_cases >= len(dataset.cases):
        return dataset
    note = f"the first {max_cases} of {len(dataset.cases)} cases"
    return replace(dataset, cases=dataset.cases[:max_cases], notes=[*dataset.notes, note])


def choose_cases(dataset: Dataset, chosen: Collection[tuple[str, str]]) -> Dataset:
    """Return a dataset that has only the cases of a list; a note counts how many these are.

    Args:
        dataset: the dataset, which stays as it is.
        chosen: pairs (name of the dataset, name of the case). Pairs of other datasets, and of cases
            that are not there, are passed over, so that one list serves several datasets.

    Returns:
        A copy with these cases in the dataset's order; without any where none fits.

    Examples:
        >>> from promptseg.datasets import choose_cases, open_datasets
        >>> (dataset,) = open_datasets("pictures/us")
        >>> [case.name for case in choose_cases(dataset, {("us", "a")}).cases]
        ['a']
    """
    cases = [case for case in dataset.cases if (dataset.name, case.name) in chosen]
    note = f"{len(cases)} of {len(dataset.cases)} cases, as listed"
    return replace(dataset, cases=cases, notes=[*dataset.notes, note])


def size_on(segment: Segment, slice_index: int | None = None, axis: Axis = "z") -> int:
    """Count the voxels of an object, all of them or those on one slice."""
    if slice_index is None or segment.crop.ndim == 2:
        return int(segment.crop.sum())
    position = axis_position(axis)
    place = segment.region[position]
    if not place.start <= slice_index < place.stop:
        return 0
    return int(segment.crop.take(slice_index - place.start, axis=position).sum())


def _require_positive(count: int | None, what: str) -> None:
    if count is not None and count < 1:
        raise InputError(
            f"a limit of at least 1 of the {what}", str(count), f"correct --max-{what}"
        )
