"""Nothing of an object is lost or made up: fields that are absent, voxels without a name, numbers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from formats.helpers import ORTHOGONAL, SHAPE, segmentation_of, two_overlapping, write_nifti
from promptseg import read
from promptseg.errors import InputError, OutputError
from promptseg.formats.masks import read_masks
from promptseg.formats.numbers import number_in, usable_labels
from promptseg.formats.saving import save
from promptseg.image import Image, Segment, Segmentation
from promptseg.provenance import Provenance

A, B, C = (np.zeros(SHAPE, dtype=bool) for _ in range(3))
A[1, 1:4, 1:4], B[2:4, 2, 2:6], C[0, 5, 6] = True, True, True
WANT = {"liver": A.sum(), "spleen": B.sum(), "node": C.sum()}
LABELS = A * 1 + B * 2 + C * 3
GRID: dict[str, Any] = {
    "space": "left-posterior-superior",
    "space origin": [1.0, 2.0, 3.0],
    "encoding": "gzip",
}


def slicer(path: Path, voxels: NDArray[Any], **fields: list[Any]) -> Path:
    """A .seg.nrrd of three named segments: labels (z, y, x), or layers (layer, z, y, x)."""
    directions = np.diag([0.7, 0.9, 3.0])
    head = {**GRID, "kinds": ["domain"] * 3, "space directions": directions}
    if voxels.ndim == 4:
        listed = np.vstack([[np.nan] * 3, directions])
        head |= {"kinds": ["list", "domain", "domain", "domain"], "space directions": listed}
    said = {"ID": ["S1", "S2", "S3"], "Name": list(WANT), **fields}
    for key, values in said.items():
        head |= {f"Segment{k}_{key}": str(v) for k, v in enumerate(values) if v is not None}
    stored = voxels.astype(np.uint8)
    nrrd.write(str(path), stored.transpose(*([0] if voxels.ndim == 4 else []), *(-1, -2, -3)), head)
    return path


def sizes(masks: Segmentation) -> dict[str, int]:
    return {s.name: int(s.crop.sum()) for s in masks.segments}


LAYERS = np.stack([A, B, C])
ANYWHERE: list[dict[str, list[Any]]] = [
    {},  # as Slicer 4.10 wrote it: layer N, value 1
    {"LabelValue": [1, 1, 1]},
    {"Layer": [0, 1, 2]},
    {"LabelValue": [1, 1, 1], "Layer": [0, 1, 2]},
    {"LabelValue": [1, None, 1], "Layer": [None, 1, None]},
]


@pytest.mark.parametrize("fields", ANYWHERE)
def test_what_a_slicer_header_leaves_out(tmp_path: Path, fields: dict[str, list[Any]]) -> None:
    found = read_masks(slicer(tmp_path / "x.seg.nrrd", LAYERS, **fields))
    assert sizes(found) == WANT
    assert [s.label for s in found.segments] == [1, 2, 3]


def test_values_tell_segments_apart_in_the_only_layer(tmp_path: Path) -> None:
    found = read_masks(slicer(tmp_path / "x.seg.nrrd", LABELS, LabelValue=[1, 2, 3]))
    assert sizes(found) == WANT
    other = np.where(LAYERS, 255, 0)  # a layer's only value is its object's, whatever it is
    assert sizes(read_masks(slicer(tmp_path / "y.seg.nrrd", other))) == WANT


@pytest.mark.parametrize(
    "fields", [{}, {"LabelValue": [1, 1, 1]}, {"Layer": [0, 0, 0]}, {"LabelValue": [1, 2, None]}]
)
def test_segments_that_nothing_tells_apart_are_refused(
    tmp_path: Path, fields: dict[str, list[Any]]
) -> None:
    with pytest.raises(InputError, match="a Layer and a LabelValue for every segment"):
        read_masks(slicer(tmp_path / "x.seg.nrrd", LABELS, **fields))


@pytest.mark.parametrize(("field", "value"), [("Layer", "x"), ("LabelValue", "0"), ("Layer", "-1")])
def test_places_that_are_no_numbers_are_refused(tmp_path: Path, field: str, value: str) -> None:
    with pytest.raises(InputError, match=f"a whole number for Segment1_{field}"):
        read_masks(slicer(tmp_path / "x.seg.nrrd", LABELS, **{field: [1, value, 3]}))


def test_voxels_without_a_name_are_an_object(tmp_path: Path) -> None:
    fields = {"LabelValue": [1, 2], "Layer": [0, 0], "Name": ["liver", "spleen"], "ID": ["a", "b"]}
    found = read_masks(slicer(tmp_path / "x.seg.nrrd", LABELS, **fields))
    assert sizes(found) == {"liver": A.sum(), "spleen": B.sum(), "label 3": C.sum()}
    np.testing.assert_array_equal(found.labels(), LABELS)
    assert "voxels of value 3 that its header does not name" in found.source.notes[-1]


def test_a_layer_that_is_not_there_and_one_that_is_not_named(tmp_path: Path) -> None:
    beyond = {"LabelValue": [1, 1, 1], "Layer": [0, 1, 7]}
    found = read_masks(slicer(tmp_path / "x.seg.nrrd", LAYERS, **beyond))
    assert sizes(found) == {"liver": A.sum(), "spleen": B.sum(), "node": 0, "label 4": C.sum()}
    notes = " ".join(found.source.notes)
    assert "says layer 7, but has 3" in notes
    assert "value 1 in layer 2" in notes


def test_objects_with_the_same_voxels_are_noted(tmp_path: Path) -> None:
    same = {"LabelValue": [1, 1, 2], "Layer": [0, 0, 0]}
    found = read_masks(slicer(tmp_path / "x.seg.nrrd", LABELS, **same))
    assert "'liver' and 'spleen' cover the very same voxels" in found.source.notes


def test_slicer_colours_and_tags_are_kept(tmp_path: Path) -> None:
    fields = {"Color": ["1 0.5 0", "0 0 1", "0.2 0.2 0.2"], "Tags": ["Category:~SCT^85756007|"] * 3}
    found = read_masks(
        slicer(tmp_path / "x.seg.nrrd", LABELS, LabelValue=[1, 2, 3], Layer=[0, 0, 0], **fields)
    )
    found.segments[1].name = "renamed"
    header = nrrd.read_header(str(save(found, tmp_path / "y.seg.nrrd")))
    assert header["Segment0_Color"].split() == ["1", "0.501961", "0"]
    assert header["Segment0_Tags"] == "Category:~SCT^85756007|"
    assert header["Segment0_ID"] == "S1"
    assert "Segment1_Tags" not in header


def numbered(image: Image, numbers: list[int], masks: dict[str, NDArray[np.bool_]]) -> Segmentation:
    made = segmentation_of(image, masks)
    for segment, number in zip(made.segments, numbers, strict=True):
        segment.label = number
    return made


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return read(write_nifti(tmp_path / "scan.nii.gz", ORTHOGONAL["oblique"]))


LAYERED = ["nii.gz", "nrrd", "mha", "mgz", "npz"]


@pytest.mark.parametrize("ending", LAYERED)
@pytest.mark.parametrize("overlapping", [False, True])
def test_numbers_survive_without_a_provenance(
    image: Image, tmp_path: Path, ending: str, overlapping: bool
) -> None:
    masks = two_overlapping() if overlapping else {"liver": A, "lesion": B}
    made = numbered(image, [7, 300], masks)
    back = read_masks(made.save(tmp_path / f"m.{ending}"))
    assert back.sha256() == made.sha256()


def test_layers_numbered_in_order_hold_ones(image: Image, tmp_path: Path) -> None:
    path = segmentation_of(image, two_overlapping()).save(tmp_path / "m.nii.gz")
    assert np.unique(np.asarray(nib.load(path).dataobj)).tolist() == [0, 1]


def test_layers_of_another_program(tmp_path: Path) -> None:
    stack = np.stack([A * 4, B * 9, np.zeros(SHAPE)], axis=-1).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(stack, isVector=True), str(tmp_path / "m.mha"))
    found = read_masks(tmp_path / "m.mha")
    assert [(s.name, s.label, int(s.crop.sum())) for s in found.segments] == [
        ("label 4", 4, A.sum()),
        ("label 9", 9, B.sum()),
        ("label 3", 3, 0),
    ]


def test_names_of_an_npz_belong_to_its_labels(image: Image, tmp_path: Path) -> None:
    made = numbered(image, [12, 3], {"liver": A, "node": B})
    path = made.save(tmp_path / "m.npz")
    assert read_masks(path).names == {3: "node", 12: "liver"}
    with np.load(path) as saved:
        older = {k: saved[k] for k in saved if k != "labels"}
    np.savez(tmp_path / "older.npz", **older | {"names": np.array(["node", "liver"])})
    back = read_masks(tmp_path / "older.npz")
    assert back.names == {3: "node", 12: "liver"}
    assert "taken in order" in back.source.notes[0]


@pytest.mark.parametrize("ending", [*LAYERED, "seg.nrrd"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_an_empty_object_stays(
    image: Image, tmp_path: Path, ending: str, overlapping: bool
) -> None:
    nothing = np.zeros(SHAPE, dtype=bool)
    masks = two_overlapping() if overlapping else {"liver": A, "lesion": B}
    made = segmentation_of(image, {**masks, "nothing": nothing})
    made.provenance = Provenance(created="now")
    back = read_masks(made.save(tmp_path / f"m.{ending}"), image)
    assert back.names == {1: "liver", 2: "lesion", 3: "nothing"}
    assert back.segments[2].is_empty
    assert back.sha256() == made.sha256()


def test_the_provenance_tells_where_each_object_is(
    image: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def objects(path: Path) -> list[dict[str, Any]]:
        said = json.loads(path.with_name(f"{path.name}.json").read_text())
        for entry in said["objects"]:
            entry.pop("predicted_iou", None)
        found: list[dict[str, Any]] = said["objects"]
        return found

    made = numbered(image, [7, 9], two_overlapping())
    made.provenance = Provenance(created="now")
    with caplog.at_level(logging.WARNING, "promptseg"):
        path = made.save(tmp_path / "m.nii.gz")
    assert "4 dimensions, one layer per object; --overlap later-wins" in caplog.text
    assert objects(path) == [
        {"label": 7, "name": "liver", "layer": 0, "value": 7},
        {"label": 9, "name": "lesion", "layer": 1, "value": 9},
    ]
    caplog.clear()
    assert objects(made.save(tmp_path / "flat.nii.gz", overlap="later-wins")) == [
        {"label": 7, "name": "liver", "value": 7},
        {"label": 9, "name": "lesion", "value": 9},
    ]
    assert caplog.text == ""
    stored = np.asarray(nib.load(path).dataobj)
    for entry in objects(path):
        layer, value = stored[..., entry["layer"]].T, entry["value"]
        mask = layer == value
        np.testing.assert_array_equal(mask, made[entry["name"]])


@pytest.mark.parametrize("labels", [[3, 3], [0, 1], [1, 70_000], [-1, 1]])
@pytest.mark.parametrize("overlapping", [False, True])
def test_labels_that_no_file_can_hold_are_refused(
    image: Image, tmp_path: Path, labels: list[int], overlapping: bool
) -> None:
    masks = two_overlapping() if overlapping else {"liver": A, "lesion": B}
    with pytest.raises(OutputError, match=r"labels from 1|a label of its own"):
        numbered(image, labels, masks).save(tmp_path / "m.nii.gz")
    assert not list(tmp_path.glob("m.*"))


def test_a_side_beyond_nifti_1_makes_nifti_2(tmp_path: Path) -> None:
    wide = Image.from_array(np.zeros((2, 40_000), np.uint8))
    mask = np.zeros((2, 40_000), dtype=bool)
    mask[1, 39_990:] = True
    path = segmentation_of(wide, {"a": mask}).save(tmp_path / "m.nii.gz")
    stored = nib.load(path)
    assert isinstance(stored, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(stored.dataobj)[..., 0].T > 0, mask)


numbers = st.lists(st.integers(-3, 70_000) | st.integers(1, 4), max_size=12)


@settings(deadline=None, derandomize=True)
@given(wanted=numbers)
def test_usable_labels_change_as_little_as_possible(wanted: list[int]) -> None:
    notes: list[str] = []
    labels = usable_labels([("x", n) for n in wanted], notes)
    assert len(set(labels)) == len(labels) == len(wanted)
    assert all(1 <= label <= 65_535 for label in labels)
    kept = [n for k, n in enumerate(wanted) if 1 <= n <= 65_535 and n not in wanted[:k]]
    assert [label for label, n in zip(labels, wanted, strict=True) if label == n] == kept
    assert bool(notes) == (len(kept) < len(wanted))


def test_a_number_in_a_name() -> None:
    assert number_in("label 12") == 12
    assert [number_in(n) for n in ("label 0", "label 012", "label 70000", "label", "Label 3")] == [
        None
    ] * 5


def test_an_object_without_voxels_is_no_obstacle_to_correcting(image: Image) -> None:
    empty = Segment("a", 1, np.zeros((0, 0, 0), dtype=bool), (slice(0, 0),) * 3)
    masks = Segmentation([empty], image.geometry, image.source)
    assert not masks.has_overlap()
    assert masks.labels().max() == 0


def test_voxel_sizes_that_no_header_says_are_told(tmp_path: Path) -> None:
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    nrrd.write(str(tmp_path / "a.nrrd"), voxels.T, {"encoding": "raw"})
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "whole.mha"))
    lines = (tmp_path / "whole.mha").read_bytes().split(b"\n")
    bare = [line for line in lines if not line.startswith(b"ElementSpacing")]
    (tmp_path / "b.mha").write_bytes(b"\n".join(bare))
    for name in ("a.nrrd", "b.mha"):
        assert "no voxel sizes in the header: 1 mm taken" in read(tmp_path / name).source.notes
    assert read(tmp_path / "whole.mha").source.notes == []


@pytest.mark.parametrize("form", ["sform", "none"])
def test_a_voxel_size_of_zero_in_a_nifti(tmp_path: Path, form: str) -> None:
    stored = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), None)
    stored.header.set_sform(np.diag([0.7, 0.9, 3, 1]), code=1 if form == "sform" else 0)
    stored.header["qform_code"], stored.header["pixdim"][1:4] = 0, [0.7, 0.9, 0]
    nib.save(stored, tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    size = 3 if form == "sform" else 1
    np.testing.assert_allclose(image.geometry.spacing, [0.7, 0.9, size], rtol=1e-6)
    said = any("no voxel size along z" in note for note in image.source.notes)
    assert said is (form == "none")
