"""NIfTI: places of voxels, header fields kept as they are, contradictory headers."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from formats.helpers import (
    GRIDS,
    ORTHOGONAL,
    RAS,
    SHAPE,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    random_voxels,
    read_nifti,
    read_sitk,
    real_data,
    segmentation_of,
    two_overlapping,
    write_nifti,
)
from promptseg import read
from promptseg.errors import InputError, PromptsegError

KEPT = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)


def assert_header_kept(before: Any, after: Any) -> None:
    for field in KEPT:
        np.testing.assert_array_equal(after[field], before[field], err_msg=field)
    np.testing.assert_array_equal(after["pixdim"][:4], before["pixdim"][:4])


def save(path: Path, tmp_path: Path, name: str = "mask.nii.gz") -> Path:
    return segmentation_of(read(path)).save(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_places_and_voxels_are_those_of_nibabel(tmp_path: Path, grid: str, suffix: str) -> None:
    path = write_nifti(tmp_path / f"scan{suffix}", GRIDS[grid])
    image, other = read(path), read_nifti(path)
    np.testing.assert_array_equal(image.voxels, other.voxels)
    assert image.voxels.dtype == np.int16
    assert_image_places(image, other)
    assert image.source.format == "nifti"
    assert image.source.notes == []


@pytest.mark.parametrize("grid", GRIDS)
def test_masks_come_back_on_the_grid_of_the_input(tmp_path: Path, grid: str) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", GRIDS[grid])
    out = save(path, tmp_path)
    found = read_sitk(out) if grid in ORTHOGONAL else read_nifti(out)
    np.testing.assert_array_equal(found.voxels, corner_mask())
    assert_same_places(found, read_nifti(path))
    assert_header_kept(nib.load(path).header, nib.load(out).header)


def rewrite(path: Path, header: Any) -> None:
    """The same voxels under another header."""
    image = nib.load(path, mmap=False)
    nib.save(type(image)(np.asarray(image.dataobj).copy(), None, header), path)


def set_codes(header: Any, qform: int, sform: int) -> None:
    header["qform_code"], header["sform_code"] = qform, sform


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (1, 4), (3, 3), (0, 0)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_geometry_fields_are_copied(tmp_path: Path, codes: tuple[int, int], kind: Any) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", ORTHOGONAL["oblique left-handed"], kind=kind)
    header = nib.load(path).header
    set_codes(header, *codes)
    rewrite(path, header)
    before = nib.load(path)
    assert (before.header["qform_code"], before.header["sform_code"]) == codes
    after = nib.load(save(path, tmp_path))
    assert type(after) is kind
    assert_header_kept(before.header, after.header)
    np.testing.assert_array_equal(after.affine, before.affine)


def test_contradictory_headers_are_copied(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", ORTHOGONAL["oblique"])
    header = nib.load(path).header
    header["srow_x"] = [1, 2, 3, 4]
    header["srow_y"] = [-2, 1, 0, 5]
    header["srow_z"] = [0, 0.5, 7, 6]
    header["pixdim"][:4] = [-1, 0.3, 0.4, 9]
    header["quatern_b"] = 0.25
    header.set_xyzt_units("unknown")
    rewrite(path, header)
    assert_header_kept(nib.load(path).header, nib.load(save(path, tmp_path)).header)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["i2", "f4", "u1"])
def test_big_endian_files(tmp_path: Path, kind: Any, dtype: str) -> None:
    source = write_nifti(tmp_path / "little.nii", ORTHOGONAL["oblique"], kind=kind)
    voxels = random_voxels(dtype=np.dtype(dtype))
    header = kind.header_class(endianness=">")
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("mm")
    image = kind(voxels.T, nib.load(source).affine, header)
    image.set_qform(image.affine, 2)
    path = tmp_path / "big.nii"
    nib.save(image, path)
    assert nib.load(path).header.endianness == ">"
    found = read(path)
    np.testing.assert_array_equal(found.voxels, voxels)
    assert found.voxels.dtype.isnative
    assert_image_places(found, read_nifti(source))
    out = save(path, tmp_path, "mask.nii")
    assert_header_kept(nib.load(path).header, nib.load(out).header)
    np.testing.assert_array_equal(read_nifti(out).voxels, corner_mask())


def trapped(path: Path, pixdim: tuple[float, ...], columns: tuple[float, ...]) -> Path:
    """A file without qform whose sform has columns of other lengths than pixdim."""
    header = nib.Nifti1Header()
    image = nib.Nifti1Image(random_voxels().T, None, header)
    affine = np.diag([-columns[0], -columns[1], columns[2], 1.0])
    affine[:3, 3] = [10, 20, -30]
    image.header.set_sform(affine, code=2)
    set_codes(image.header, 0, 2)
    image.header["pixdim"][:4] = [1, *pixdim]
    nib.save(image, path)
    return path


def test_a_sform_of_unit_columns_gives_directions_only(tmp_path: Path) -> None:
    path = trapped(tmp_path / "acdc.nii.gz", (1.64, 1.64, 10), (1, 1, 1))
    image = read(path)
    np.testing.assert_allclose(image.geometry.spacing, (1.64, 1.64, 10), rtol=1e-6)
    assert image.geometry.orientation == "LPS"
    np.testing.assert_allclose(image.geometry.origin, [-10, -20, -30])
    (note,) = image.source.notes
    assert "contradicts itself" in note
    assert "pixdim" in note
    assert_header_kept(nib.load(path).header, nib.load(save(path, tmp_path)).header)


def test_a_pixdim_of_ones_without_qform_says_nothing(tmp_path: Path) -> None:
    path = trapped(tmp_path / "scan.nii.gz", (1, 1, 1), (0.7, 0.8, 3))
    image = read(path)
    np.testing.assert_allclose(image.geometry.spacing, (0.7, 0.8, 3), rtol=1e-6)
    assert len(image.source.notes) == 1
    assert_header_kept(nib.load(path).header, nib.load(save(path, tmp_path)).header)


def test_the_trap_written_to_another_format_has_the_true_spacing(tmp_path: Path) -> None:
    path = trapped(tmp_path / "acdc.nii.gz", (1.64, 1.64, 10), (1, 1, 1))
    out = segmentation_of(read(path)).save(tmp_path / "mask.nrrd")
    np.testing.assert_allclose(np.diag(read_sitk(out).matrix), (1.64, 1.64, 10), rtol=1e-6)


def test_a_header_without_any_form_is_noted(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", ORTHOGONAL["plain"])
    header = nib.load(path).header
    set_codes(header, 0, 0)
    rewrite(path, header)
    found = read(path)
    np.testing.assert_allclose(found.geometry.spacing, [0.8, 0.9, 2.5], rtol=1e-6)
    assert any("orientation unknown" in note for note in found.source.notes)


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0)])
def test_lengths_become_millimetres(tmp_path: Path, unit: str, scale: float) -> None:
    path = write_nifti(tmp_path / "scan.nii", ORTHOGONAL["plain"], (0, 0, 0))
    header = nib.load(path).header
    header.set_xyzt_units(unit)
    rewrite(path, header)
    spacing = read(path).geometry.spacing
    np.testing.assert_allclose(spacing, np.array([0.8, 0.9, 2.5]) * scale, rtol=1e-5)
    np.testing.assert_allclose(spacing, np.linalg.norm(read_sitk(path).matrix, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter"), [("i2", 0.5, -1000.0), ("u1", 2.0, 0.0), ("f4", 3.0, 1.0)]
)
def test_scaling_is_applied(tmp_path: Path, dtype: str, slope: float, inter: float) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"], voxels=random_voxels(dtype=dtype))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(raw)
    np.testing.assert_allclose(nib.load(path).get_fdata().T, random_voxels() * slope + inter)
    np.testing.assert_allclose(read(path).voxels, random_voxels() * slope + inter, rtol=1e-6)


def test_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    stored = np.ascontiguousarray(colours.transpose(2, 1, 0, 3)).view(rgb)[..., 0]
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "rgb.nii.gz")
    image = read(tmp_path / "rgb.nii.gz")
    assert image.is_colour
    np.testing.assert_array_equal(image.voxels, colours)
    found = read_nifti(save(tmp_path / "rgb.nii.gz", tmp_path))
    np.testing.assert_array_equal(found.voxels, corner_mask())


def test_a_pair_of_files_keeps_its_grid(tmp_path: Path) -> None:
    single = write_nifti(tmp_path / "scan.nii", ORTHOGONAL["oblique left-handed"])
    image = nib.load(single)
    nib.save(nib.Nifti1Pair(image.dataobj, image.affine, image.header), tmp_path / "pair.hdr")
    found = read(tmp_path / "pair.hdr")
    assert_image_places(found, read_nifti(single))
    out = segmentation_of(found).save(tmp_path / "mask.nii.gz")
    assert_same_places(read_nifti(out), read_nifti(single))
    assert_header_kept(image.header, nib.load(out).header)


def test_one_frame_of_four_dimensions_is_a_volume(tmp_path: Path) -> None:
    voxels = random_voxels()
    nib.save(nib.Nifti1Image(voxels.T[..., None], np.eye(4)), tmp_path / "one.nii")
    image = read(tmp_path / "one.nii")
    np.testing.assert_array_equal(image.voxels, voxels)
    found = read_nifti(save(tmp_path / "one.nii", tmp_path))
    np.testing.assert_array_equal(found.voxels, corner_mask())


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("scaled", [False, True])
def test_one_of_several_frames_is_chosen(tmp_path: Path, suffix: str, scaled: bool) -> None:
    voxels = random_voxels((2, 3, *SHAPE))
    image = nib.Nifti1Image(voxels.transpose(4, 3, 2, 1, 0), np.diag([-2, 3, 4, 1.0]))
    if scaled:
        image.header.set_slope_inter(0.5, -7)
    path = tmp_path / f"five.{suffix}"
    nib.save(image, path)
    with pytest.raises(InputError, match=r"6 frames; choose one with --frame \(0 to 5\)"):
        read(path)
    with pytest.raises(InputError, match=r"frame 6 of .*6 frames"):
        read(path, frame=6)
    found, other = read(path, frame=4), nib.load(path)
    np.testing.assert_allclose(found.voxels, other.get_fdata()[..., 1, 1].T, rtol=1e-6)
    assert found.source.notes == ["frame 4 of 6"]
    out = segmentation_of(found).save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(nib.load(out).affine, other.affine)
    np.testing.assert_array_equal(read_nifti(out).voxels, corner_mask())


def test_one_frame_needs_no_choice(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    assert read(path, frame=0).source.notes == []
    with pytest.raises(InputError, match=r"1 frames; leave --frame out"):
        read(path, frame=1)


def test_complex_values_become_magnitudes(tmp_path: Path) -> None:
    voxels = (random_voxels() + 1j * random_voxels()[::-1]).astype(np.complex64)
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), tmp_path / "complex.nii")
    image = read(tmp_path / "complex.nii")
    np.testing.assert_allclose(image.voxels, np.hypot(voxels.real, voxels.imag), rtol=1e-6)
    assert image.voxels.dtype == np.float32
    assert any("magnitude" in note for note in image.source.notes)


@pytest.mark.parametrize("dtype", ["f8", "i8", "u4"])
def test_wide_types_keep_their_values(tmp_path: Path, dtype: str) -> None:
    voxels = random_voxels(dtype=np.dtype(dtype))
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4), dtype=voxels.dtype), tmp_path / "scan.nii")
    image = read(tmp_path / "scan.nii")
    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.voxels.dtype.itemsize <= 8


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair, nib.Spm99AnalyzeImage])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs_by_either_half(tmp_path: Path, kind: Any, ending: str) -> None:
    image = kind(random_voxels().T, np.diag([-2.0, 3, 4, 1]))
    nib.save(image, tmp_path / f"pair.img{ending}")
    for half in ("hdr", "img"):
        found = read(tmp_path / f"pair.{half}{ending}")
        np.testing.assert_array_equal(found.voxels, random_voxels())
        affine = nib.load(tmp_path / f"pair.img{ending}").affine
        assert_image_places(
            found, Grid(found.voxels, affine[:3, :3] * RAS[:, None], affine[:3, 3] * RAS)
        )
    (tmp_path / f"pair.hdr{ending}").unlink()
    with pytest.raises(InputError, match=r"a \.hdr file and its \.img beside it.*no such file"):
        read(tmp_path / f"pair.img{ending}")


def test_analyze_files_say_that_sides_are_unknown(tmp_path: Path) -> None:
    image = nib.AnalyzeImage(random_voxels().T, np.diag([-2.0, 3, 4, 1]))
    nib.save(image, tmp_path / "old.hdr")
    found = read(tmp_path / "old.hdr")
    np.testing.assert_array_equal(found.voxels, random_voxels())
    np.testing.assert_allclose(found.geometry.spacing, [2, 3, 4])
    assert any("orientation unknown" in note for note in found.source.notes)
    out = segmentation_of(found).save(tmp_path / "mask.nii.gz")
    assert read(out).geometry.agrees_with(found.geometry)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mgz", "scan.img.gz"])
@pytest.mark.parametrize("frame", [None, 0, 1])
def test_damaged_gzip_is_refused(tmp_path: Path, name: str, frame: int | None) -> None:
    voxels = random_voxels(SHAPE if frame is None else (2, *SHAPE))
    kind = {"nii": nib.Nifti1Image, "mgz": nib.MGHImage, "img": nib.Nifti1Pair}[name.split(".")[1]]
    path = tmp_path / name
    nib.save(kind(voxels.T, np.eye(4)), path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    stored = bytearray(gzip.compress(raw, compresslevel=0))
    assert np.array_equal(
        read(path, frame=frame).voxels, voxels[frame] if frame is not None else voxels
    )
    stored[len(stored) // 2] ^= 1  # one bit of one voxel: only the checksum tells
    path.write_bytes(stored)
    with pytest.raises(InputError, match="CRC"):
        read(path, frame=frame)


def test_gzip_without_an_ending_is_not_unpacked_at_once(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["oblique"])
    bomb = tmp_path / "scan"
    with gzip.open(bomb, "wb") as stream:
        stream.write(path.read_bytes())
        for _ in range(64):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    np.testing.assert_array_equal(read(bomb).voxels, random_voxels())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("size", [10**4, 32767])
def test_a_header_that_promises_too_much_is_refused_before_it_is_believed(
    tmp_path: Path, size: int
) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.full(3, size, "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_broken_sform_is_refused(tmp_path: Path, bad: float) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    raw = bytearray(path.read_bytes())
    raw[280:296] = np.array([bad, 0, 0, 0], "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


def test_overlapping_objects_are_one_frame_each(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", ORTHOGONAL["oblique"])
    masks = two_overlapping()
    out = segmentation_of(read(path), masks).save(tmp_path / "mask.nii.gz")
    found = read_nifti(out)
    assert found.voxels.shape == (*SHAPE, 2)
    for k, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(found.voxels[..., k], mask)
    assert_same_places(Grid(found.voxels[..., 0], *found[1:]), read_nifti(path))
    assert_header_kept(nib.load(path).header, nib.load(out).header)


def test_labels_above_255(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", GRIDS["plain"])
    result = segmentation_of(read(path))
    result.segments[0].label = 300
    found = read_nifti(result.save(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(found.voxels, corner_mask() * 300)


@pytest.mark.data
def test_real_acdc_spacing_is_that_of_pixdim(tmp_path: Path) -> None:
    path = real_data("volume", "mr__acdc_cardiac", "patient101_ED_image.nii.gz")
    image = read(path)
    np.testing.assert_allclose(image.geometry.spacing, [1.6406, 1.6406, 10.0], atol=1e-3)
    np.testing.assert_allclose(nib.affines.voxel_sizes(nib.load(path).affine), 1)
    assert any("contradicts itself" in note for note in image.source.notes)
    out = segmentation_of(image).save(tmp_path / "mask.nii.gz")
    assert_header_kept(nib.load(path).header, nib.load(out).header)
    np.testing.assert_array_equal(
        np.asarray(nib.load(out).dataobj).T, corner_mask(image.voxels.shape)
    )


@pytest.mark.data
def test_real_sheared_grid(tmp_path: Path) -> None:
    path = real_data("formats", "nifti", "niivue_shear.nii.gz")
    image = read(path)
    assert not image.geometry.is_orthogonal
    affine = nib.load(path).affine
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.geometry.shape[::-1]])).reshape(
        3, -1
    )
    expected = (affine[:3, :3] @ corners + affine[:3, 3:]).T * [-1, -1, 1]
    np.testing.assert_allclose(image.geometry.to_world(corners.T), expected, atol=1e-3)
    out = segmentation_of(image).save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(nib.load(out).affine, affine)
    assert_header_kept(nib.load(path).header, nib.load(out).header)


@pytest.mark.data
@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_real_sheared_grid_in_other_formats(tmp_path: Path, suffix: str) -> None:
    path = real_data("formats", "nifti", "niivue_shear.nii.gz")
    image = read(path)
    out = segmentation_of(image).save(tmp_path / f"mask.{suffix}")
    assert read(out).geometry.agrees_with(image.geometry)
