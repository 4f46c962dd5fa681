"""The catalogue of public datasets, and its commands."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from json_answers import answer
from promptseg.cli.catalogue import run
from promptseg.curate.catalogue import (
    FAMILIES,
    catalogue,
    commands,
    entries,
    find_entry,
    totals,
)
from promptseg.datasets.opening import LAYOUTS
from promptseg.datasets.patterns import find_files
from promptseg.errors import InputError
from promptseg.image import MODALITIES

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("PROMPTSEG_DATA", SHARED / "data"))
REFERENCE = DATA.parent / "reference" / "medsam_datasets.csv"
FACTS = ("dataset", "modality", "targets", "count", "unit", "split", "link")


def test_nothing_was_mistyped() -> None:
    if not REFERENCE.is_file():
        pytest.skip("the transcribed tables of the supplement are not here")
    with REFERENCE.open(encoding="utf-8", newline="") as stream:
        expected = list(csv.DictReader(stream))
    assert len(expected) == 84
    found = [{key: str(getattr(entry, key)) for key in FACTS} for entry in catalogue()]
    assert found == expected


def test_every_entry_is_complete(tmp_path: Path) -> None:
    assert len(catalogue()) == 84
    assert len({entry.dataset for entry in catalogue()}) == 84
    layouts = {layout.name for layout in LAYOUTS}
    for entry in catalogue():
        assert entry.kind in MODALITIES
        assert entry.layout in FAMILIES
        assert entry.opens in layouts | {""}, entry
        assert entry.licence
        assert entry.how.endswith(".")
        written = entry.opens in ("patterns", "rle")
        assert bool(entry.images) == bool(entry.labels) == written, entry
        patterns = [entry.images, entry.labels] if entry.opens == "patterns" else [entry.images]
        for pattern in filter(None, patterns):
            assert list(find_files(tmp_path, pattern)) == []  # a pattern that is none is refused


def test_totals_are_those_of_the_supplement() -> None:
    """Tables 1 to 4 have 26 (two of them PET-CT), 25, 18 and 15 rows."""
    by_kind = {total.kind: total for total in totals(catalogue())}
    assert by_kind["CT"].datasets + by_kind["PET"].datasets == 26
    assert by_kind["MR"].datasets == 25
    assert sum(by_kind[kind].datasets for kind in ("XR", "MG", "OCT", "US")) == 18
    assert sum(total.datasets for total in by_kind.values()) == 84
    assert by_kind["XR"].scans == 0
    assert by_kind["XR"].images == 70258
    assert [t.datasets for t in totals(catalogue())] == sorted(
        (t.datasets for t in by_kind.values()), reverse=True
    )


def test_filters() -> None:
    assert {entry.modality for entry in entries("xr")} == {"CXR"}
    assert entries("cxr") == entries("XR")
    assert "HECKTOR" in {entry.dataset for entry in entries("CT")}
    assert {entry.dataset for entry in entries("PET")} == {"AutoPET", "HECKTOR"}
    assert {entry.dataset for entry in entries("mr-flair")} == {"BraTS", "ISLES", "WMH"}
    external = entries(split="external")
    assert all(entry.split == "external" for entry in external)
    assert len(external) + len(entries(split="internal")) == 84
    assert {entry.opens for entry in entries(layout="msd")} == {"msd"}
    assert {entry.layout for entry in entries("CT", layout="dicom+seg")} == {"dicom+seg"}


@pytest.mark.parametrize(
    ("kind", "value"), [("modality", "sonar"), ("split", "both"), ("layout", "zarr")]
)
def test_unknown_filters_say_what_is_known(kind: str, value: str) -> None:
    with pytest.raises(InputError, match=f"expected a {kind} out of .*got '{value}'"):
        entries(**{kind: value})


def test_names() -> None:
    assert find_entry("kits").dataset == "KiTS"
    assert find_entry("msd colon-tumor").dataset == "MSD-Colon Tumor"
    with pytest.raises(InputError, match=r"did you mean .*TotalSegmentator"):
        find_entry("TotalSegmentor")
    with pytest.raises(InputError, match=r"did you mean .*HuBMAP HPA"):
        find_entry("hubmap")
    with pytest.raises(InputError, match="see promptseg curate list"):
        find_entry("!!!")


def test_commands_write_the_modality_of_the_files() -> None:
    """Of HECKTOR, a PET-CT, the pattern takes the CT."""
    (comment, *rest) = commands(find_entry("HECKTOR"))
    assert json.loads(comment.splitlines()[1])["modality"] == "CT"
    assert rest[-1] == "promptseg curate check COLLECTION"
    assert commands(find_entry("PPMI")) == []


@pytest.mark.parametrize("name", ["KiTS", "HuBMAP HPA", "TotalSegmentator"])
def test_what_it_says_to_write_is_recognised(tmp_path: Path, name: str) -> None:
    (comment, *_) = commands(find_entry(name))
    (tmp_path / "dataset.json").write_text(comment.splitlines()[1])
    (layout,) = [layout.name for layout in LAYOUTS if layout.load().recognises(tmp_path)]
    assert layout == find_entry(name).opens


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--modality", "CT", "--split", "external"]) == 0
    said = capsys.readouterr().out
    assert "WORD" in said
    assert "AMOS" not in said
    assert said.splitlines()[-1].split()[:2] == ["all", "5"]
    assert run(["list", "--json"]) == 0
    facts = answer("curate list", capsys.readouterr().out)
    assert len(facts["datasets"]) == 84
    assert sum(total["datasets"] for total in facts["totals"]) == 84
    assert run(["show", "total segmentator"]) == 0
    said = capsys.readouterr().out
    assert "{case}/segmentations/{target}.nii.gz" in said
    assert "promptseg curate check" in said
    assert run(["show", "TotalSegmentator", "--json"]) == 0
    assert answer("curate show", capsys.readouterr().out)["kind"] == "CT"
    with pytest.raises(InputError, match="list or show"):
        run(["fetch"])


def test_classes_are_written_where_they_are_known(tmp_path: Path) -> None:
    from datasets import dataset_makers as make
    from promptseg.datasets import open_datasets

    for entry in catalogue():
        said = entry.description().get("targets", {})
        assert bool(said) == bool(entry.classes), entry
        assert all(value.isdecimal() and int(value) and name for value, name in said.items())
        assert entry.images or not entry.classes, "it would not be written"
    entry = find_entry("KiTS")
    make.described(tmp_path, **entry.description())
    make.nifti(tmp_path / "case_00000" / "imaging.nii.gz", make.gray(0, (4, 12, 16)))
    make.nifti(tmp_path / "case_00000" / "segmentation.nii.gz", make.labels((4, 12, 16)))
    (dataset,) = open_datasets(tmp_path)
    assert dataset.targets == {1: "kidney", 2: "tumor", 3: "cyst"}
    assert [s.name for s in dataset.cases[0].load()[1].segments] == ["kidney", "tumor"]


def test_how_names_no_option_that_curate_lacks() -> None:
    for entry in catalogue():
        assert "--keep-going" not in entry.how, entry.dataset
