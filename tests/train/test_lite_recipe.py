"""The lists of promptseg-lite: what it is trained on is what its licence allows, and nothing else."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import yaml

from promptseg.evaluate.options import EvaluateJob
from promptseg.train.options import TrainOptions

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "recipes" / "lite"
SHARED = REPOSITORY.parent / "shared"


def names_in(file: str) -> set[str]:
    lines = (RECIPE / file).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def sources() -> list[dict[str, str]]:
    with (RECIPE / "sources.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def folder_of(variable: str, usual: str) -> Path:
    root = Path(os.environ.get(variable, SHARED / usual))
    if not root.is_dir():
        pytest.skip(f"{variable} does not name the images")
    return root


def test_sources_are_permissive_or_ask_for_attribution_alone() -> None:
    for source in sources():
        licence = source["licence"]
        assert licence.startswith(("CC0", "CC BY 3.0", "CC BY 4.0", "BSD")), source


def test_nothing_external_is_a_source() -> None:
    assert not names_in("external.txt") & {source["dataset"] for source in sources()}


def test_the_table_of_parts_names_the_sources() -> None:
    """And every patient in one part."""
    pool = folder_of("PROMPTSEG_POOL", "pool")
    with (pool / "split.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["dataset"] for row in rows} == {source["dataset"] for source in sources()}
    parts: dict[str, str] = {}
    for row in rows:
        if row["patient"].startswith("STS_"):
            assert parts.setdefault(row["patient"], row["part"]) == row["part"]


def test_all_other_images_are_the_external_test() -> None:
    data = folder_of("PROMPTSEG_DATA", "data")
    there = {f.parent.name for f in data.glob("*/*/dataset.json")}
    there |= {f.name for f in (data / "video").iterdir() if f.is_dir()}
    assert there - {source["dataset"] for source in sources()} == names_in("external.txt")


def test_the_files_hold_options_that_there_are() -> None:
    of_training = yaml.safe_load((RECIPE / "train.yaml").read_text(encoding="utf-8"))
    options = TrainOptions(input=Path("data"), output=Path("runs"), **of_training)
    options.check()
    of_evaluation = yaml.safe_load((RECIPE / "evaluate.yaml").read_text(encoding="utf-8"))
    EvaluateJob(input=Path("data"), output=Path("results"), **of_evaluation)
