"""Marks, quartiles and ranks of a fixed table of results, computed again from the file with scipy."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, median, quantiles

import pytest
from scipy.stats import rankdata, wilcoxon

from evaluate.made_results import made_rows, made_run, write_results
from promptseg.errors import InputError, OutputError
from promptseg.evaluate.report import ReportOptions, write_report
from promptseg.evaluate.report.blocks import ALL
from promptseg.evaluate.report.compare import compare
from promptseg.evaluate.report.latex import escape, latex_table
from promptseg.evaluate.report.results import read_results

MODELS = ("mobile-sam", "lite-medsam", "medsam")
BETTER_IF_LOW = ("hd95", "asd")


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made_rows(MODELS)
    return write_results(tmp_path_factory.mktemp("made"), rows, made_run())


@pytest.fixture(scope="module")
def summary(folder: Path) -> list[dict[str, str]]:
    write_report(folder, ReportOptions(baseline="lite-medsam"))
    return [line for line in _read(folder / "summary.csv") if line["dataset"] != "all"]


@pytest.fixture(scope="module")
def samples(folder: Path) -> dict[tuple[str, ...], dict[str, list[tuple[str, float]]]]:
    """(protocol, prompt, step, dataset, target, metric) -> model -> (patient, value) of every row."""
    found: dict[tuple[str, ...], dict[str, list[tuple[str, float]]]] = defaultdict(dict)
    for row in _read(folder / "rows.csv"):
        for metric in ("dsc", "nsd", "iou", "hd95", "asd"):
            key = (*(row[k] for k in ("protocol", "prompt", "step", "dataset", "target")), metric)
            values = found[key].setdefault(row["model"], [])
            values.append((row["patient"], float(row[metric])))
    return found


def _key(line: dict[str, str]) -> tuple[str, ...]:
    names = ("protocol", "prompt", "step", "dataset", "target", "metric")
    return tuple(line[k] for k in names)


def _per_patient(sample: list[tuple[str, float]]) -> dict[str, float]:
    groups = defaultdict(list)
    for patient, value in sample:
        groups[patient].append(value)
    return {patient: fmean(values) for patient, values in groups.items()}


def test_every_task_prompt_step_metric_and_model_has_a_line(summary, samples):
    expected = {(*key, model) for key, models in samples.items() for model in models}
    assert {
        (*_key(n), n["model"]) for n in summary if n["metric"] != "volume_difference"
    } == expected
    assert len(summary) == len(expected) * 6 // 5


def test_quartiles_and_means(summary, samples):
    for line in summary:
        if line["metric"] == "volume_difference":
            continue
        values = [v for _, v in samples[_key(line)][line["model"]]]
        q1, middle, q3 = quantiles(values, n=4, method="inclusive")
        assert [float(line[k]) for k in ("q1", "median", "q3")] == pytest.approx(
            [q1, middle, q3], rel=1e-5
        )
        assert float(line["mean"]) == pytest.approx(fmean(values), rel=1e-5)
        assert float(line["mean_low"]) < float(line["mean"]) < float(line["mean_high"])
        assert (line["n"], line["patients"]) == ("24", "12")


def test_marks_follow_from_paired_patients(summary, samples):
    """`*`: better than the baseline; dagger: worse than the model with the best median."""
    seen = set()
    for line in summary:
        key, model = _key(line), line["model"]
        if line["metric"] == "volume_difference":
            continue
        sign = -1 if line["metric"] in BETTER_IF_LOW else 1
        own = _per_patient(samples[key][model])
        best = max(samples[key], key=lambda m: median(sign * v for _, v in samples[key][m]))
        marks = ""
        for other, column, mark, wanted in (
            ("lite-medsam", "baseline_p", "*", 1),
            (best, "best_p", "\u2020", -1),
        ):
            if model == other:
                assert line[column] == ""
                continue
            theirs = _per_patient(samples[key][other])
            apart = [sign * (own[p] - theirs[p]) for p in own]
            test = wilcoxon(apart, method="exact")
            assert float(line[column]) == pytest.approx(test.pvalue, rel=1e-5)
            ranks = rankdata([abs(d) for d in apart])
            up = sum(r for r, d in zip(ranks, apart, strict=True) if d > 0) > sum(ranks) / 2
            marks += mark if test.pvalue < 0.05 and (up if wanted > 0 else not up) else ""
        assert line["marks"] == marks
        seen.add(marks)
    assert seen >= {"", "*", "\u2020"}


def test_all_tasks_together_pair_a_patient_once(folder, summary, samples):
    """A patient is averaged over all targets of a data set; p02 of another data set is another one."""
    line = next(
        n
        for n in _read(folder / "summary.csv")
        if n["dataset"] == "all" and n["metric"] == "dsc" and n["model"] == "medsam"
    )
    apart = []
    for tasks in ((("abdomen", "liver"), ("abdomen", "spleen")), (("polyps", "polyp"),)):
        means = {}
        for model in ("medsam", "lite-medsam"):
            rows = [v for t in tasks for v in samples["2d", "box", "0", *t, "dsc"][model]]
            means[model] = _per_patient(rows)
        apart += [means["medsam"][p] - means["lite-medsam"][p] for p in means["medsam"]]
    assert (line["baseline_pairs"], line["patients"], line["n"]) == ("24", "24", "72")
    assert float(line["baseline_p"]) == pytest.approx(
        wilcoxon(apart, method="exact").pvalue, rel=1e-5
    )


def test_ranks_and_places(summary, samples):
    for line in summary:
        if line["metric"] == "volume_difference":
            continue
        sign = -1 if line["metric"] in BETTER_IF_LOW else 1
        means = {m: _per_patient(s) for m, s in samples[_key(line)].items()}
        own, shared = [], []
        for patient, value in means[line["model"]].items():
            values = [sign * means[m][patient] for m in means]
            own.append(1 + sum(v > sign * value for v in values))
            shared.append(own[-1] + (values.count(sign * value) - 1) / 2)
        assert float(line["mean_rank"]) == pytest.approx(fmean(shared), rel=1e-5)
        for place, column in enumerate(("first", "second", "third"), start=1):
            assert float(line[column]) == pytest.approx(own.count(place) / len(own), rel=1e-5)


def test_holm_families_are_tables(folder):
    """All tests against the baseline in one section, step and metric are adjusted together."""
    found = read_results(folder)
    raw = compare(found, "mobile-sam", resamples=100)
    adjusted = compare(found, "mobile-sam", holm=True, resamples=100)
    families = defaultdict(list)
    for before, after in zip(raw, adjusted, strict=True):
        if before.against_baseline:
            key = (before.section, before.step, before.quantity.name, before.task == ALL)
            families[key].append((before.against_baseline.p, after.against_baseline.p))
    sizes = set()
    for family in families.values():
        ordered = sorted(family)
        assert ordered[0][1] == pytest.approx(min(1, len(family) * ordered[0][0]))
        sizes.add(len(family))
        assert ordered[-1][1] >= ordered[-1][0]
        assert [b for _, b in ordered] == sorted(b for _, b in ordered)
    assert sizes == {
        2,
        6,
    }  # two models against the baseline, on all tasks together or on three tasks


def test_rows_without_a_value_and_missing_rows_are_counted(tmp_path):
    rows = [r for r in made_rows() if r["prompt"] == "box" and r["target"] == "liver"]
    rows[0]["dsc"] = "nan"  # both are rows of mobile-sam or lite-medsam, whichever comes first
    rows[1]["dsc"] = ""
    lost = rows.pop(5)
    write_report(write_results(tmp_path, rows), ReportOptions(images=False))
    summary = [n for n in _read(tmp_path / "summary.csv") if n["dataset"] != "all"]
    lines = {n["model"]: n for n in summary if n["metric"] == "dsc"}
    for model, line in lines.items():
        blank = [r for r in rows[:2] if r["model"] == model]
        assert int(line["unvalued"]) == len(blank)
        assert int(line["missing"]) == (lost["model"] == model)
        values = [float(r["dsc"]) for r in rows if r["model"] == model and r not in rows[:2]]
        assert float(line["mean"]) == pytest.approx(fmean(values), rel=1e-5)
        assert int(line["n"]) == len(values)
    assert "without value]" in (tmp_path / "tables" / "2d-box.csv").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 rows have no DSC" in page
    assert "1 rows are missing" in page


def test_slices_of_one_scan_are_no_pairs(tmp_path):
    """Many slices of two patients: no test, however many rows there are."""
    rows = [r for r in made_rows(patients=2) if r["prompt"] == "box"]
    many = [{**r, "slice": 10 * k + r["slice"]} for r in rows for k in range(20)]
    write_report(write_results(tmp_path, many))
    lines = [n for n in _read(tmp_path / "summary.csv") if n["baseline_model"]]
    found = {(n["baseline_pairs"], n["baseline_p"], n["marks"]) for n in lines}
    assert found == {("2", "n/a", ""), ("4", "n/a", "")}  # the latter in both data sets together
    assert all("at least 6" in n["baseline_note"] for n in lines)


def test_infinite_distances_stay(tmp_path):
    rows = [r for r in made_rows() if r["prompt"] == "box" and r["target"] == "liver"]
    rows[0]["hd95"] = "inf"
    write_report(write_results(tmp_path, rows))
    lines = [n for n in _read(tmp_path / "summary.csv") if n["metric"] == "hd95"]
    line = next(n for n in lines if n["model"] == rows[0]["model"])
    assert (line["mean"], line["max"]) == ("inf", "inf")
    assert math.isfinite(float(line["median"]))


def test_a_patient_defaults_to_the_case(tmp_path):
    rows = [{**r, "patient": ""} for r in made_rows(("medsam",)) if r["prompt"] == "box"]
    write_report(write_results(tmp_path, rows))
    assert {n["patients"] for n in _read(tmp_path / "summary.csv")} == {"12", "24"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{k: v for k, v in r.items() if k != "prompt"} for r in rows], "no prompt"),
        (lambda rows: [{**rows[0], "dsc": "good"}], "line 2"),
        (lambda rows: [rows[0], rows[0]], "again"),
    ],
    ids=["column", "number", "duplicate"],
)
def test_unusable_rows_are_refused(tmp_path, change, message):
    rows = change(made_rows())
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=message):
        write_report(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_missing_and_empty_results_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="header only"):
        write_report(write_results(tmp_path, []))
    write_results(tmp_path, made_rows()[:4])
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(InputError, match=r"run\.json"):
        write_report(tmp_path)


def test_a_baseline_must_be_one_of_the_models(folder):
    with pytest.raises(InputError, match="mobile-sam, lite-medsam, medsam, got sam9"):
        write_report(folder, ReportOptions(baseline="sam9", overwrite=True))


def test_a_report_is_not_overwritten_silently(folder, summary):
    with pytest.raises(OutputError, match="--overwrite"):
        write_report(folder)


def test_latex_prints_names_as_they_are():
    assert escape("a_b & 50% $x$ {y} \\z ~^#") == (
        r"a\_b \& 50\% \$x\$ \{y\} \textbackslash{}z \textasciitilde{}\textasciicircum{}\#"
    )
    assert escape("line\nbreak\x00") == "line break?"
    table = latex_table("c%", ["A", "B"], [["[x]", "1*\u2020"]])
    assert r"{[}x{]} & 1\textsuperscript{*}\textsuperscript{\textdagger} \\" in table
    assert table.count("{") == table.count("}")
    assert r"\begin{tabular}{rr}" in table
    long = latex_table("many", ["Name", "Value"], [["x", "1"]] * 60, words=1)
    assert r"\begin{longtable}{lr}" in long
    assert long.count(r"x & 1 \\") == 60
    assert all(rule in table for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
