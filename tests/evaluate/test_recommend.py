"""From rows to evidence, and the cross-check, on numbers done by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from promptseg.errors import InputError
from promptseg.evaluate.recommend import Score, cross_check, evidence_of, matched, read_results
from promptseg.models.evidence import evidence, evidence_to_csv

LITE, MOBILE = "lite-medsam", "mobile-sam"
COLUMNS = [
    "model",
    "dataset",
    "modality",
    "kind",
    "protocol",
    "prompt",
    "case",
    "patient",
    "target",
    "object",
    "slice",
    "frame",
    "step",
    "setting",
    "dsc",
    "nsd",
    "iou",
    "hd95",
    "asd",
    "volume_difference",
    "predicted_iou",
    "truth_size",
    "found_size",
    "seconds",
    "note",
]


def score(model: str, dataset: str, modality: str, unit: str, dsc: float) -> Score:
    return Score(model, dataset, modality, "box", "2d", "case", unit, dsc)


def results(folder: Path, rows: list[dict[str, object]]) -> Path:
    """A results folder of `promptseg evaluate`."""
    folder.mkdir()
    models = [{"name": name, "weights_sha256": name[0] * 64} for name in (LITE, MOBILE)]
    run = {"created": "2026-12-01T10:00:00+00:00", "models": models}
    (folder / "run.json").write_text(json.dumps(run))
    base = {"dataset": "d", "modality": "CT", "case": "c", "target": "t", "object": "t"}
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({**base, "model": MOBILE, **row} for row in rows)
    return folder


def test_first_prompts_and_last_corrections_are_read(tmp_path: Path) -> None:
    corrected = {"protocol": "interactive-2d", "prompt": "box+corrections", "slice": 3}
    plain = {"protocol": "2d", "prompt": "point", "step": 0}
    folder = results(
        tmp_path / "r",
        [
            *({**corrected, "step": step, "dsc": 0.5 + step / 10} for step in range(4)),
            {**plain, "slice": 1, "dsc": 0.25},
            {**plain, "slice": 2, "dsc": "nan"},
            {**plain, "slice": 3, "dsc": ""},
            {**plain, "setting": "margin=1", "dsc": 0.1},
            {**plain, "model": "another", "dsc": 0.1},
            {**plain, "protocol": "predictions", "dsc": 0.1},
            {**plain, "protocol": "video", "dsc": 0.1},
            {"protocol": "3d", "prompt": "box", "dsc": 0.75},
        ],
    )
    found = read_results(folder)
    assert found.date == "2026-12-01"
    assert found.weights == {LITE: "l" * 64, MOBILE: "m" * 64}
    assert [(s.prompt, s.protocol, round(s.dsc, 6)) for s in found.scores] == [
        ("box", "2d", 0.5),
        ("box+corrections", "2d", 0.8),
        ("point", "2d", 0.25),
        ("box", "3d", 0.75),
    ]


@pytest.mark.parametrize("missing", ["rows.csv", "run.json"])
def test_a_folder_without_results_is_refused(missing: str, tmp_path: Path) -> None:
    folder = results(tmp_path / "r", [])
    (folder / missing).unlink()
    with pytest.raises(InputError, match="the results of promptseg evaluate"):
        read_results(folder)
    (folder / missing).write_text("[]")
    (folder / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="the results of promptseg evaluate"):
        read_results(folder)


def test_models_are_compared_on_the_objects_all_have() -> None:
    scores = [
        score(LITE, "a", "CT", "1", 0.5),
        score(LITE, "a", "CT", "2", 0.5),
        score(MOBILE, "a", "CT", "2", 0.6),
        score(MOBILE, "a", "CT", "2", 0.9),  # measured twice: the first counts
        score(MOBILE, "a", "CT", "3", 0.7),
    ]
    assert matched(scores) == [scores[1], scores[2]]
    alone = [s._replace(prompt="point") for s in scores if s.model == LITE]
    assert matched([*scores, *alone]) == [scores[1], scores[2], *alone]


def test_evidence_is_the_mean_of_the_datasets_with_quartiles_of_the_objects() -> None:
    large = [score(LITE, "a", "CT", str(k), 0.2) for k in range(4)]
    rows = evidence_of([*large, score(LITE, "b", "MR", "1", 1.0)], {LITE: "f" * 64}, "r", "2026")
    assert [(r.modality, r.datasets, r.objects, r.mean_dsc) for r in rows] == [
        ("CT", 1, 4, pytest.approx(0.2)),
        ("MR", 1, 1, 1.0),
        ("any", 2, 5, pytest.approx(0.6)),
    ]
    pooled = rows[-1]
    assert (pooled.q1, pooled.median, pooled.q3) == (0.2, 0.2, 0.2)
    assert (pooled.weights_sha256, pooled.source, pooled.date) == ("f" * 64, "r", "2026")


def test_a_dataset_is_scored_with_the_choice_of_the_others() -> None:
    dsc = {  # lite is better on XR, mobile on CT and pooled
        ("x1", "XR"): (0.9, 0.7),
        ("x2", "XR"): (0.8, 0.6),
        ("c1", "CT"): (0.2, 0.7),
        ("c2", "CT"): (0.3, 0.9),
        ("u", "US"): (0.5, 0.4),
    }
    scores = [
        score(model, dataset, modality, "1", value)
        for (dataset, modality), values in dsc.items()
        for model, value in zip((LITE, MOBILE), values, strict=True)
    ]
    check = cross_check(scores, "box", "2d")
    assert check.chosen == {"x1": LITE, "x2": LITE, "c1": MOBILE, "c2": MOBILE, "u": MOBILE}
    assert check.auto == pytest.approx((0.9 + 0.8 + 0.7 + 0.9 + 0.4) / 5)
    assert check.single == pytest.approx({LITE: 2.7 / 5, MOBILE: 3.3 / 5})
    assert check.oracle == pytest.approx((0.9 + 0.8 + 0.7 + 0.9 + 0.5) / 5)
    assert check.pays
    with pytest.raises(InputError, match="two models and two datasets"):
        cross_check(scores[:2], "box", "2d")


@pytest.mark.data
def test_the_committed_table_comes_out_of_the_committed_results(data_root: Path) -> None:
    from evidence import committed_scores

    kept = matched(committed_scores())
    weights = {row.model: row.weights_sha256 for row in evidence()}
    made = [row for how in ("2d", "3d") for row in evidence_of(_of(kept, how), weights)]
    facts = [replace(row, source="", date="") for row in evidence()]
    assert evidence_to_csv(made) == evidence_to_csv(facts)


def _of(scores: list[Score], protocol: str) -> list[Score]:
    return [s for s in scores if s.protocol == protocol]
