"""The page of a report: whole, self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluate.made_results import made_rows, made_run, write_results
from promptseg.errors import InputError
from promptseg.evaluate.report import ReportOptions, write_report
from promptseg.evaluate.report.failures import picture_name, worst
from promptseg.evaluate.report.results import read_results
from promptseg.plots import style

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = '<script>alert("x")</script> & $a_1$ \'"'


class _Outline(HTMLParser):
    """Checks that elements close in order, and collects ids, links and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.loads.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def _outline(path: Path) -> _Outline:
    outline = _Outline()
    outline.feed(path.read_text(encoding="utf-8"))
    outline.close()
    return outline


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_results(tmp_path_factory.mktemp("page"), made_rows(), made_run())
    return write_report(folder, ReportOptions(published=True))


def test_the_page_is_well_formed_and_loads_nothing(page):
    outline = _outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith(("#", "data:image/png")) for link in outline.loads)
    targets = {link[1:] for link in outline.loads if link.startswith("#")}
    assert targets <= set(outline.ids)
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(outline.ids)
    assert page.stat().st_size < 10_000_000


def test_the_page_says_what_was_run(page):
    text = _outline(page).text
    for fact in (
        "ab" * 32,
        "CC-BY-4.0",
        "both_empty: one",
        "the 5 largest",
        "not a medical device",
    ):
        assert fact in text
    for warning in ("one image occurs twice", "polyps, case99: expected an image, got nothing"):
        assert warning in text
    assert "2026-01-02T03:04:05" in text


def test_prompts_are_separate(page):
    titles = re.findall(r"<h2 id=\"s\d+\">(.*?)</h2>", page.read_text(encoding="utf-8"))
    assert titles == ["2d, box", "2d, jittered-box", "interactive-2d, point+corrections"]
    tables = {p.name for p in (page.parent / "tables").glob("*.csv")}
    assert {"2d-box.csv", "2d-jittered-box.csv", "summary.csv"} <= tables
    assert "interactive-2d-point-corrections-after-3-corrections.csv" in tables


def test_published_figures_are_marked_and_shown_only_when_asked_for(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    assert '<section class="published">' in text
    assert "published, other data" in text
    assert "Nat. Commun." in text
    rows = [r for r in made_rows() if r["prompt"] == "box"]
    plain = write_report(write_results(tmp_path, rows)).read_text(encoding="utf-8")
    assert "Nat. Commun." not in plain


def test_names_are_shown_and_never_run(tmp_path):
    rows = [
        {**r, "dataset": HOSTILE, "target": HOSTILE, "model": r["model"] + HOSTILE, "note": HOSTILE}
        for r in made_rows()
        if r["prompt"] == "box" and r["target"] == "liver"
    ]
    rows = [{**r, "prompt": HOSTILE, "object": HOSTILE, "case": r["case"] + HOSTILE} for r in rows]
    run = made_run(
        warnings=[HOSTILE],
        rules={HOSTILE: HOSTILE},
        options={HOSTILE: HOSTILE},
        failed=[{"dataset": HOSTILE, "case": HOSTILE, "error": HOSTILE}],
        models=[{"name": HOSTILE, "weights_sha256": HOSTILE, "licence": HOSTILE}],
        datasets=[{"name": HOSTILE, "notes": [HOSTILE], "licence": HOSTILE}],
    )
    outline = _outline(write_report(write_results(tmp_path, rows, run)))
    assert outline.open == []
    assert outline.tags.count("script") == 1  # ours, which sorts tables
    assert outline.text.count("alert(") > 10
    assert all(p.resolve().is_relative_to(tmp_path) for p in tmp_path.rglob("*"))


def test_control_characters_and_other_scripts_in_names(tmp_path):
    rows = [
        {**r, "target": "\u809d\u81df \x07", "dataset": "\u0627\u0644\u0643\u0628\u062f"}
        for r in made_rows()
        if r["prompt"] == "box" and r["target"] == "liver"
    ]
    outline = _outline(write_report(write_results(tmp_path, rows)))
    assert "\u809d\u81df" in outline.text
    assert "\x07" not in outline.text


def test_worst_masks_come_with_pictures_where_they_may(tmp_path):
    rows = [r for r in made_rows(("medsam",)) if r["prompt"] == "box"]
    for r, dsc in zip(rows, ("0.01", "nan"), strict=False):
        r["dsc"] = dsc
    next(r for r in rows if r["dataset"] == "polyps")["dsc"] = "0.02"
    write_results(tmp_path, rows, made_run())
    found = worst(read_results(tmp_path).rows, 3)
    assert [r.scores[0] for r in found][1:] != [0.01]
    (tmp_path / "failures").mkdir()
    for row in found:
        Image.new("RGB", (900, 30), (200, 0, 0)).save(tmp_path / "failures" / picture_name(row))
    text = write_report(tmp_path, ReportOptions(worst=2)).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2  # at home
    options = ReportOptions(worst=2, publish=True, overwrite=True)
    text = write_report(tmp_path, options).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 1  # abdomen is free to publish, polyps is not
    assert "not known to be free to publish" in text
    options = ReportOptions(worst=2, images=False, overwrite=True)
    assert "data:image/png" not in write_report(tmp_path, options).read_text(encoding="utf-8")


def test_worst_masks_are_the_lowest_of_every_case():
    rows = [r for r in made_rows(("medsam",), patients=4) if r["prompt"] == "box"]
    low = [
        (0.1, "a", "0"),
        (0.2, "a", "1"),
        (0.15, "b", "0"),
        (float("nan"), "c", "0"),
        (0.9, "d", "0"),
    ]
    made = [_row(rows[0], dsc=dsc, case=case, slice=place) for dsc, case, place in low]
    assert [(r.case, r.slice) for r in worst(made, 3)] == [("c", "0"), ("a", "0"), ("b", "0")]
    assert len({picture_name(r) for r in made}) == len(made)


def test_a_broken_picture_is_said(tmp_path):
    rows = [r for r in made_rows(("medsam",), patients=2) if r["prompt"] == "box"]
    write_results(tmp_path, rows, made_run())
    (tmp_path / "failures").mkdir()
    for row in read_results(tmp_path).rows:
        (tmp_path / "failures" / picture_name(row)).write_bytes(b"no 2D image")
    assert "cannot be read" in write_report(tmp_path).read_text(encoding="utf-8")


def test_without_matplotlib_the_report_lacks_only_plots(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = write_report(write_results(tmp_path, made_rows(), made_run())).read_text(
        encoding="utf-8"
    )
    assert "pip install &#39;promptseg[evaluate]&#39;" in text
    assert text.count("Plots are left out") == 1
    assert "<svg" not in text
    assert (tmp_path / "summary.csv").exists()


def test_a_page_that_grows_too_large_leaves_plots_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("promptseg.evaluate.report.layout.MOST_BYTES", 60_000)
    rows = [r for r in made_rows() if r["prompt"] == "box"]
    path = write_report(write_results(tmp_path, rows, made_run()))
    text = path.read_text(encoding="utf-8")
    assert "to keep this page small" in text
    assert "see plots/" in text
    assert text.count("<svg") < len(list((tmp_path / "plots").glob("*.svg")))


def test_the_same_results_give_the_same_files(tmp_path):
    rows = [r for r in made_rows(patients=6) if r["prompt"] == "box"]
    one, two = (write_results(tmp_path / name, rows, made_run()) for name in ("one", "two"))
    write_report(one)
    write_report(two)
    names = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert len(names) > 8
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_a_run_without_run_json_is_reported_with_a_warning(tmp_path):
    rows = [r for r in made_rows(("medsam",), patients=2) if r["prompt"] == "box"]
    assert "run.json is missing" in _outline(write_report(write_results(tmp_path, rows))).text


def test_training_sizes_and_embeddings_are_drawn_where_they_are(tmp_path):
    rows = [
        {**r, "train_size": {"mobile-sam": 10_000, "medsam": 1_000_000}[r["model"]]}
        for r in made_rows(("mobile-sam", "medsam"))
        if r["prompt"] == "box"
    ]
    write_results(tmp_path, rows)
    vectors = np.random.default_rng(0).random((20, 8))
    maps = np.random.default_rng(1).random((20, 8, 4, 4))
    np.savez(tmp_path / "embeddings.npz", vectors=vectors, maps=maps, labels=["CT", "MR"] * 10)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "number of training images" in text
    assert "20 image embeddings of 8 numbers" in text
    assert text.count("data:image/png") == 20
    np.savez(tmp_path / "embeddings.npz", something=vectors)
    with pytest.raises(InputError, match="embeddings"):
        write_report(tmp_path, ReportOptions(overwrite=True))


@pytest.mark.parametrize("options", [{"worst": -1}, {"resamples": 3}, {"seed": -1}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError):
        ReportOptions(**options)


def test_options_of_reports_are_there_at_once():
    code = (
        "import sys, promptseg.evaluate.report\n"
        "found = {'torch', 'matplotlib', 'jinja2', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_and_ink_of_an_inlined_plot():
    with style.canvas(2, 2) as (figure, (axes,)):
        axes.plot([0, 1], label="$x$ <b>")
        axes.set_title("50 $ and <b>")
        svg = style.to_svg(figure)
    found = style.inline(svg, "p1", '"<&')
    assert found.startswith("<svg ")
    assert 'aria-label="&quot;&lt;&amp;"' in found
    assert style.INK not in found
    assert "50 $ and &lt;b" in found
    assert all(i.startswith("p1-") for i in re.findall(r'\bid="([^"]+)"', found))


def _row(made: dict[str, Any], dsc: float, **changes: str) -> Any:
    from promptseg.evaluate.report.results import Row

    words = {name: str(made.get(name, "")) for name in Row._fields}
    scores = (dsc, *(float("nan"),) * 5)
    fixed = {"step": 0, "scores": scores, "predicted": 0.5, "train_size": float("nan")}
    return Row(**{**words, **fixed, **changes})


@pytest.mark.parametrize("count", [1, 12])
def test_one_mask_or_many_models(tmp_path, count):
    one = next(r for r in made_rows() if r["prompt"] == "box")
    rows = [{**one, "model": f"model-{i}", "dsc": i / 20} for i in range(count)]
    outline = _outline(write_report(write_results(tmp_path, rows)))
    assert outline.open == []
    assert f"model-{count - 1}" in outline.text


def test_a_run_without_any_value_is_reported(tmp_path):
    made = [r for r in made_rows(patients=1) if r["prompt"] == "box"]
    rows = [{**r, **dict.fromkeys(("dsc", "nsd", "iou", "hd95", "asd"), "nan")} for r in made]
    text = _outline(write_report(write_results(tmp_path, rows))).text
    assert f"{len(rows)} rows have no DSC" in text
    assert "n/a" in text


def test_making_a_report_needs_no_torch(tmp_path):
    rows = write_results(tmp_path, made_rows(patients=1), made_run())
    code = (
        "import sys; from pathlib import Path\n"
        "from promptseg.evaluate.report import write_report\n"
        f"write_report(Path({str(rows)!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_begins_with_a_verdict(tmp_path: Path) -> None:
    rows = [r for r in made_rows() if r["protocol"] == "2d"]
    text = write_report(write_results(tmp_path, rows, made_run())).read_text(encoding="utf-8")
    (said,) = re.findall(r'<div class="verdict"><p>(.*?)</p>', text)
    assert text.index(said) < text.index("<table")
    assert said.startswith("With box (2d), lite-medsam has the highest mean DSC of 78")
    assert "before mobile-sam at 6" in said
    assert "a difference is shown, p &lt; 0.0001" in said
    assert "with jittered-box (2d), lite-medsam" in said


def test_the_verdict_on_one_model_and_few_patients(tmp_path: Path) -> None:
    rows = [r for r in made_rows(patients=1) if r["prompt"] == "box" and r["dataset"] == "polyps"]
    one = [r for r in rows if r["model"] == "lite-medsam"]
    text = write_report(write_results(tmp_path / "one", one)).read_text(encoding="utf-8")
    assert re.search(r"lite-medsam reaches a mean DSC of [\d.]+ % on 2 masks of 1 patient\.", text)
    text = write_report(write_results(tmp_path / "two", rows)).read_text(encoding="utf-8")
    assert "(not tested: too few patients)" in text
