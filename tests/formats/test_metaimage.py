"""MetaImage: places of voxels and digits kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from formats.helpers import (
    GRIDS,
    ORTHOGONAL,
    SHAPE,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    grid_of_sitk,
    random_voxels,
    read_sitk,
    segmentation_of,
    two_overlapping,
    write_sitk,
)
from promptseg import read
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats import metaimage
from promptseg.formats.masks import read_masks


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
@pytest.mark.parametrize("grid", GRIDS)
def test_places_and_voxels_are_those_of_simpleitk(tmp_path: Path, grid: str, suffix: str) -> None:
    path = write_sitk(tmp_path / f"scan.{suffix}", GRIDS[grid])
    image, other = read(path), read_sitk(path)
    np.testing.assert_array_equal(image.voxels, random_voxels())
    assert_image_places(image, other)


@pytest.mark.parametrize("grid", GRIDS)
def test_masks_come_back_on_the_grid_of_the_input(tmp_path: Path, grid: str) -> None:
    path = write_sitk(tmp_path / "scan.mha", GRIDS[grid])
    out = segmentation_of(read(path)).save(tmp_path / "mask.mha")
    found = read_sitk(out)
    np.testing.assert_array_equal(found.voxels, corner_mask())
    assert_same_places(found, read_sitk(path))


def test_every_digit_of_the_geometry_is_kept(tmp_path: Path) -> None:
    origin = np.array([-123.456789012, 1234.56789012345, 0.1 + 0.2])
    path = write_sitk(tmp_path / "scan.mha", GRIDS["oblique left-handed"] * (1 / 3), origin)
    out = segmentation_of(read(path)).save(tmp_path / "mask.mha")
    before, after = sitk.ReadImage(str(path)), sitk.ReadImage(str(out))
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), rtol=1e-14)
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-14)
    np.testing.assert_allclose(after.GetDirection(), before.GetDirection(), rtol=0, atol=1e-14)


def test_overlapping_objects_are_one_channel_each(tmp_path: Path) -> None:
    path = write_sitk(tmp_path / "scan.mha", ORTHOGONAL["oblique"])
    masks = two_overlapping()
    found = read_sitk(segmentation_of(read(path), masks).save(tmp_path / "mask.mha"))
    assert found.voxels.shape == (*SHAPE, 2)
    for k, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(found.voxels[..., k], mask)
    assert_same_places(Grid(found.voxels[..., 0], *found[1:]), read_sitk(path))


def test_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "rgb.mha"))
    image = read(tmp_path / "rgb.mha")
    assert image.is_colour
    np.testing.assert_array_equal(image.voxels, colours)


def test_pictures_in_millimetres(tmp_path: Path) -> None:
    itk = sitk.GetImageFromArray(random_voxels((6, 7)))
    itk.SetSpacing((0.5, 0.7))
    itk.SetOrigin((3.0, 4.0))
    sitk.WriteImage(itk, str(tmp_path / "flat.mha"))
    image = read(tmp_path / "flat.mha")
    assert image.kind == "picture"
    masks = two_overlapping((6, 7))
    found = sitk.ReadImage(str(segmentation_of(image, masks).save(tmp_path / "mask.mha")))
    assert (found.GetSpacing(), found.GetOrigin()) == ((0.5, 0.7), (3.0, 4.0))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found)[..., 1], masks["lesion"])


def test_the_fourth_dimension_counts_frames(tmp_path: Path) -> None:
    frames = random_voxels((3, *SHAPE))
    path = tmp_path / "four.mha"
    itk = sitk.GetImageFromArray(frames, isVector=False)
    itk.SetSpacing((0.5, 0.6, 3.0, 9.0))
    itk.SetOrigin((1.0, 2.0, 3.0, 4.0))
    sitk.WriteImage(itk, str(path))
    with pytest.raises(InputError, match=r"3 frames; choose one with --frame \(0 to 2\)"):
        read(path)
    image = read(path, frame=2)
    np.testing.assert_array_equal(image.voxels, frames[2])
    alone = sitk.Extract(itk, (*SHAPE[::-1], 0), (0, 0, 0, 2))
    assert_image_places(image, grid_of_sitk(alone))


@pytest.mark.parametrize(
    ("channels", "dtype"), [(2, np.uint8), (4, np.uint8), (3, np.float32), (3, np.int16)]
)
def test_channels_that_are_no_colours_are_frames(
    tmp_path: Path, channels: int, dtype: type
) -> None:
    voxels = random_voxels((*SHAPE, channels), dtype)
    path = tmp_path / "vector.mha"
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=True), str(path))
    with pytest.raises(InputError, match=f"{channels} frames"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, voxels[..., 1])


@pytest.mark.parametrize("separator", ["=", ":"])
def test_every_way_to_name_a_data_file_is_seen(tmp_path: Path, separator: str) -> None:
    (tmp_path / "secret.raw").write_bytes(random_voxels(dtype="<i2").tobytes())
    path = tmp_path / "inbox" / "scan.mhd"
    path.parent.mkdir()
    path.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 7 6 5\nElementType = MET_SHORT\n"
        f"ElementDataFile {separator} ../secret.raw\n"
    )
    with pytest.raises(InputError, match="in a file beside it"):
        read(path)


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
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
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = 7 6 5\nElementType = MET_SHORT\nElementDataFile = {target}\n"
    )
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


def test_a_file_with_half_of_its_voxels_is_refused(tmp_path: Path) -> None:
    path = write_sitk(tmp_path / "scan.mha", GRIDS["plain"])
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - random_voxels().nbytes // 2])
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


def test_a_failure_of_itk_to_write_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sitk(tmp_path / "scan.mha", GRIDS["plain"])

    def fail(image: sitk.Image, name: str, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("ITK ERROR: MetaImageIO: File cannot be written")

    monkeypatch.setattr(metaimage.sitk, "WriteImage", fail)
    with pytest.raises(OutputError, match=r"^expected "):
        segmentation_of(read(path)).save(tmp_path / "mask.mha")
    assert [p.name for p in tmp_path.iterdir()] == ["scan.mha"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NDims = 3", "NDims = 1e308"),  # ITK crashes on it
        ("NDims = 3", "NDims = 1"),
        ("NDims = 3", "NDims = nan"),
        ("NDims = 3", "NDims = 3 3"),
        ("NDims = 3", "NDims = 3\nNDims = 2"),
        ("NDims = 3", ""),
        ("DimSize = 7 6 5", "DimSize = 7 6"),
        ("DimSize = 7 6 5", "DimSize = 7 6 -5"),
        ("DimSize = 7 6 5", "DimSize = 7 6 0"),
        ("DimSize = 7 6 5", "DimSize = 7 6 99999999"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 x"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 inf"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0 0 1"),
        ("DimSize", "ElementNumberOfChannels = 99999999\nDimSize"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(random_voxels()), str(path))
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    with pytest.raises(InputError, match=r"^expected "):
        read(path)


def with_field(path: Path, line: str) -> Path:
    """A compressed image or label file whose header has one more line."""
    sitk.WriteImage(sitk.GetImageFromArray(random_voxels(dtype=np.uint8)), str(path), True)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", f"NDims = 3\n{line}\n".encode()))
    return path


@pytest.mark.parametrize("use", [read, read_masks])
@pytest.mark.parametrize(
    "line",
    [
        f"Name = {'n' * 300}",  # the process dies of it in ITK
        f"Comment = {'c' * 10_000}",
        f"{'k' * 300} = v",
        f"ID = {'1' * 255}",
        f"Offset = {'0' * 500} 0 0",
        "n" * 300,
    ],
)
def test_no_field_is_longer_than_itk_has_room_for(
    tmp_path: Path, line: str, use: Callable[[Path], Any]
) -> None:
    with pytest.raises(InputError, match=r"at most (254|480) bytes for .* in a MetaImage header"):
        use(with_field(tmp_path / "a.mha", line))


@pytest.mark.parametrize("line", [f"Name = {'n' * 254}", "Comment = a\u00e9b", "Comment ="])
def test_other_fields_do_no_harm(tmp_path: Path, line: str) -> None:
    image = read(with_field(tmp_path / "a.mha", line))
    np.testing.assert_array_equal(image.voxels, random_voxels(dtype=np.uint8))


@pytest.mark.parametrize("use", [read, read_masks])
@pytest.mark.parametrize("number", ["3999999999ta", "3 3", "1e9", "-3", "3.5"])
def test_dimensions_are_counted_before_itk_sees_them(
    tmp_path: Path, number: str, use: Callable[[Path], Any]
) -> None:
    path = with_field(tmp_path / "a.mha", "Name = x")
    path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", f"NDims = {number}\n".encode()))
    with pytest.raises(InputError, match=r"NDims of 2 or more|numbers for ndims"):
        use(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("beside", [False, True])
def test_damaged_voxels_are_never_taken_for_others(
    tmp_path: Path, dtype: Any, beside: bool
) -> None:
    """ITK stops before the checksum and gives wrong voxels; see zlib's adler32."""
    path = tmp_path / ("a.mhd" if beside else "a.mha")
    voxels = random_voxels((5, 16, 17), dtype)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), True)
    np.testing.assert_array_equal(read(path).voxels, voxels)
    data = tmp_path / "a.zraw" if beside else path
    content = data.read_bytes()
    for place in (len(content) - 300, len(content) - 30, len(content) - 2):
        damaged = bytearray(content)
        damaged[place] ^= 1
        data.write_bytes(damaged)
        with pytest.raises(InputError, match=r"intact voxels|readable metaimage"):
            read(path)


def test_what_follows_the_voxels_is_not_taken_for_them(tmp_path: Path) -> None:
    """Where the header does not say how long they are, ITK counts from the end of the file."""
    path = with_field(tmp_path / "a.mha", "Name = x")
    content = path.read_bytes()
    start = content.index(b"CompressedDataSize")
    end = content.index(b"\n", start) + 1
    path.write_bytes(content[:start] + content[end:] + b"trailing bytes")
    with pytest.raises(InputError, match="goes on behind them"):
        read(path)


def test_voxels_that_are_line_breaks_cost_no_time(tmp_path: Path) -> None:
    head = "ObjectType = Image\nNDims = 2\nDimSize = 256 256\nElementType = MET_UCHAR\n"
    data = b"\n" * (1 << 16)
    (tmp_path / "a.mha").write_bytes(head.encode() + b"ElementDataFile = LOCAL\n" + data)
    begun = time.thread_time()
    image = read(tmp_path / "a.mha")
    assert time.thread_time() - begun < 1
    assert (image.voxels == 10).all()
    assert any("no voxel sizes" in str(note) for note in image.source.notes)
    blank = f"{head}Comment = b{' ' * 60_000}\v\nElementDataFile = LOCAL\n"
    (tmp_path / "b.mha").write_bytes(blank.encode() + data)
    begun = time.thread_time()
    metaimage.packed_in(tmp_path / "b.mha")
    assert time.thread_time() - begun < 1
