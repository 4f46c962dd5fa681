"""Frames of videos in the report: how many were scored, and propagation apart from the prompt."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from evaluate.made_results import COLUMNS, made_run, write_results
from promptseg.evaluate.report import ReportOptions, write_report
from promptseg.jobs.evaluate import Evaluated

# frames 3 and 10 of one clip of twelve have masks, frames 0, 1 and 2 of another one
DSC = {("a", 3): 0.9, ("a", 10): 0.3, ("b", 0): 0.8, ("b", 1): 0.6, ("b", 2): 0.0}
FIRST = {("a", 3), ("b", 0)}


def rows(**changes: Any) -> list[dict[str, Any]]:
    facts = {"model": "m", "dataset": "cines", "modality": "MR", "kind": "video", "step": 0}
    facts |= {"protocol": "video", "prompt": "box", "target": "heart", "object": "heart"}
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            **facts,
            "case": case,
            "patient": case,
            "frame": frame,
            "dsc": dsc,
            "nsd": dsc,
            "iou": dsc,
            "note": "prompted" if (case, frame) in FIRST else "",
            **changes,
        }
        for (case, frame), dsc in DSC.items()
    ]


def test_frames_are_counted_and_the_prompted_ones_set_apart(tmp_path: Path) -> None:
    folder = write_results(tmp_path, [*rows(), *rows(target="lung", object="lung")], made_run())
    page = write_report(folder, ReportOptions()).read_text(encoding="utf-8")
    assert "Frames scored" in page
    with (folder / "tables" / "frames.csv").open(newline="", encoding="utf-8") as stream:
        (told,) = csv.DictReader(stream)
    assert (told["Clips"], told["Frames scored"]) == ("2", "5")
    assert (told["Masks where prompted"], told["Masks behind"]) == ("4", "6")
    there, behind = float(told["Mean DSC there"]), float(told["Mean DSC behind"])
    assert there == pytest.approx(100 * (0.9 + 0.8) / 2)
    assert behind == pytest.approx(100 * (0.3 + 0.6 + 0.0) / 3)
    said = Evaluated(folder, folder / "report.html", 0, 2, []).summary()
    assert (
        "m video, box on cines: 5 frames of 2 clips scored; "
        "mean DSC behind the prompted frame 30.0 % (6 masks)"
    ) in said


def test_without_videos_there_is_no_such_table(tmp_path: Path) -> None:
    folder = write_results(tmp_path, rows(protocol="2d", note=""))
    write_report(folder, ReportOptions())
    assert not (folder / "tables" / "frames.csv").exists()
