"""Masks of any file, with the names that it or the provenance beside it tells."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image as PilImage

from formats.dicom_makers import write_object
from formats.helpers import (
    GRIDS,
    ORTHOGONAL,
    SHAPE,
    corner_mask,
    random_voxels,
    segmentation_of,
    two_overlapping,
    write_nifti,
    write_nrrd,
    write_sitk,
)
from promptseg import read
from promptseg.errors import GeometryError, InputError, PromptError
from promptseg.formats.masks import read_masks
from promptseg.image import Image
from promptseg.jobs.existing import read_segmentation
from promptseg.provenance import ObjectFacts, Provenance

LAYERED = ["nii.gz", "nrrd", "seg.nrrd", "mha", "mgz", "npz"]


def facts(*names: str) -> Provenance:
    return Provenance(objects=tuple(ObjectFacts(label=k, name=n) for k, n in enumerate(names, 1)))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return read(write_nifti(tmp_path / "scan.nii.gz", ORTHOGONAL["oblique"]))


@pytest.mark.parametrize("ending", LAYERED)
@pytest.mark.parametrize("overlap", ["keep", "later-wins"])
def test_what_was_written_is_read_back(
    image: Image, tmp_path: Path, ending: str, overlap: str
) -> None:
    masks = segmentation_of(image, two_overlapping())
    masks.provenance = facts("liver", "lesion")
    path = masks.save(tmp_path / f"out.{ending}", overlap=overlap)
    expected = masks if overlap == "keep" else masks.without_overlap()
    for reference in (None, image):
        back = read_masks(path, reference)
        assert back.sha256() == expected.sha256()
        assert back.names == {1: "liver", 2: "lesion"}
        assert back.geometry.agrees_with(image.geometry)
    assert read_segmentation(path, image).segments[1].measurements["voxels"] > 0


@pytest.mark.parametrize("ending", [*LAYERED, "tif"])
def test_three_layers_of_a_picture_are_no_colours(tmp_path: Path, ending: str) -> None:
    picture = Image.from_array(np.arange(42, dtype=np.uint8).reshape(6, 7))
    masks = two_overlapping((6, 7)) | {"third": corner_mask((6, 7))[::-1]}
    written = segmentation_of(picture, masks)
    back = read_masks(written.save(tmp_path / f"out.{ending}"), picture)
    assert back.sha256() == written.sha256()


@pytest.mark.parametrize("ending", ["nrrd", "npz"])
def test_names_in_the_file_itself(image: Image, tmp_path: Path, ending: str) -> None:
    names = {"Leber": corner_mask(), "肝\\n": ~corner_mask()}
    back = read_masks(segmentation_of(image, names).save(tmp_path / f"out.{ending}"))
    assert list(back.names.values()) == list(names)


def test_names_where_nothing_tells_them(image: Image, tmp_path: Path) -> None:
    one = segmentation_of(image, {"a": corner_mask()}).save(tmp_path / "one.nii.gz")
    assert read_masks(one).names == {1: "object"}
    two = segmentation_of(image, {"a": corner_mask(), "b": ~corner_mask()})
    assert read_masks(two.save(tmp_path / "two.mha")).names == {1: "label 1", 2: "label 2"}
    layers = segmentation_of(image, two_overlapping()).save(tmp_path / "layers.mha")
    assert read_masks(layers).names == {1: "label 1", 2: "label 2"}


def test_a_segmentation_of_slicer(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1:3, 2:4], labels[2, 4, 5] = 1, 3
    path = write_nrrd(tmp_path / "x.seg.nrrd", GRIDS["oblique"], voxels=labels)
    head, data = path.read_bytes().split(b"\n\n", 1)
    fields = (
        "Segment0_Name:=liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\nSegment0_Color:=1 0.5 0\n"
        "Segment1_Name:=gall:=bladder\nSegment1_LabelValue:=3\nSegment1_Layer:=0"
    )
    path.write_bytes(head + b"\n" + fields.encode() + b"\n\n" + data)
    back = read_masks(path)
    assert back.names == {1: "liver", 3: "gall:=bladder"}
    assert back.segments[0].colour == (255, 128, 0)
    np.testing.assert_array_equal(back.labels(), labels)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha", "mgz", "npz"])
@pytest.mark.parametrize("kind", ["film", "stack"])
def test_masks_of_what_lies_nowhere_fit_by_their_size(
    tmp_path: Path, ending: str, kind: str
) -> None:
    pixels = np.abs(random_voxels()).astype(np.uint8)
    if kind == "film":
        path = write_object(tmp_path / "us.dcm", pixels, frames=True, Modality="US")
    else:
        path = tmp_path / "pages.tif"
        first, *others = [PilImage.fromarray(page) for page in pixels]
        first.save(path, save_all=True, append_images=others)
    image = read(path)
    masks = segmentation_of(image, two_overlapping())
    written = masks.save(tmp_path / f"m.{ending}")
    assert read_masks(written, image).sha256() == masks.sha256()
    smaller = read(write_object(tmp_path / "b.dcm", pixels[1:], frames=True, Modality="US"))
    with pytest.raises(GeometryError, match=r"labels on the grid of b\.dcm"):
        read_masks(written, smaller)


def test_masks_of_another_grid_are_refused(image: Image, tmp_path: Path) -> None:
    moved = write_sitk(
        tmp_path / "moved.mha", ORTHOGONAL["plain"], voxels=corner_mask().astype(np.uint8)
    )
    with pytest.raises(GeometryError, match="on the grid of"):
        read_masks(moved, image)
    with pytest.raises(PromptError, match="on the grid of"):
        read_segmentation(moved, image)


def test_an_image_is_no_mask(image: Image, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a label image"):
        read_masks(write_sitk(tmp_path / "a.nrrd", np.eye(3), voxels=-np.ones(SHAPE, np.int16)))
    with pytest.raises(InputError, match="no such file"):
        read_masks(tmp_path / "none.nii.gz")
    vectors = sitk.GetImageFromArray(np.random.default_rng(0).random((*SHAPE, 2)), isVector=True)
    sitk.WriteImage(vectors, str(tmp_path / "vectors.mha"))
    with pytest.raises(InputError, match=r"whole numbers.*0\.63\d* at "):
        read_masks(tmp_path / "vectors.mha")


def test_broken_files_are_refused_by_one_error(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.tif", "a.npz", "a.dcm", "a.rtstruct.dcm"):
        for content in (b"", b"nonsense" * 100, b"\0" * 128 + b"DICM" + b"\x08\0\x05\0"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError):
                read_masks(tmp_path / name)


def test_outputs_of_one_stem_have_a_provenance_each(image: Image, tmp_path: Path) -> None:
    first = segmentation_of(image, {"liver": corner_mask(), "spleen": ~corner_mask()})
    first.provenance = facts("liver", "spleen")
    first.save(tmp_path / "mask.nii.gz")
    second = segmentation_of(image, {"node": corner_mask()})
    second.provenance = facts("node")
    second.save(tmp_path / "mask.mha")
    assert read_masks(tmp_path / "mask.nii.gz").names == {1: "liver", 2: "spleen"}
    assert read_masks(tmp_path / "mask.mha").names == {1: "node"}
    assert {p.name for p in tmp_path.glob("mask*json")} == {"mask.nii.gz.json", "mask.mha.json"}


def test_a_provenance_called_after_the_stem_is_read_by_its_owner_alone(
    image: Image, tmp_path: Path
) -> None:
    segmentation = segmentation_of(image, {"liver": corner_mask()})
    for name in ("mask.nii.gz", "mask.mha"):
        segmentation.save(tmp_path / name)
    earlier = facts("Leber").to_json() | {"output": "mask.nii.gz"}
    (tmp_path / "mask.json").write_text(json.dumps(earlier))
    assert read_masks(tmp_path / "mask.nii.gz").names == {1: "Leber"}
    assert read_masks(tmp_path / "mask.mha").names == {1: "object"}
    segmentation.provenance = facts("new")
    segmentation.save(tmp_path / "mask.nii.gz", overwrite=True)
    assert read_masks(tmp_path / "mask.nii.gz").names != {1: "Leber"}
    assert json.loads((tmp_path / "mask.json").read_text()) == earlier


@pytest.mark.parametrize("beside", ["mask.nii.gz.json", "mask.json"])
def test_masks_without_provenance_do_not_inherit_names(
    image: Image, tmp_path: Path, beside: str
) -> None:
    named = segmentation_of(image, {"liver": corner_mask()})
    named.provenance = facts("liver")
    named.save(tmp_path / "mask.nii.gz")
    (tmp_path / "mask.nii.gz.json").rename(tmp_path / beside)
    segmentation_of(image, {"a": ~corner_mask()}).save(tmp_path / "mask.nii.gz", overwrite=True)
    assert read_masks(tmp_path / "mask.nii.gz").names == {1: "a"}


@pytest.mark.parametrize("ending", ["nii.gz", "mgz"])
def test_layers_are_neither_believed_nor_taken_damaged(tmp_path: Path, ending: str) -> None:
    """As images: the size that a header promises is compared with the file, the checksum too."""
    image = read(write_nifti(tmp_path / "a.nii.gz", GRIDS["oblique"]))
    path = segmentation_of(image, two_overlapping()).save(tmp_path / f"m.{ending}")
    content = gzip.decompress(path.read_bytes())
    place, size = (48, "<h") if ending == "nii.gz" else (16, ">i")  # of the number of frames
    huge = bytearray(content)
    struct.pack_into(size, huge, place, 30_000)
    path.write_bytes(gzip.compress(huge))
    with pytest.raises(InputError, match=r"a complete file with .* bytes of voxels"):
        read_masks(path)
    damaged = bytearray(gzip.compress(content))
    damaged[-6] ^= 1  # of the checksum
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"CRC|readable"):
        read_masks(path)
