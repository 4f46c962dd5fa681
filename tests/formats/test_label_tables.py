"""Tables of names and colours beside masks: BIDS, ITK-SNAP, 3D Slicer; in and out."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json_answers import answer
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.formats.bids_names import derivative_name, parse_name
from promptseg.formats.label_tables import TABLES, read_table
from promptseg.formats.masks import read_masks
from promptseg.formats.options import MaskOptions
from promptseg.geometry import Geometry
from promptseg.image import Segment
from promptseg.provenance import Provenance
from promptseg.result import Result

SHAPE = (4, 5, 6)
KINDS: dict[str, Any] = {
    "bids": "sub-01_dseg.nii.gz",
    "itk-snap": "mask.nii.gz",
    "slicer": "mask.mha",
}
each = pytest.mark.parametrize("kind", KINDS)


def made(names: dict[int, str], colour: tuple[int, int, int] | None = None) -> Result:
    """One object per slice; the last one has no voxel."""
    segments = []
    for k, (label, name) in enumerate(names.items()):
        mask = np.zeros(SHAPE, dtype=bool)
        if k < len(names) - 1:
            mask[k % SHAPE[0], 1:3] = True
        segments.append(Segment.from_mask(name, label, mask, colour=colour))
    return Result(segments, Geometry.from_spacing(SHAPE, (1, 1, 2)))


NAMES = {3: "left kidney", 7: "grey matter", 4000: 'a "b" c', 9: "nothing there"}


def saved(kind: str, folder: Path, result: Result) -> Path:
    path = folder / KINDS[kind]
    result.save(path, beside=[] if kind == "bids" else [kind])  # type: ignore[list-item]
    return path


@each
def test_names_numbers_and_colours_come_back(kind: str, tmp_path: Path) -> None:
    result = made(NAMES, (1, 22, 253))
    found = read_masks(saved(kind, tmp_path, result))
    assert {s.label: s.name for s in found.segments} == NAMES
    assert {s.colour for s in found.segments} == {(1, 22, 253)}
    assert [s.name for s in found.segments if s.is_empty] == ["nothing there"]
    for segment in result.segments:
        np.testing.assert_array_equal(found[segment.name], result[segment.name])


@each
def test_a_second_round_changes_no_byte(kind: str, tmp_path: Path) -> None:
    first = saved(kind, tmp_path, made(NAMES))
    read_again = read_masks(first)
    other = tmp_path / "again"
    again = Result(read_again.segments, read_again.geometry, read_again.source)
    saved(kind, other, again)
    names = [p.name for p in tmp_path.iterdir() if p.suffix in (".tsv", ".txt", ".ctbl")]
    assert len(names) == 1
    lines = [(folder / names[0]).read_text().splitlines() for folder in (tmp_path, other)]
    assert sorted(lines[0]) == sorted(lines[1])


@each
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(name=st.text(min_size=1, max_size=30).filter(lambda n: "\0" not in n))
def test_any_name_survives_with_the_provenance_or_as_near_as_can_be(
    kind: str, name: str, tmp_path: Path
) -> None:
    try:
        result = made({5: name, 6: "b"})
    except InputError:  # a name that no file could hold
        return
    result.provenance = Provenance(notice="a test")
    path = tmp_path / KINDS[kind]
    tables: Any = [] if kind == "bids" else [kind]
    result.save(path, beside=tables, overwrite=True)
    assert read_masks(path).segments[0].name == name
    (tmp_path / f"{path.name}.json").unlink()
    alone = read_masks(path).segments[0]
    cleaned = next(t for t in TABLES if t.name == kind).load().cleaned(name)
    assert alone.name in ([cleaned] if cleaned not in ("", "n/a") else ["label 5", "object"])


def test_bids_writes_what_its_specification_has(tmp_path: Path) -> None:
    path = saved("bids", tmp_path, made(NAMES, (1, 22, 253)))
    with path.with_name("sub-01_dseg.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["index"]) for row in rows] == [3, 7, 4000, 9]
    assert [row["name"] for row in rows] == list(NAMES.values())
    assert {row["color"] for row in rows} == {"#0116FD"}
    assert [row["mapping"] for row in rows] == ["n/a", "1", "n/a", "n/a"], "1 is grey matter"
    said = json.loads(path.with_name("sub-01_dseg.json").read_text())
    assert said["GeneratedBy"]["Name"] == "promptseg"
    assert "Manual" not in said, "nobody knows who made it"


def test_itk_snaps_own_rule_reads_the_description(tmp_path: Path) -> None:
    """As in its manual: seven numbers, then the name in quotes; # begins a comment."""
    path = saved("itk-snap", tmp_path, made(NAMES, (1, 22, 253)))
    rows = {}
    for line in path.with_name("mask.nii.gz.label.txt").read_text().splitlines():
        if not line.startswith("#"):
            numbers, quote, name = line.partition('"')
            index, r, g, b, a, vis, mesh = numbers.split()
            assert quote
            assert name.endswith('"')
            rows[int(index)] = (name[:-1], (int(r), int(g), int(b)), float(a), vis, mesh)
    assert rows.pop(0) == ("Clear Label", (0, 0, 0), 0.0, "0", "0")
    assert rows == {k: (name, (1, 22, 253), 1.0, "1", "1") for k, name in NAMES.items()}


@pytest.mark.skipif(
    not os.environ.get("PROMPTSEG_SLICER_PYTHON"),
    reason="no MRML here: pip install slicer-core in a venv that PROMPTSEG_SLICER_PYTHON names",
)
def test_slicers_own_reader_reads_the_table_and_we_read_its_own(tmp_path: Path) -> None:
    names = {3: "left kidney", 7: "grey matter", 12: "nothing there"}
    path = saved("slicer", tmp_path, made(names, (1, 22, 253)))
    own_table = str(tmp_path / "own.ctbl")
    done = subprocess.run(
        [os.environ["PROMPTSEG_SLICER_PYTHON"], "-c", _SLICER, f"{path}.ctbl", own_table],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert {int(k): v[0] for k, v in said.items() if int(k)} == names
    for label in names:
        assert np.allclose(np.multiply(said[str(label)][1], 255), (1, 22, 253, 255))
    own = read_table(tmp_path / "own.ctbl")
    assert {k: row.name for k, row in own.rows.items()} == names
    assert {row.colour for row in own.rows.values()} == {(1, 22, 253)}


_SLICER = """
import sys, json
import slicer
node = slicer.vtkMRMLColorTableNode()
scene = slicer.vtkMRMLScene()
scene.AddNode(node)
storage = slicer.vtkMRMLColorTableStorageNode()
scene.AddNode(storage)
storage.SetFileName(sys.argv[1])
assert storage.ReadData(node)
found = {}
for k in range(node.GetNumberOfColors()):
    if node.GetColorDefined(k):
        rgba = [0.0] * 4
        node.GetColor(k, rgba)
        found[k] = (node.GetColorName(k), rgba)
storage.SetFileName(sys.argv[2])
assert storage.WriteData(node)
print(json.dumps(found))
"""


def test_what_other_programs_wrote_is_read(tmp_path: Path) -> None:
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3], labels[4] = 2, 11
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "scan.nii.gz")
    (tmp_path / "scan.txt").write_text(
        "################\n# ITK-SnAP Label Description File\n"
        '    0     0    0    0        0  0  0    "Clear Label"\n'
        '    2   255    0    0     0.55  1  0    "Caudate, left"\n',
        encoding="utf-16",
    )
    found = read_masks(tmp_path / "scan.nii.gz")
    assert {s.label: (s.name, s.colour) for s in found.segments} == {
        2: ("Caudate, left", (255, 0, 0)),
        11: ("label 11", None),
    }
    assert "scan.txt does not name label 11" in found.source.notes
    again = Result(found.segments, found.geometry, found.source)
    again.save(tmp_path / "out.nii.gz", beside=["itk-snap"])
    written = (tmp_path / "out.nii.gz.label.txt").read_text()
    assert re.search(r'2 +255 +0 +0 +0\.55 +1 +0 +"Caudate, left"', written), "opacity stays"


def test_a_text_of_the_users_beside_a_mask_is_no_table(tmp_path: Path) -> None:
    made({1: "a", 2: "b"}).save(tmp_path / "mask.nii.gz")
    (tmp_path / "mask.txt").write_text("drawn on Monday\n")
    found = read_masks(tmp_path / "mask.nii.gz")
    assert [s.name for s in found.segments] == ["object"]
    assert found.source.notes == []


def test_a_damaged_table_of_ones_own_name_is_said(tmp_path: Path) -> None:
    path = saved("bids", tmp_path, made(NAMES))
    path.with_name("sub-01_dseg.tsv").write_text("index\tname\n3\ta\n3\tb\n")
    found = read_masks(path)
    assert any("3 twice" in note for note in found.source.notes)
    assert [s.label for s in found.segments] == [3, 7, 4000]


def test_a_table_above_is_inherited_and_names_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.10.0"}')
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    path = saved("bids", folder, made({3: "x", 4: "y", 5: "z"}))
    path.with_name("sub-01_dseg.tsv").unlink()
    (tmp_path / "dseg.tsv").write_text("index\tname\n3\tThalamus\n4\tPons\n99\tother\n")
    (tmp_path / "task-rest_dseg.tsv").write_text("index\tname\n3\twrong\n")
    assert [s.name for s in read_masks(path).segments] == ["Thalamus", "Pons"]


def test_a_table_is_named_for_many_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made({3: "x", 4: "y", 5: "z"}).save(tmp_path / "mask.mha")
    table = tmp_path / "organs.txt"
    table.write_text("# Color\n3 left_kidney 1 2 3 255\n77 spleen 4 5 6 255\n")
    found = read_masks(tmp_path / "mask.mha", None, MaskOptions(table=table))
    assert [s.name for s in found.segments] == ["left kidney", "label 4"]
    command = ["convert", "-i", str(tmp_path / "mask.mha"), "--table", str(table)]
    out = tmp_path / "out_dseg.nii.gz"
    assert main([*command, "-o", str(out), "--beside", "slicer", "--json"]) == 0
    assert answer("convert", capsys.readouterr().out)["objects"][0]["name"] == "left kidney"
    assert sorted(p.name for p in tmp_path.glob("out*")) == [
        "out_dseg.json",
        "out_dseg.nii.gz",
        "out_dseg.nii.gz.ctbl",
        "out_dseg.nii.gz.json",
        "out_dseg.tsv",
    ]
    assert main([*command, "-o", str(table), "--overwrite"]) == 2


@pytest.mark.parametrize(
    ("name", "tables", "words"),
    [
        ("mask.nii.gz", ["bids"], "called ..._dseg.nii.gz"),
        ("mask.geojson", ["slicer"], "a label image"),
        ("mask.coco.json", ["itk-snap"], "a label image"),
    ],
)
def test_tables_that_a_mask_cannot_have_are_refused_before_anything_is_written(
    name: str, tables: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=re.escape(words)):
        made({1: "a", 2: "b"}).save(tmp_path / name, beside=tables)
    assert not list(tmp_path.iterdir())


def test_bids_refuses_objects_that_overlap(tmp_path: Path) -> None:
    both = np.ones(SHAPE, dtype=bool)
    result = Result(
        [Segment.from_mask("a", 1, both), Segment.from_mask("b", 2, both)],
        Geometry.from_spacing(SHAPE, (1, 1, 1)),
    )
    with pytest.raises(OutputError, match="do not overlap in a BIDS"):
        result.save(tmp_path / "sub-01_dseg.nii.gz")
    assert not list(tmp_path.iterdir())
    result.save(tmp_path / "sub-01_dseg.nii.gz", overlap="later-wins")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("index\tvalue\n1\ta\n", "index and name"),
        ("index\tname\n-1\ta\n", "'-1' as label"),
        ("index\tname\tcolor\n1\ta\tred\n", "#RRGGBB"),
        ("1 a 300 0 0 255\n", "colour"),
        ("1 a 0 0 0\n", ""),
        ("", ""),
    ],
)
def test_no_table_is_one_error(content: str, words: str, tmp_path: Path) -> None:
    for name in ("t.tsv", "t.txt", "t.ctbl"):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as caught:
            read_table(tmp_path / name)
        assert "table of labels" in str(caught.value)
        if name == "t.tsv" and "\t" in content:
            assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("sub-01_ses-2_run-1_T1w.nii.gz", {"sub": "01", "ses": "2", "run": "1"}),
        ("dseg.tsv", {}),
        ("scan_image.nii.gz", None),
        ("sub-01_x_T1w.nii.gz", None),
    ],
)
def test_names_are_taken_apart(name: str, entities: dict[str, str] | None) -> None:
    found = parse_name(name)
    assert (found.entities if found else None) == entities
    if found:
        assert str(found) == name


def test_derivatives_are_named_after_their_image() -> None:
    for image, mask in {
        "sub-01_T1w.nii.gz": "sub-01_desc-T1w_dseg.nii.gz",
        "sub-01_ses-a_space-MNI_desc-preproc_T2w.nii": (
            "sub-01_ses-a_space-MNI_desc-preprocT2w_dseg.nii.gz"
        ),
    }.items():
        name = parse_name(image)
        assert name
        assert derivative_name(name) == mask
