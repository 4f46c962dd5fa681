"""Run lengths in a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import dataset_makers as make
from promptseg.datasets import Dataset, DatasetOptions, open_datasets, target_of
from promptseg.datasets.rle import Counting, decode_rle
from promptseg.errors import InputError

GLOMERULI = {"file": "train.csv", "id": "id", "pixels": "rle"}


def only(path: Path, **options: Any) -> Dataset:
    (dataset,) = open_datasets(path, DatasetOptions(**options))
    return dataset


def encoded(mask: np.ndarray[Any, Any], counting: Counting) -> str:
    """Run lengths written pixel by pixel, another way than they are read."""
    flat = (mask if counting.order == "rows" else mask.T).ravel()
    numbers: list[int] = []
    end = 0
    k = 0
    while k < len(flat):
        if not flat[k]:
            k += 1
            continue
        start = k
        while k < len(flat) and flat[k]:
            k += 1
        origin = start - end if counting.relative and numbers else start + counting.first
        numbers += [origin, k - start]
        end = k
    return " ".join(map(str, numbers))


def table(root: Path, rows: list[dict[str, str]], **said: Any) -> Path:
    make.described(
        root,
        image_files="train_images/{case}.tiff",
        run_lengths={**GLOMERULI, **said},
        modality="histology",
        targets={"1": "glomerulus"},
    )
    with (root / "train.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for seed, name in enumerate(dict.fromkeys(row["id"] for row in rows)):
        make.png(root / "train_images" / f"{name}.tiff", make.gray(seed))
    return root


def test_as_hubmap(tmp_path: Path) -> None:
    mask = make.labels() > 0
    text = encoded(mask, Counting())
    root = table(tmp_path / "hubmap", [{"id": "a1", "rle": text}, {"id": "b2", "rle": ""}])
    dataset = only(root)
    assert (dataset.layout, dataset.modality) == ("rle", "pathology")
    image, truth = dataset.cases[0].load()
    np.testing.assert_array_equal(image.voxels, make.gray(0))
    np.testing.assert_array_equal(truth["glomerulus"], mask)
    assert dataset.cases[1].load()[1].segments == []


def test_every_row_is_an_object_of_its_class(tmp_path: Path) -> None:
    """As tables with a row per nucleus, counted along the rows from 0."""
    counting = Counting(order="rows", first=0)
    labels = make.labels()
    rows = [
        {"id": "a", "rle": encoded(labels == k, counting), "organ": organ}
        for k, organ in ((1, "kidney"), (2, "lung"))
    ]
    root = table(tmp_path / "two", rows, order="rows", first=0, **{"class": "organ"})
    _, truth = only(root).cases[0].load()
    assert [target_of(s) for s in truth.segments] == ["kidney", "lung"]
    np.testing.assert_array_equal(truth["lung 2"], labels == 2)


def test_blanks_in_the_head_and_minus_one(tmp_path: Path) -> None:
    """As the table of SIIM: ` EncodedPixels`, -1 for none, starts counted from the run before."""
    root = table(tmp_path / "siim", [{"id": "a", "rle": "-1"}], relative=True, first=0)
    head = (root / "train.csv").read_text().replace("id,rle", "id, rle")
    (root / "train.csv").write_text(head)
    assert only(root).cases[0].load()[1].segments == []


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    order=st.sampled_from(["columns", "rows"]),
    first=st.sampled_from([0, 1]),
    relative=st.booleans(),
)
def test_round_trip(seed: int, order: Any, first: int, relative: bool) -> None:
    mask = np.random.default_rng(seed).random((7, 11)) < 0.4
    counting = Counting(order=order, first=first, relative=relative)
    np.testing.assert_array_equal(decode_rle(encoded(mask, counting), (7, 11), counting), mask)


@pytest.mark.parametrize("text", ["1 2 3", "0 4", "76 3", "5 0", "a b"])
def test_runs_that_make_no_sense(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"pairs|lead out|invalid literal"):
        decode_rle(text, (7, 11), Counting())
    root = table(tmp_path / "bad", [{"id": "a", "rle": text.replace("76", "999")}])
    with pytest.raises(InputError, match="pairs of start and length"):
        only(root).cases[0].load()


def test_what_is_refused(tmp_path: Path) -> None:
    root = table(tmp_path / "t", [{"id": "a", "rle": ""}])
    for said, message in (
        ({"pixels": "mask"}, "columns out of id, rle"),
        ({"class": "organ"}, "columns out of id, rle"),
        ({"file": "../train.csv"}, "inside the dataset's folder"),
        ({"order": "diagonal"}, "order"),
        ({"colour": 1}, "in run_lengths"),
    ):
        make.described(
            root,
            image_files="train_images/{case}.tiff",
            run_lengths={**GLOMERULI, **said},
        )
        with pytest.raises(InputError, match=message):
            only(root)


def test_pictures_and_rows_belong_together(tmp_path: Path) -> None:
    root = table(tmp_path / "t", [{"id": "a", "rle": ""}, {"id": "b", "rle": ""}])
    (root / "train_images" / "b.tiff").rename(root / "train_images" / "c.tiff")
    with pytest.raises(InputError, match=r"c\.tiff has no row, b has no 2D image"):
        only(root)
    assert [case.name for case in only(root, keep_going=True).cases] == ["a"]


@pytest.mark.parametrize(
    "text", [f"1 {2**63 - 1}", f"{2**63} 1", f"{2**62} {2**62} {2**62} {2**62}"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_runs_that_wrap_around(text: str, relative: bool) -> None:
    with pytest.raises(ValueError, match="lead out of 11 x 7 pixels"):
        decode_rle(text, (7, 11), Counting(relative=relative))


def test_rows_that_are_cut_short_have_no_object(tmp_path: Path) -> None:
    root = table(tmp_path / "short", [{"id": "a", "rle": "1 4"}, {"id": "b", "rle": ""}])
    text = (root / "train.csv").read_text().replace("b,", "b")
    (root / "train.csv").write_text(text)
    assert only(root).cases[1].load()[1].segments == []
