"""The worst masks, and the pictures of them that a report may show."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from promptseg.evaluate.report.pictures import picture_address
from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Results, Row
from promptseg.evaluate.report.tables import slug

__all__ = ["FOLDER", "Failure", "failures", "picture_name", "worst"]

FOLDER = "failures"
_DSC = NAMES.index("dsc")


class Failure(NamedTuple):
    """A mask among the worst.

    Attributes:
        row: its line of rows.csv.
        picture: a PNG as a data address; empty if none may be shown.
        remark: why there is no picture; else empty.
    """

    row: Row
    picture: str
    remark: str


class Scored(Protocol):
    """The facts of a scored mask that name its picture; both kinds of rows have them."""

    @property
    def model(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def setting(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def case(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def place(self) -> tuple[str, str, str, str, str]: ...


def picture_name(row: Scored) -> str:
    """Return the file name of a mask's picture in the folder `failures` of the results; unique and
    portable.
    """
    identity = (row.model, row.prompt, row.setting, row.dataset, row.target, *row.place)
    text = "\n".join((*identity, str(row.step)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{slug(row.model)[:30]}_{slug(row.case)[:40]}_{digest}.png"


def worst(rows: Sequence[Row], count: int) -> list[Row]:
    """Return the masks of lowest DSC, one per case and target; masks without a value come first.

    Of masks alike the first in the file is taken.

    Args:
        rows: of one model, section and step.
        count: wanted.
    """
    lowest: dict[tuple[str, ...], tuple[float, int]] = {}
    for i, row in enumerate(rows):
        value = row.scores[_DSC]
        key = (row.dataset, row.target, row.case)
        entry = (-math.inf if math.isnan(value) else value, i)
        lowest[key] = min(lowest.get(key, entry), entry)
    return [rows[i] for _, i in heapq.nsmallest(count, lowest.values())]


def failures(
    results: Results, rows: Sequence[Row], images: bool, publish: bool = False
) -> list[Failure]:
    """Return the given masks with their pictures.

    Args:
        results: whose folder holds the pictures.
        rows: of the masks.
        images: whether pictures are shown at all.
        publish: only those of data sets whose licence is known to let them be published.
    """
    allowed = {
        str(d.get("name"))
        for d in results.listed("datasets")
        if d.get("may_publish_images") is True
    }
    return [
        _failure(results.folder, row, images, not publish or row.dataset in allowed) for row in rows
    ]


def _failure(folder: Path, row: Row, images: bool, allowed: bool) -> Failure:
    name = picture_name(row)
    path = folder / FOLDER / name
    if not path.is_file():
        return Failure(row, "", "no picture was kept" if path.parent.exists() else "")
    if not images:
        return Failure(row, "", f"pictures were not asked for; see {FOLDER}/{name}")
    if not allowed:
        return Failure(row, "", f"not known to be free to publish; see {FOLDER}/{name}")
    try:
        return Failure(row, picture_address(path), "")
    except (OSError, ValueError) as error:
        return Failure(row, "", f"{FOLDER}/{name} cannot be read ({type(error).__name__})")
