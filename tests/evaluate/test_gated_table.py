"""cgF1 out of rows: what is one phrase on a slice, and what is one object through a video."""

from __future__ import annotations

import math
from typing import Any

import pytest

from promptseg.evaluate.report.gated import asked_in, gated_table
from promptseg.evaluate.report.quantities import NAMES
from promptseg.evaluate.report.results import Row
from promptseg.metrics.gated import Asked


def row(prompt: str, iou: float = math.nan, **changes: Any) -> Row:
    words = dict.fromkeys(
        name for name in Row._fields if name not in ("step", "scores", "predicted", "train_size")
    )
    scores = tuple(iou if name == "iou" else math.nan for name in NAMES)
    said: dict[str, Any] = {
        **dict.fromkeys(words, ""),
        "model": "m",
        "dataset": "d",
        "protocol": "2d",
        "case": "c",
        "target": "cell",
        "prompt": prompt,
        "object": changes.get("target", "cell"),
    }
    numbers = {"step": 0, "scores": scores, "predicted": math.nan, "train_size": math.nan}
    return Row(**{**said, **numbers, **changes})


def test_every_slice_and_phrase_is_asked_by_itself() -> None:
    rows = [
        row("text", slice="3", instances="2"),
        row("text instance", 0.6, slice="3", object="cell 1", truth_size="16", found_size="16"),
        row("text instance", 0.0, slice="3", object="cell 2", truth_size="9", found_size="0"),
        row("text", slice="4", instances="0"),
        row("text instance", 0.0, slice="4", object="cell 1", truth_size="5", found_size="0"),
        row("absent text", slice="4", target="polyp", instances="1"),
        row("synonym text", slice="4", instances="7"),
        row("text", protocol="3d", instances="1"),  # without instances
    ]
    (asked,) = asked_in(rows).values()
    assert asked == [
        Asked((pytest.approx(0.6), 0.0), 2, 2),  # type: ignore[arg-type]
        Asked((0.0,), 1, 0),
        Asked((), 0, 1),
    ]
    table = gated_table(rows)
    assert table is not None
    assert table.body[0][:5] == ["2d", "m", "d", "2", "1"]


def test_an_object_of_a_video_is_one_through_all_frames() -> None:
    video = {"protocol": "video", "truth_size": "10", "object": "cell 1"}
    rows = [
        *(row("text", protocol="video", frame=f"{k}", instances="1") for k in range(3)),
        row("text instance", 1.0, frame="0", found_size="10", **video),
        row("text instance", 0.0, frame="1", found_size="0", **video),
        row("text instance", 1.0, frame="2", **{**video, "truth_size": "0"}, found_size="0"),
    ]
    (asked,) = asked_in(rows).values()
    assert asked == [Asked((pytest.approx(0.5),), 1, 1)]  # type: ignore[arg-type]


def test_there_is_no_correlation_where_nothing_absent_was_asked_for() -> None:
    rows = [
        row("text", instances="1"),
        row("text instance", 0.97, truth_size="10", found_size="10"),
    ]
    table = gated_table(rows)
    assert table is not None
    assert table.body[0][5:] == ["100.0", "n/a", "n/a", "n/a", "n/a"]
    assert gated_table([row("text", instances="1")]) is None
