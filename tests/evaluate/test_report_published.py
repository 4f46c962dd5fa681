"""Published figures: complete, with their source, and beside the run they belong to."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from evaluate.made_results import made_rows, write_results
from promptseg.evaluate.report.beside import published_tables, published_training_sizes
from promptseg.evaluate.report.published import SOURCES, annotation_times, published
from promptseg.evaluate.report.results import read_results


def test_every_figure_has_a_source_a_table_and_a_share():
    figures = published()
    assert Counter(f.source for f in figures) == {"medsam": 2084, "sam2": 272, "medical-sam3": 4}
    assert all(f.citation.startswith(SOURCES[f.source]) and f.table for f in figures)
    assert all(0 <= f.value <= 1 for f in figures)
    assert {f.statistic for f in figures if f.q1 == f.q1} == {"median"}


def test_figures_quoted_in_the_papers():
    """MedSAM on the aorta and its external nasopharynx; SAM2-T on ultrasound video."""
    aorta = [f for f in published("medsam", "Table 6") if f.target == "Aorta" and f.metric == "dsc"]
    assert [(f.model, f.value, f.q1, f.q3, f.marks) for f in aorta] == [
        ("SAM", 0.812, 0.743, 0.866, ""),
        ("U-Net", 0.926, 0.902, 0.962, "*"),
        ("DeepLabV3+", 0.901, 0.868, 0.923, "*\u2020"),
        ("MedSAM", 0.936, 0.924, 0.949, "*"),
    ]
    video = [f for f in published("sam2", "Table 4") if f.model == "SAM2-T"]
    assert {(f.modality, f.metric): f.value for f in video}["Ultrasound", "dsc"] == 0.8537


def test_annotation_study_gives_the_published_saving():
    """82.37 % and 82.95 % for the two experts, from the sums of their seconds."""
    savings = []
    for expert in ("1", "2"):
        times = [t for t in annotation_times() if t.expert == expert]
        assisted = sum(t.marker + t.inference + t.refinement for t in times)
        savings.append(100 * (1 - assisted / sum(t.manual for t in times)))
    assert savings == pytest.approx([82.37, 82.95], abs=0.01)


def test_more_images_help_in_the_published_sizes():
    curves = published_training_sizes()
    assert len(curves) == 2
    for points in curves.values():
        middles = [median(points[size]) for size in sorted(points)]
        assert sorted(points) == [1e4, 1e5, 1e6]
        assert middles == sorted(middles)


def test_tables_beside_a_run_match_its_modalities_and_targets(tmp_path):
    rows = read_results(write_results(tmp_path, made_rows(patients=1))).rows
    same, pooled, means = published_tables(rows)
    assert {(row[0], row[1]) for row in same.body} >= {("Liver", "CT"), ("Spleen", "CT")}
    assert {row[1] for row in same.body} <= {"CT", "Endoscopy"}
    assert {row[0] for row in pooled.body} == {"CT", "Endoscopy"}
    assert {row[1] for row in means.body} == {"CT", "Endoscopy"}
    text = [{**r, "prompt": "text"} for r in made_rows(patients=1) if r["prompt"] == "box"]
    rows = read_results(write_results(tmp_path / "text", text)).rows
    assert "Medical SAM3" in published_tables(rows)[-1].caption


@pytest.mark.parametrize("name", ["results.csv", "annotation.csv"])
def test_tables_are_rectangular(name):
    import promptseg.evaluate.report.published as package

    with (Path(package.__file__).parent / name).open(encoding="utf-8", newline="") as stream:
        widths = {len(row) for row in csv.reader(stream)}
    assert len(widths) == 1
