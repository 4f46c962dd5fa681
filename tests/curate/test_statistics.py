"""Counts of a collection, as tables and as a chart."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image as PilImage

from curate.made import Made, disc, make_collection, usual
from promptseg.curate.statistics import Count, count, draw_modalities, to_markdown, write_statistics
from promptseg.datasets.collection import Collection
from promptseg.formats.own_folder import LIST


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return make_collection(tmp_path_factory.mktemp("collection"), usual())


def test_counts(collection: Collection) -> None:
    found = count(collection)
    assert [(line.dataset, line.modality) for line in found.datasets] == [
        ("abdomen", "CT"),
        ("breast", "US"),
        ("colon", "endoscopy"),
    ]
    abdomen = found.datasets[0]
    assert (abdomen.images, abdomen.masks, abdomen.cases, abdomen.patients) == (8, 12, 4, 4)
    assert abdomen.targets == ("lesion", "liver")
    assert (abdomen.train, abdomen.validation, abdomen.test) == (4, 2, 2)
    assert [line.modality for line in found.modalities] == ["CT", "US", "endoscopy"]
    assert (found.total.images, found.total.masks, found.total.patients) == (11, 15, 7)
    assert found.total.targets == ("lesion", "liver", "polyp")


def test_two_datasets_of_one_modality_are_one_bar(tmp_path: Path) -> None:
    """A case or patient "1" of one dataset is not that of another."""
    masks = {"disc": disc((32, 32), 16, 16, 6)}
    made = [Made(f"{name}/1", masks, modality="MR") for name in ("a", "b")]
    found = count(make_collection(tmp_path, [*made, Made("c/1", masks, modality="CT")]))
    assert [(m.modality, m.masks, m.cases, m.patients) for m in found.modalities] == [
        ("MR", 2, 2, 2),
        ("CT", 1, 1, 1),
    ]


def test_files(collection: Collection, tmp_path: Path) -> None:
    paths = write_statistics(count(collection), tmp_path / "new")
    assert [path.name for path in paths] == ["statistics.csv", "statistics.md", "modalities.png"]
    there = {path.name for path in (tmp_path / "new").iterdir()} - {LIST}
    assert there == {path.name for path in paths}
    with paths[0].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["dataset"] == "abdomen"
    assert rows[0]["names of targets"] == "lesion; liver"
    assert sum(int(r["masks"]) for r in rows if r["dataset"] not in ("all",)) == 15
    assert rows[-1] == {**rows[-1], "dataset": "all", "modality": "all", "images": "11"}
    text = paths[1].read_text()
    assert "15 masks on 11 images of 7 patients" in text
    assert "| CT | 8 | 12 | 4 | 4 | 2 | 4 | 2 | 2 |" in text
    with PilImage.open(paths[2]) as picture:
        assert picture.format == "PNG"
        assert picture.width == 7 * 150


def test_a_pipe_in_a_name_does_not_break_the_table(tmp_path: Path) -> None:
    made = Made("a|b/1", {"disc": disc((32, 32), 16, 16, 6)})
    assert "| a\\|b | CT |" in to_markdown(count(make_collection(tmp_path, [made])))


@pytest.mark.parametrize(("most", "logarithmic"), [(900, False), (500_000, True)])
def test_the_scale_is_logarithmic_beyond_two_decades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, logarithmic: bool
) -> None:
    from matplotlib.axes import Axes

    scales: list[str] = []
    monkeypatch.setattr(Axes, "set_xscale", lambda self, scale, **_: scales.append(scale))
    lines = [_line("CT", most), _line("OCT", 12)]
    draw_modalities(lines, tmp_path / "chart.png")
    assert scales == (["log"] if logarithmic else [])


def _line(modality: str, masks: int) -> Count:
    return Count(
        dataset="all",
        modality=modality,
        images=masks,
        masks=masks,
        cases=1,
        patients=1,
        targets=(),
        train=masks,
        validation=0,
        test=0,
    )
