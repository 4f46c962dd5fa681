"""Table of the frames of videos that were scored: the prompted ones, and those behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from promptseg.evaluate.report.blocks import Section
from promptseg.evaluate.report.quantities import NAMES, QUANTITIES
from promptseg.evaluate.report.results import Row
from promptseg.evaluate.report.tables import Table, score
from promptseg.evaluate.rows import PROMPTED

__all__ = ["frames_table"]

_DSC = QUANTITIES["dsc"]
_AT = NAMES.index("dsc")
_HEAD = (
    *("Prompt", "Model", "Data set", "Clips", "Frames scored"),
    *("Masks where prompted", "Mean DSC there", "Masks behind", "Mean DSC behind"),
)
_CAPTION = (
    "Videos: only frames that experts have annotated are scored, from the prompted one on. An object's "
    "prompted frame is an answer to the prompt, the frames behind it are propagation; every other "
    "table counts both. Mean DSC in percent, masks counting alike."
)


def frames_table(rows: Sequence[Row]) -> Table | None:
    """Return the frames that were scored, by prompt, model and data set; None without a video.

    Args:
        rows: of one run, those of other images among them.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.protocol == "video" and row.frame:
            title = Section(row.protocol, row.prompt, row.setting).title
            groups.setdefault((title, row.model, row.dataset), []).append(row)
    body = []
    for key, own in groups.items():
        clips, frames = {r.case for r in own}, {(r.case, r.frame) for r in own}
        cells = [f"{len(clips)}", f"{len(frames)}"]
        for prompted in (True, False):
            some = np.array([r.scores[_AT] for r in own if (r.note == PROMPTED) is prompted])
            some = some[~np.isnan(some)]
            cells += [f"{len(some)}", score(float(some.mean()) if len(some) else np.nan, _DSC)]
        body.append([*key, *cells])
    return Table(_CAPTION, _HEAD, body, words=3) if body else None
