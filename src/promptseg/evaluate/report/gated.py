"""Table of cgF1 out of the rows of prompts by words; see `promptseg.metrics.gated`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Row
from promptseg.evaluate.report.tables import Table
from promptseg.evaluate.words import ABSENT, INSTANCE, TEXT
from promptseg.metrics.gated import Asked, GatedF1, gated_f1

__all__ = ["asked_in", "gated_table"]

_IOU = NAMES.index("iou")
_HEAD = (
    "Protocol",
    "Model",
    "Data set",
    "Phrases",
    "Of nothing",
    "pmF1",
    "MCC",
    "cgF1",
    "0.5",
    "0.75",
)
_CAPTION = (
    "Words, in percent but for MCC: pmF1, F1 of the instances of phrases that mean something, mean "
    "over IoU from 0.5 to 0.95; MCC, Matthews' correlation of there being something with something "
    "being found; cgF1, their product, also at one IoU (Carion et al., SAM 3, 2025). What counts has "
    "a score above the threshold; in videos an object is one through all frames."
)

_Key = tuple[str, str, str]
_Place = tuple[str, str, str, str]


def gated_table(rows: Sequence[Row]) -> Table | None:
    """Return the table, a line for each protocol, model and data set; None without instances.

    Args:
        rows: of a run with `--prompt text --instances`; without `--absent` there is no correlation.
    """
    body = []
    for (protocol, model, dataset), phrases in asked_in(rows).items():
        found = gated_f1(phrases)
        if found.there:
            counts = [f"{found.there}", f"{found.absent}"]
            body.append([protocol, model, dataset, *counts, *_cells(found)])
    return Table(_CAPTION, list(_HEAD), body, words=3) if body else None


def asked_in(rows: Sequence[Row]) -> dict[_Key, list[Asked]]:
    """Return what each phrase found, by protocol, model and data set, where instances were counted."""
    counted = {_key(row) for row in rows if row.prompt == INSTANCE}
    found: dict[_Key, dict[_Place, int]] = defaultdict(dict)
    objects: dict[tuple[_Key, _Place], dict[str, list[float]]] = defaultdict(dict)
    for row in rows:
        key, place = _key(row), _place(row)
        if key not in counted:
            continue
        if row.prompt in (TEXT, ABSENT) and row.instances:
            found[key][place] = int(row.instances)
        elif row.prompt == INSTANCE:
            sums = objects[key, place].setdefault(row.object, [0.0, 0.0])
            both, either = _sizes(row)
            sums[0] += both
            sums[1] += either
    return {
        key: [
            Asked(
                tuple(both / either if either else 0.0 for both, either in own.values()),
                sum(1 for _, either in own.values() if either),
                count,
            )
            for place, count in places.items()
            for own in [objects.get((key, place), {})]
        ]
        for key, places in found.items()
    }


def _cells(found: GatedF1) -> list[str]:
    if not found.absent:
        return [f"{100 * found.localisation:.1f}", *["n/a"] * 4]
    gated = [found.score, found.at(0.5), found.at(0.75)]
    return [
        f"{100 * found.localisation:.1f}",
        f"{found.mcc:.3f}",
        *(f"{100 * value:.1f}" for value in gated),
    ]


def _key(row: Row) -> _Key:
    return row.protocol, row.model, row.dataset


def _place(row: Row) -> _Place:
    """What a phrase was asked of: a 2D image, a slice, a volume, or all of a video under "video"."""
    frame = "" if row.protocol == "video" else row.frame
    return row.case, row.slice, frame, row.target


def _sizes(row: Row) -> tuple[float, float]:
    """Pixels or voxels in both masks, and in either."""
    total = float(row.truth_size or 0) + float(row.found_size or 0)
    iou = row.scores[_IOU]
    if not total or not iou > 0:
        return 0.0, total
    return iou * total / (1 + iou), total / (1 + iou)
