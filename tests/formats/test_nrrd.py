"""NRRD: places of voxels, header fields kept as they are, Slicer's segment fields."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from formats.helpers import (
    GRIDS,
    ORIGIN,
    ORTHOGONAL,
    SHAPE,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    random_voxels,
    read_nrrd,
    read_sitk,
    segmentation_of,
    two_overlapping,
    write_nrrd,
)
from promptseg import read
from promptseg.errors import InputError, PromptsegError

SPACES = ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"]


def header_of(path: Path) -> dict[str, Any]:
    return dict(nrrd.read_header(str(path)))


def assert_header_kept(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["space"] == before["space"]
    np.testing.assert_array_equal(after["space directions"], before["space directions"])
    np.testing.assert_array_equal(after["space origin"], before["space origin"])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", GRIDS)
def test_places_and_voxels_are_those_of_pynrrd(tmp_path: Path, grid: str, space: str) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS[grid], space=space)
    image, other = read(path), read_nrrd(path)
    np.testing.assert_array_equal(image.voxels, other.voxels)
    assert_image_places(image, other)
    assert image.source.format == "nrrd"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", GRIDS)
def test_masks_come_back_on_the_grid_of_the_input(tmp_path: Path, grid: str, space: str) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS[grid], space=space)
    out = segmentation_of(read(path)).save(tmp_path / "mask.nrrd")
    found = read_sitk(out)
    np.testing.assert_array_equal(found.voxels, corner_mask())
    assert_same_places(found, read_nrrd(path))
    assert_header_kept(header_of(path), header_of(out))


def test_detached_headers_beside_their_data(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "scan.nhdr", ORTHOGONAL["oblique"], space=SPACES[1])
    image = read(path)
    np.testing.assert_array_equal(image.voxels, random_voxels())
    out = segmentation_of(image).save(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(read_sitk(out).voxels, corner_mask())
    assert_same_places(read_sitk(out), read_nrrd(path))
    assert_header_kept(header_of(path), header_of(out))


@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
@pytest.mark.parametrize("absolute", [True, False])
def test_paths_in_a_header_are_not_followed_out_of_the_folder(
    tmp_path: Path, suffix: str, absolute: bool
) -> None:
    secret = tmp_path / "private" / "secret.raw"
    secret.parent.mkdir()
    secret.write_bytes(random_voxels(dtype="<i2").tobytes())
    path = tmp_path / "inbox" / f"scan.{suffix}"
    path.parent.mkdir()
    target = str(secret) if absolute else "../private/secret.raw"
    path.write_text(
        "NRRD0004\ntype: int16\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"
        f"data file: {target}\n"
    )
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


def test_spacings_without_a_space(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    nrrd.write(str(path), random_voxels().T, {"spacings": [0.5, 0.6, 3.0]}, index_order="F")
    image = read(path)
    np.testing.assert_allclose(image.geometry.spacing, [0.5, 0.6, 3.0])
    out = segmentation_of(image).save(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(header_of(out)["spacings"], [0.5, 0.6, 3.0])
    np.testing.assert_array_equal(read_sitk(out).voxels, corner_mask())


def test_colours(tmp_path: Path) -> None:
    path = tmp_path / "rgb.nrrd"
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    header = {
        "space": SPACES[1],
        "space directions": np.vstack([np.full(3, np.nan), np.diag([-0.5, -0.6, 3.0])]),
        "space origin": [1.0, 2.0, 3.0],
        "kinds": ["RGB-color", "domain", "domain", "domain"],
    }
    nrrd.write(str(path), colours.transpose(3, 2, 1, 0), header, index_order="F")
    image = read(path)
    assert image.is_colour
    np.testing.assert_array_equal(image.voxels, colours)
    found = read_sitk(segmentation_of(image).save(tmp_path / "mask.nrrd"))
    np.testing.assert_array_equal(found.voxels, corner_mask())
    lps = np.diag([0.5, 0.6, 3.0])
    assert_same_places(found, Grid(found.voxels, lps, np.array([-1.0, -2.0, 3.0])))


@pytest.mark.parametrize(
    ("kinds", "frames"),
    [
        (["list", "domain", "domain", "domain"], 4),
        (["vector", "domain", "domain", "domain"], 3),
        (["domain", "domain", "domain", "list"], 4),
        (["domain", "domain", "list", "domain"], 3),
        (["domain", "domain", "domain", "time"], 4),
        (["space", "space", "space", "domain"], 4),
    ],
)
@pytest.mark.parametrize("space", SPACES)
def test_lists_and_times_are_frames(
    tmp_path: Path, kinds: list[str], frames: int, space: str
) -> None:
    axis = next(k for k, kind in enumerate(kinds) if kinds.count(kind) == 1)
    voxels = random_voxels((frames, *SHAPE))
    lps = write_nrrd(tmp_path / "one.nrrd", GRIDS["oblique left-handed"], space=space)
    header = {k: v for k, v in header_of(lps).items() if k.startswith("space")}
    header["space directions"] = np.insert(header["space directions"], axis, np.nan, axis=0)
    stored = np.moveaxis(voxels.T, -1, axis)
    path = tmp_path / "scan.nrrd"
    nrrd.write(str(path), stored, {**header, "kinds": kinds}, index_order="F")
    with pytest.raises(InputError, match=rf"{frames} frames; choose one with --frame"):
        read(path)
    image = read(path, frame=2)
    np.testing.assert_array_equal(image.voxels, voxels[2])
    assert_image_places(image, read_nrrd(lps))
    out = segmentation_of(image).save(tmp_path / "mask.nrrd")
    assert_header_kept(header_of(lps), header_of(out))


def test_more_data_than_the_header_says_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nrrd"
    header = (
        b"NRRD0004\ntype: uint8\ndimension: 4\nsizes: 5 6 7 2\nencoding: gzip\n"
        b"space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1) none\n"
        b"kinds: domain domain domain time\n\n"
    )
    path.write_bytes(header + gzip.compress(random_voxels((2, *SHAPE), np.uint8).tobytes()))
    np.testing.assert_array_equal(read(path, frame=1).voxels.ravel(), random_voxels((2, 7 * 30))[1])
    path.write_bytes(header + gzip.compress(bytes(1 << 24)))
    with pytest.raises(InputError, match="at most 3,360 bytes"):
        read(path, frame=1)


def test_transparency_is_left_out_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "rgba.nrrd"
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 4)).astype(np.uint8)
    header = {"kinds": ["RGBA-color", "domain", "domain", "domain"]}
    nrrd.write(str(path), colours.transpose(3, 2, 1, 0), header, index_order="F")
    image = read(path)
    np.testing.assert_array_equal(image.voxels, colours[..., :3])
    assert "transparency ignored" in image.source.notes


def test_complex_values_become_magnitudes(tmp_path: Path) -> None:
    path = tmp_path / "complex.nrrd"
    pairs = np.random.default_rng(0).random((*SHAPE, 2)).astype(np.float32)
    header = {"kinds": ["complex", "domain", "domain", "domain"]}
    nrrd.write(str(path), pairs.transpose(3, 2, 1, 0), header, index_order="F")
    np.testing.assert_allclose(read(path).voxels, np.hypot(*np.moveaxis(pairs, -1, 0)), rtol=1e-6)


@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_a_long_header_does_not_hide_a_path(tmp_path: Path, suffix: str) -> None:
    secret = tmp_path / "private" / "secret.raw"
    secret.parent.mkdir()
    secret.write_bytes(random_voxels(dtype="<i2").tobytes())
    path = tmp_path / "inbox" / f"scan.{suffix}"
    path.parent.mkdir()
    path.write_text(
        "NRRD0004\ntype: int16\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"
        + "# nothing of use\n" * 10_000
        + "data file: ../private/secret.raw\n"
    )
    with pytest.raises(InputError, match=r"a header that ends within"):
        read(path)


def test_names_and_labels_are_written_as_slicer_reads_them(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS["plain"])
    masks = two_overlapping()
    masks["lesion"] &= ~masks["liver"]
    out = segmentation_of(read(path), masks).save(tmp_path / "mask.seg.nrrd")
    header = header_of(out)
    assert [header[f"Segment{k}_Name"] for k in range(2)] == ["liver", "lesion"]
    assert [header[f"Segment{k}_LabelValue"] for k in range(2)] == ["1", "2"]
    assert [header[f"Segment{k}_Layer"] for k in range(2)] == ["0", "0"]
    assert len({header[f"Segment{k}_ID"] for k in range(2)}) == 2
    np.testing.assert_array_equal(read_sitk(out).voxels, masks["liver"] + 2 * masks["lesion"])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", ["oblique left-handed", "sheared"])
def test_overlapping_objects_are_one_layer_each(tmp_path: Path, grid: str, space: str) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS[grid], space=space)
    masks = two_overlapping()
    out = segmentation_of(read(path), masks).save(tmp_path / "mask.seg.nrrd")
    header = header_of(out)
    assert header["sizes"].tolist() == [2, *SHAPE[::-1]]
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert [header[f"Segment{k}_Name"] for k in range(2)] == list(masks)
    assert [header[f"Segment{k}_LabelValue"] for k in range(2)] == ["1", "1"]
    assert [header[f"Segment{k}_Layer"] for k in range(2)] == ["0", "1"]
    assert header["space"] == space
    assert np.isnan(header["space directions"][0]).all()
    for found in (read_nrrd(out), read_sitk(out)):
        for k, mask in enumerate(masks.values()):
            np.testing.assert_array_equal(found.voxels[..., k], mask)
        assert_same_places(Grid(found.voxels[..., 0], *found[1:]), read_nrrd(path))


def test_layers_keep_spacings_and_centerings(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    header = {"spacings": [0.5, 0.6, 3.0], "centerings": ["cell", "cell", "cell"]}
    nrrd.write(str(path), random_voxels().T, header, index_order="F")
    masks = two_overlapping()
    out = segmentation_of(read(path), masks).save(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(header_of(out)["spacings"], [np.nan, 0.5, 0.6, 3.0])
    itk = sitk.ReadImage(str(out))
    np.testing.assert_allclose(itk.GetSpacing(), [0.5, 0.6, 3.0])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk)[..., 1], masks["lesion"])


@pytest.mark.parametrize("name", ["a\nb", "left: kidney", "k:=v", "Läsion 3", "#no"])
def test_any_name_leaves_the_file_readable(tmp_path: Path, name: str) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS["plain"])
    out = segmentation_of(read(path), {name: corner_mask()}).save(tmp_path / "mask.nrrd")
    itk = sitk.ReadImage(str(out))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), corner_mask())
    assert {k for k in itk.GetMetaDataKeys() if k.startswith("Segment")} == {
        "Segment0_ID",
        "Segment0_Name",
        "Segment0_LabelValue",
        "Segment0_Layer",
    }
    written = itk.GetMetaData("Segment0_Name").replace("\\n", "\n")
    assert written.split() == name.split()


def test_pictures_in_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "flat.nrrd"
    voxels = random_voxels((6, 7))
    header = {
        "space dimension": 2,
        "space directions": [[0.5, 0], [0, 0.7]],
        "space origin": [3, 4],
    }
    nrrd.write(str(path), voxels.T, header, index_order="F")
    image = read(path)
    assert image.kind == "picture"
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_allclose(image.geometry.spacing[:2], [0.5, 0.7])
    out = segmentation_of(image).save(tmp_path / "mask.nrrd")
    itk = sitk.ReadImage(str(out))
    assert (itk.GetSpacing(), itk.GetOrigin()) == ((0.5, 0.7), (3, 4))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), corner_mask((6, 7)))


def test_origin_of_the_helpers_is_used(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", GRIDS["oblique"], space=SPACES[1])
    np.testing.assert_allclose(read(path).geometry.origin, ORIGIN)


@pytest.mark.parametrize("detached", [False, True])
def test_damaged_voxels_are_never_taken_for_others(tmp_path: Path, detached: bool) -> None:
    """ITK stops before the checksum of the gzip stream and may give wrong voxels."""
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    voxels = np.random.default_rng(0).integers(0, 9, (5, 16, 17)).astype(np.int16)
    nrrd.write(str(path), voxels.T, {"space": "LPS", "space directions": np.eye(3)})
    np.testing.assert_array_equal(read(path).voxels, voxels)
    data = next(tmp_path.glob("a.raw.gz")) if detached else path
    content = data.read_bytes()
    for place in range(len(content) - 400, len(content) - 4, 44):
        damaged = bytearray(content)
        damaged[place] ^= 1
        data.write_bytes(damaged)
        with pytest.raises(InputError, match=r"intact voxels|readable n"):
            read(path)
