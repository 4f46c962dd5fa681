"""Score one found mask against the truth."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import InputError
from promptseg.image import bounding_region
from promptseg.metrics.distances import surface_distances
from promptseg.metrics.masks import as_mask, as_spacing, require_same_shape
from promptseg.metrics.overlap import Counts, count
from promptseg.metrics.rules import Rules
from promptseg.metrics.surface import surface_of

__all__ = ["METRICS", "Metric", "Scores", "score"]

Metric = Literal["dsc", "iou", "nsd", "hd95", "asd", "volume_difference"]
METRICS: tuple[Metric, ...] = get_args(Metric)

_SURFACE = {"nsd", "hd95", "asd"}
_WIDE = 20  # voxels of tolerance


@dataclass(frozen=True)
class Scores:
    """Scores of a found mask against the truth; NaN where a metric was not asked for or has no value.

    Attributes:
        dsc: Dice similarity coefficient, 0 to 1.
        iou: intersection over union, 0 to 1.
        nsd: normalised surface distance at the tolerance of the rules, 0 to 1.
        hd95: the larger of the two 95th percentiles of the surface distances, mm or pixels.
        asd: average symmetric surface distance, mm or pixels.
        volume_difference: (found - truth) / truth; negative where too little was found.
        asd_to_found: average distance from the truth's surface to the found one; `asd` is the average
            of this and the next, weighted by the size of the surface each starts from.
        asd_to_truth: average distance from the found surface to the truth's.
        volume_difference_ml: found - truth in millilitres; NaN for a 2D image or without spacing.
        truth_size: pixels or voxels of the truth.
        found_size: pixels or voxels of the found mask.
        unit: "mm" or "pixel", of every distance and of the tolerance.
        note: "empty prediction", "empty truth" or "both empty", which explain the values; that the
            tolerance is wide beside the voxels, as one in mm is in microscopy; or "".

    Examples:
        >>> import numpy as np
        >>> from promptseg.metrics import score
        >>> scores = score(np.eye(4, dtype=bool), np.zeros((4, 4), bool))
        >>> (scores.dsc, scores.hd95, scores.note)
        (0.0, inf, 'empty prediction')
    """

    dsc: float = math.nan
    iou: float = math.nan
    nsd: float = math.nan
    hd95: float = math.nan
    asd: float = math.nan
    volume_difference: float = math.nan
    asd_to_found: float = math.nan
    asd_to_truth: float = math.nan
    volume_difference_ml: float = math.nan
    truth_size: int = 0
    found_size: int = 0
    unit: Literal["mm", "pixel"] = "pixel"
    note: str = ""

    def metrics(self) -> dict[Metric, float]:
        """Return the metrics alone, by name, in the order of `METRICS`."""
        return {name: getattr(self, name) for name in METRICS}


def score(
    truth: ArrayLike,
    found: ArrayLike,
    spacing: Sequence[float] | None = None,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    which: Collection[Metric] = METRICS,
) -> Scores:
    """Score a found mask against the truth.

    Memory: a byte per pixel or voxel, and four per one of the box around both masks.

    Args:
        truth: (y, x) or (z, y, x) mask: bool, or numbers that are all 0 or 1.
        found: mask of the same shape.
        spacing: side lengths of a pixel or voxel in mm, one per array axis; None counts in pixels.
        rules: the tolerance, and what an empty mask is worth.
        which: the metrics to compute. NSD alone is faster than HD95 or ASD, which need every distance.

    Returns:
        The metrics that were asked for, the sizes of both masks, and the unit of the distances. A note
        says where a rule for empty masks decided.

    Raises:
        InputError: masks that differ in shape, hold NaN or other numbers, or have not 2 or 3 axes; a
            spacing that does not fit or is not above 0; an unknown metric.

    Examples:
        >>> import numpy as np
        >>> from promptseg.metrics import score
        >>> truth, found = np.zeros((2, 30, 40, 40), dtype=bool)
        >>> truth[10:20, 10:30, 10:30] = True
        >>> found[10:20, 10:30, 12:32] = True
        >>> scores = score(truth, found, spacing=(2.5, 0.8, 0.8))
        >>> (round(scores.dsc, 3), round(scores.hd95, 3), scores.unit)
        (0.9, 1.6, 'mm')
    """
    wanted = _wanted(which, rules)
    truth, found = as_mask("truth", truth), as_mask("found", found)
    require_same_shape(truth, found)
    lengths = as_spacing(spacing, truth.ndim)
    in_mm = spacing is not None and rules.unit == "auto"
    if not in_mm:
        lengths = (1.0,) * truth.ndim

    region = bounding_region(truth | found)
    truth, found = truth[region], found[region]
    counts = count(truth, found)
    if not (counts.truth and counts.found):
        values, note = _of_empty(counts, rules)
    else:
        values, note = _of_overlap(counts), ""
        if wanted & _SURFACE:
            values |= _of_surfaces(truth, found, lengths, rules.tolerance, wanted)
    if in_mm and truth.ndim == 3 and "volume_difference" in values:
        difference = counts.found - counts.truth
        values["volume_difference_ml"] = difference * math.prod(lengths) / 1000

    if "nsd" in values and in_mm and not note and rules.tolerance > _WIDE * max(lengths):
        pixels = rules.tolerance / max(lengths)
        note = f"a tolerance of {rules.tolerance:g} mm is {pixels:.3g} voxels: NSD says little"

    # Parts of a metric are named after it.
    kept = {name: value for name, value in values.items() if name.startswith(tuple(wanted))}
    unit: Literal["mm", "pixel"] = "mm" if in_mm else "pixel"
    return Scores(**kept, truth_size=counts.truth, found_size=counts.found, unit=unit, note=note)


def _wanted(which: Collection[Metric], rules: Rules) -> set[str]:
    """The metrics to compute, without those of surfaces where the rules leave them out."""
    if isinstance(which, str) or (unknown := [name for name in which if name not in METRICS]):
        raise InputError(
            f"metrics out of {', '.join(METRICS)}",
            repr(which) if isinstance(which, str) else ", ".join(map(repr, unknown)),
            "give a list of names",
        )
    return {str(name) for name in which if rules.surface or name not in _SURFACE}


def _of_overlap(counts: Counts) -> dict[str, float]:
    return {
        "dsc": counts.dsc,
        "iou": counts.iou,
        "volume_difference": counts.volume_difference,
    }


def _of_surfaces(
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    spacing: tuple[float, ...],
    tolerance: float,
    wanted: set[str],
) -> dict[str, float]:
    """NSD, HD95 and ASD of two masks that are not empty; only what is wanted."""
    borders = surface_of(truth, spacing), surface_of(found, spacing)
    limit = math.inf if wanted & {"hd95", "asd"} else tolerance
    there = surface_distances(borders[0], borders[1], spacing, limit)
    back = surface_distances(borders[1], borders[0], spacing, limit)
    total = there.total + back.total

    values = {"nsd": (there.within(tolerance) + back.within(tolerance)) / total}
    if "hd95" in wanted:
        values["hd95"] = max(there.percentile(95), back.percentile(95))
    if "asd" in wanted:
        values["asd_to_found"], values["asd_to_truth"] = there.mean(), back.mean()
        values["asd"] = (there.mean() * there.total + back.mean() * back.total) / total
    return values


def _of_empty(counts: Counts, rules: Rules) -> tuple[dict[str, float], str]:
    """The metrics by rule where at least one mask is empty, and which one is."""
    if not (counts.truth or counts.found):
        worth = {"one": 1.0, "zero": 0.0, "nan": math.nan}[rules.both_empty]
        values = dict.fromkeys(("dsc", "iou", "nsd"), worth)
        return values | {"volume_difference": 0.0 if worth == 1 else math.nan}, "both empty"
    note = "empty prediction" if counts.truth else "empty truth"
    if rules.one_empty == "nan":
        return {}, note
    values = dict.fromkeys(("dsc", "iou", "nsd"), 0.0)
    values |= dict.fromkeys(("hd95", "asd", "asd_to_found", "asd_to_truth"), math.inf)
    return values | {"volume_difference": -1.0 if counts.truth else math.inf}, note
