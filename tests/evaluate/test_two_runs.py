"""Two runs compared: paired mask by mask, refused where they are not alike, and said in a sentence."""

from __future__ import annotations

import csv
import json
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from evaluate.made_results import made_rows, made_run, write_results
from json_answers import answer
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.evaluate.options import EvaluateOptions
from promptseg.evaluate.two_runs import CompareOptions, compare_runs

Rows = list[dict[str, Any]]


def rows_of(model: str, gain: float = 0.0, patients: int = 8, prompt: str = "box") -> Rows:
    """The boxes of one model on three tasks, moved by a gain that differs from patient to patient."""
    rows = [r for r in made_rows((model,), patients) if r["prompt"] == prompt]
    for row in rows:
        own = gain * (1 + int(row["patient"][1:])) / patients
        row["dsc"] = f"{min(1.0, float(row['dsc']) + own):.6g}"
        row["truth_size"] = 400
    return rows


def run_folder(folder: Path, rows: Rows, **request: Any) -> Path:
    options = json.loads(json.dumps(EvaluateOptions(**request).to_json()))
    datasets = [{"name": n, "sha256": n * 3} for n in ("abdomen", "polyps")]
    run = made_run(request=options, finished="2026-01-02T03:04:05+00:00", datasets=datasets)
    return write_results(folder, rows, run)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    before = run_folder(tmp_path / "before", rows_of("lite-medsam"))
    after = run_folder(tmp_path / "after", rows_of("lite-medsam", gain=0.1))
    return before, after


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_differences_are_those_of_other_code(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare_runs(*runs, tmp_path / "out")
    before, after = (read_csv(folder / "rows.csv") for folder in runs)
    change = np.array(
        [float(b["dsc"]) - float(a["dsc"]) for a, b in zip(before, after, strict=True)]
    )
    patient = np.array([f"{a['dataset']}{a['patient']}" for a in before])
    lines = read_csv(tmp_path / "out" / "comparison.csv")
    (whole,) = (d for d in lines if d["dataset"] == "all" and d["metric"] == "dsc")
    assert float(whole["difference"]) == pytest.approx(change.mean(), abs=1e-5)
    means = [change[patient == p].mean() for p in np.unique(patient)]
    assert float(whole["p"]) == pytest.approx(wilcoxon(means, method="exact").pvalue, rel=1e-4)
    rng = np.random.default_rng(1)
    drawn = [
        np.concatenate([change[patient == p] for p in rng.choice(np.unique(patient), 16)]).mean()
        for _ in range(2000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert float(whole["low"]) == pytest.approx(low, abs=0.003)
    assert float(whole["high"]) == pytest.approx(high, abs=0.003)
    assert (int(whole["masks"]), int(whole["patients"])) == (48, 16)
    pairs = read_csv(tmp_path / "out" / "pairs.csv")
    assert sum(float(p["difference_dsc"]) for p in pairs) == pytest.approx(change.sum(), abs=1e-4)


def test_the_verdict_is_a_sentence(runs: tuple[Path, Path], tmp_path: Path) -> None:
    said = compare_runs(*runs, tmp_path / "out").verdicts
    assert len(said) == 1
    assert said[0].startswith(
        "2d, box: lite-medsam (after) is better than lite-medsam (before): mean DSC +"
    )
    (back,) = compare_runs(*runs[::-1], tmp_path / "back").verdicts
    assert "lite-medsam (before) is worse than lite-medsam (after): mean DSC -" in back
    page = unescape((tmp_path / "out" / "comparison.html").read_text("utf-8"))
    assert page.index(said[0]) < page.index("<table")
    assert "<svg" in page


def test_what_is_the_same_is_not_told_apart(runs: tuple[Path, Path], tmp_path: Path) -> None:
    again = run_folder(tmp_path / "again", rows_of("lite-medsam"))
    (said,) = compare_runs(runs[0], again, tmp_path / "out").verdicts
    assert "cannot be told from" in said
    assert "p = 1." in said
    with pytest.raises(InputError, match="twice"):
        compare_runs(runs[0], runs[0], tmp_path / "twice")


def test_few_patients_are_too_few(tmp_path: Path) -> None:
    few = [
        run_folder(tmp_path / name, rows_of("lite-medsam", gain, patients=2))
        for name, gain in (("a", 0.0), ("b", 0.3))
    ]
    (said,) = compare_runs(few[0], few[1], tmp_path / "out").verdicts
    assert "too few patients" in said


def test_two_models_of_a_run_each_are_a_pair(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a", rows_of("mobile-sam"))
    second = run_folder(tmp_path / "b", rows_of("lite-medsam"))
    (said,) = compare_runs(first, second, tmp_path / "out").verdicts
    assert "lite-medsam is better than mobile-sam" in said
    both = run_folder(tmp_path / "c", rows_of("mobile-sam") + rows_of("lite-medsam"))
    (said,) = compare_runs(first, both, tmp_path / "more").verdicts
    assert "mobile-sam (c) cannot be told from mobile-sam (a)" in said
    with pytest.raises(InputError, match="a model that both runs have"):
        compare_runs(first, both, tmp_path / "x", CompareOptions(model=("lite-medsam",)))


def test_other_options_are_refused_but_for_named_ones(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a", rows_of("lite-medsam"))
    second = run_folder(tmp_path / "b", rows_of("lite-medsam"), engine="openvino", tolerance=3.0)
    with pytest.raises(InputError, match=r"engine 'eager' and 'openvino', tolerance 2.0 and 3.0"):
        compare_runs(first, second, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    options = CompareOptions(across=("engine", "tolerance"))
    content = compare_runs(first, second, tmp_path / "out", options).content
    assert content["differing_options"]["engine"] == ["eager", "openvino"]


def test_prompts_are_compared_where_it_is_said(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a", rows_of("lite-medsam"))
    jittered = rows_of("lite-medsam", prompt="jittered-box")
    second = run_folder(tmp_path / "b", jittered, prompt=("jittered-box",))
    options = CompareOptions(across=("prompt",))
    (said,) = compare_runs(first, second, tmp_path / "out", options).verdicts
    assert said.startswith("2d, box | jittered-box: ")


def test_other_files_cases_and_truths_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    rows = rows_of("lite-medsam", gain=0.1)
    fewer = run_folder(tmp_path / "fewer", rows[:-5])
    with pytest.raises(InputError, match="43 that both scored and 5 that one did"):
        compare_runs(runs[0], fewer, tmp_path / "out")
    content = compare_runs(runs[0], fewer, tmp_path / "out", CompareOptions(shared=True)).content
    assert content["pairs"][0]["masks_left_out"] == 5
    assert "5 masks" in content["warnings"][0]
    rows[3]["truth_size"] = 401
    other = run_folder(tmp_path / "other", rows)
    with pytest.raises(InputError, match="the same truth"):
        compare_runs(runs[0], other, tmp_path / "more", CompareOptions(shared=True))
    run = json.loads((runs[1] / "run.json").read_text())
    run["datasets"][0]["sha256"] = "x"
    (runs[1] / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="other files of abdomen"):
        compare_runs(*runs, tmp_path / "more")


def test_images_a_model_was_trained_on_are_left_out_of_both(tmp_path: Path) -> None:
    known = rows_of("lite-medsam", gain=0.4)
    for row in known:
        row["trained_on"] = "same voxels" if row["dataset"] == "polyps" else ""
    first = run_folder(tmp_path / "a", rows_of("lite-medsam"))
    second = run_folder(tmp_path / "b", known)
    compared = compare_runs(first, second, tmp_path / "out")
    assert {d["dataset"] for d in compared.content["pairs"][0]["differences"]} == {"abdomen", "all"}
    assert 'class="alarm"' in compared.page.read_text("utf-8")


def test_unfinished_runs_and_outputs_in_use_are_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    cut_off = run_folder(tmp_path / "cut", rows_of("lite-medsam"))
    run = json.loads((cut_off / "run.json").read_text())
    (cut_off / "run.json").write_text(json.dumps({**run, "finished": None}))
    with pytest.raises(InputError, match="finished evaluation"):
        compare_runs(cut_off, runs[1], tmp_path / "out")
    compare_runs(*runs, tmp_path / "out")
    with pytest.raises(OutputError):
        compare_runs(*runs, tmp_path / "out")
    compare_runs(*runs, tmp_path / "out", CompareOptions(overwrite=True))


def test_on_the_command_line(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "compare", *map(str, runs), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert "is better than" in capsys.readouterr().out
    assert main([*words, "--json", "--overwrite"]) == 0
    assert answer("evaluate compare", capsys.readouterr().out)["verdicts"]
    assert main([*words, "--across", "engin"]) == 2
    assert "did you mean engine?" in capsys.readouterr().err


@pytest.mark.parametrize("resamples", [0, 99])
def test_too_few_resamples(resamples: int) -> None:
    with pytest.raises(InputError):
        CompareOptions(resamples=resamples)
