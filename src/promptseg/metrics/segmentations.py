"""Score a whole segmentation, object by object."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.image import Segment, Segmentation
from promptseg.metrics.masks import array_spacing
from promptseg.metrics.rules import Rules
from promptseg.metrics.scores import METRICS, Metric, Scores, score

__all__ = ["BACKGROUND", "outside_of", "score_segmentations"]

BACKGROUND = "background"


def score_segmentations(
    truth: Segmentation,
    found: Segmentation,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    which: Collection[Metric] = METRICS,
) -> dict[str, Scores]:
    """Score the objects of a segmentation against those of the same name in the truth.

    Objects may overlap, as each is scored by itself. An object that is in one of the two segmentations
    alone is scored against an empty mask.

    Args:
        truth: the objects as they are.
        found: the objects as they were segmented, on the same grid.
        rules: as for `score`; the tolerance of a target is looked up by its name.
        which: as for `score`.

    Returns:
        Scores by name: the truth's objects in their order, what else was found and, where the rules ask
        for it, "background": everything outside all objects.

    Raises:
        GeometryError: the grids differ (in shape or unit, or a voxel lies beside its own by
            more than a thousandth of a voxel).
        InputError: a name occurs twice in one segmentation, or is "background" where that is scored.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Geometry, Segment, Segmentation
        >>> from promptseg.metrics import score_segmentations
        >>> grid = Geometry.from_spacing((4, 8, 8))
        >>> mask = np.zeros((4, 8, 8), bool)
        >>> mask[1:3, 2:6, 2:6] = True
        >>> truth = Segmentation([Segment.from_mask("liver", 1, mask)], grid)
        >>> found = Segmentation([Segment.from_mask("liver", 1, mask)], grid)
        >>> score_segmentations(truth, found)["liver"].dsc
        1.0
    """
    if not truth.geometry.agrees_with(found.geometry):
        raise GeometryError(
            "two segmentations on one grid",
            f"{_grid(truth)} and {_grid(found)}",
            "bring the found one to the grid of the truth, with nearest neighbours",
        )
    wanted, given = _by_name(truth, "truth", rules), _by_name(found, "found", rules)
    spacing = array_spacing(truth.geometry)
    scores = {}
    for name in dict.fromkeys([*wanted, *given]):
        masks = _common_crops(wanted.get(name), given.get(name))
        scores[name] = score(*masks, spacing, rules.for_target(name), which)
    if rules.background:
        shape = truth.geometry.shape
        outside = outside_of(truth.segments, shape), outside_of(found.segments, shape)
        scores[BACKGROUND] = score(*outside, spacing, rules.for_target(BACKGROUND), which)
    return scores


def _by_name(segmentation: Segmentation, side: str, rules: Rules) -> dict[str, Segment]:
    names = [segment.name for segment in segmentation.segments]
    taken = [BACKGROUND] if rules.background else []
    for name in names:
        if name in taken:
            raise InputError(
                f"one object per name in the {side} segmentation",
                f"{name!r} twice",
                "give every object a name of its own",
            )
        taken.append(name)
    return dict(zip(names, segmentation.segments, strict=True))


def _common_crops(
    truth: Segment | None, found: Segment | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks on the smallest box that holds them; what one side lacks is empty."""
    regions = [s.region for s in (truth, found) if s is not None]
    box = [
        slice(min(r.start for r in axis), max(r.stop for r in axis))
        for axis in zip(*regions, strict=True)
    ]
    crops = []
    for segment in (truth, found):
        crop = np.zeros([side.stop - side.start for side in box], dtype=bool)
        if segment is not None:
            place = tuple(
                slice(r.start - side.start, r.stop - side.start)
                for r, side in zip(segment.region, box, strict=True)
            )
            crop[place] = segment.crop
        crops.append(crop)
    return crops[0], crops[1]


def outside_of(objects: Iterable[Segment], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of everything outside all objects, on a grid of `shape`.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Segment
        >>> from promptseg.metrics import outside_of
        >>> mask = np.zeros((4, 4), bool)
        >>> mask[1:3, 1:3] = True
        >>> int(outside_of([Segment.from_mask("lesion", 1, mask)], (4, 4)).sum())
        12
    """
    outside = np.ones(shape, dtype=bool)
    for segment in objects:
        outside[segment.region] &= ~segment.crop
    return outside


def _grid(segmentation: Segmentation) -> str:
    geometry = segmentation.geometry
    spacing = " x ".join(f"{length:g}" for length in geometry.spacing)
    return f"{geometry.shape} of {spacing} {geometry.unit} at {geometry.origin.round(3).tolist()}"
