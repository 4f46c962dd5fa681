"""Picking a format, refusing bad files, crossing formats, and writing all or nothing."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from formats.helpers import (
    GRIDS,
    ORIGIN,
    ORTHOGONAL,
    SHAPE,
    SHEARED,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    random_voxels,
    read_nifti,
    read_nrrd,
    read_sitk,
    segmentation_of,
    two_overlapping,
    write_dicom_series,
    write_nifti,
    write_nrrd,
    write_sitk,
)
from promptseg import read
from promptseg.errors import OutputError, PromptsegError
from promptseg.formats import FORMATS, nifti
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation
from promptseg.result import Result

WRITERS: dict[str, Callable[..., Any]] = {
    "nii.gz": write_nifti,
    "nrrd": write_nrrd,
    "mha": write_sitk,
}
READERS: dict[str, Callable[[Path], Grid]] = {
    "nii.gz": read_nifti,
    "nrrd": read_nrrd,
    "mha": read_sitk,
}


@pytest.mark.parametrize("target", WRITERS)
@pytest.mark.parametrize("source", WRITERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_masks_keep_their_place_across_formats(
    tmp_path: Path, grid: str, source: str, target: str
) -> None:
    path = tmp_path / f"scan.{source}"
    WRITERS[source](path, GRIDS[grid])
    out = segmentation_of(read(path)).save(tmp_path / f"mask.{target}")
    expected = Grid(corner_mask(), GRIDS[grid], ORIGIN)
    found = READERS[target](out)
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert_same_places(found, expected)
    if grid in ORTHOGONAL:
        independent = read_sitk(out)
        np.testing.assert_array_equal(independent.voxels, expected.voxels)
        assert_same_places(independent, expected)
    assert_image_places(read(out), expected)


@pytest.mark.parametrize("target", [*WRITERS, "npz"])
@pytest.mark.parametrize("grid", ["oblique left-handed", *SHEARED])
def test_overlapping_objects_keep_their_place(tmp_path: Path, grid: str, target: str) -> None:
    geometry = Geometry(SHAPE, GRIDS[grid], ORIGIN)
    masks = two_overlapping()
    segments = [Segment.from_mask(n, k, m) for k, (n, m) in enumerate(masks.items(), 1)]
    out = Result(segments, geometry).save(tmp_path / f"mask.{target}")
    if target == "npz":
        with np.load(out) as saved:
            found = np.moveaxis(saved["segs"], 0, -1)
            grid_found = Grid(
                found[..., 0], saved["direction"].reshape(3, 3) * saved["spacing"], saved["origin"]
            )
    else:
        found, *rest = READERS[target](out)
        grid_found = Grid(found[..., 0], *rest)
    np.testing.assert_array_equal(found, np.stack(list(masks.values()), axis=-1))
    assert_same_places(grid_found, Grid(corner_mask(), GRIDS[grid], ORIGIN))


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha", "npz"])
def test_later_wins_flattens(tmp_path: Path, suffix: str) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", GRIDS["oblique"])
    masks = two_overlapping()
    result = segmentation_of(read(path), masks)
    out = result.save(tmp_path / f"mask.{suffix}", overlap="later-wins")
    if suffix == "npz":
        with np.load(out) as saved:
            found = saved["segs"]
    else:
        found = read_sitk(out).voxels
    np.testing.assert_array_equal(found, np.where(masks["lesion"], 2, masks["liver"]))


def test_an_unknown_way_to_treat_overlaps_is_refused(tmp_path: Path) -> None:
    result = segmentation_of(Image.from_array(random_voxels()))
    with pytest.raises(PromptsegError, match=r"^expected "):
        result.save(tmp_path / "mask.nii.gz", overlap="later_wins")


def test_objects_that_found_nothing_can_be_written(tmp_path: Path) -> None:
    image = read(write_nifti(tmp_path / "scan.nii.gz", GRIDS["plain"]))
    result = segmentation_of(image, {"none": np.zeros(SHAPE, bool)})
    for suffix in ("nii.gz", "nrrd", "mha"):
        assert not read_sitk(result.save(tmp_path / f"mask.{suffix}")).voxels.any()


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha", "npz", "png", "tif"])
def test_pictures_can_be_written_everywhere(tmp_path: Path, suffix: str) -> None:
    PilImage.fromarray(random_voxels((6, 7), np.uint8)).save(tmp_path / "a.png")
    out = segmentation_of(read(tmp_path / "a.png")).save(tmp_path / f"mask.{suffix}")
    if suffix == "npz":
        with np.load(out) as saved:
            found = saved["segs"]
    else:
        found = read(out).voxels
    np.testing.assert_array_equal(found.reshape(6, 7) > 0, corner_mask((6, 7)))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("scan.NII.GZ", lambda p: write_nifti(p.with_name("a.nii.gz"), GRIDS["plain"]).rename(p)),
        ("scan.Nrrd", lambda p: write_nrrd(p.with_name("a.nrrd"), GRIDS["plain"]).rename(p)),
        ("scan", lambda p: write_nifti(p.with_name("a.nii"), GRIDS["plain"]).rename(p)),
        ("scan.img.dat", lambda p: write_nrrd(p.with_name("a.nrrd"), GRIDS["plain"]).rename(p)),
    ],
)
def test_formats_are_recognised(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    write(tmp_path / name)
    try:
        image = read(tmp_path / name)
    except PromptsegError as error:
        pytest.fail(str(error))
    np.testing.assert_array_equal(image.voxels, random_voxels())


def test_every_format_has_a_module() -> None:
    for entry in FORMATS:
        module = entry.load()
        assert callable(module.read)
        assert not entry.writes or callable(entry.load_writer().write)


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", GRIDS["plain"])
    assert read(str(path)).geometry.shape == SHAPE
    out = segmentation_of(read(path)).save(str(tmp_path / "mask.nii.gz"))
    assert out == tmp_path / "mask.nii.gz"


SUFFIXES = [
    *(
        "nii.gz",
        "nii",
        "hdr",
        "img.gz",
        "nrrd",
        "nhdr",
        "mha",
        "mhd",
        "mgz",
        "mgh",
        "HEAD",
        "BRIK.gz",
    ),
    *("npz", "png", "jpg", "tif", "bmp", "webp", "svs", "ndpi", "dcm"),
]


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(PromptsegError) as error:
        read(path, **options)
    message = str(error.value)
    assert message.startswith("expected ")
    return message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_files_are_refused(tmp_path: Path, suffix: str) -> None:
    assert "no such file" in refused(tmp_path / f"none.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_files_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").touch()
    assert "empty file" in refused(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("content", [b"just some text\n" * 60, b"\x00", b"NRRD", b"\x1f\x8b\x08"])
@pytest.mark.parametrize("suffix", [*SUFFIXES, "dat"])
def test_files_of_another_content_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    refused(path)


def test_a_file_that_only_begins_like_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"\x1f\x8b" + b"nonsense" * 9)
    refused(path)


def test_gzip_of_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("a", "a.nii.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"nothing of use " * 99))
        refused(tmp_path / name)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha"])
def test_cut_volumes_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"scan.{suffix}"
    voxels = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    WRITERS.get(suffix, write_nifti)(path, GRIDS["plain"], voxels=voxels)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_values_that_are_not_finite(tmp_path: Path, suffix: str, bad: float) -> None:
    voxels = random_voxels(dtype=np.float32)
    voxels[1, 2, 3] = voxels[4, 5, 6] = bad
    path = tmp_path / f"scan.{suffix}"
    WRITERS[suffix](path, GRIDS["plain"], voxels=voxels)
    message = refused(path)
    assert "2 NaN or infinite voxels" in message
    assert "--nan-as" in message
    image = read(path, nan_as=-7)
    np.testing.assert_array_equal(image.voxels, np.where(np.isfinite(voxels), voxels, -7))
    assert image.voxels.dtype == np.float32
    assert any("2 NaN or infinite voxels were set to -7" in n for n in image.source.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_cannot_be_replaced_by_nan(tmp_path: Path, value: float) -> None:
    voxels = random_voxels(dtype=np.float32)
    voxels[0, 0, 0] = np.nan
    refused(write_nifti(tmp_path / "scan.nii", GRIDS["plain"], voxels=voxels), nan_as=value)


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_constant_images_are_read_with_a_note(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan.{suffix}"
    WRITERS[suffix](path, GRIDS["plain"], voxels=np.full(SHAPE, 3, np.int16))
    image = read(path)
    assert (image.voxels == 3).all()
    assert image.source.notes[-1] == "every voxel is 3"


def test_an_unknown_modality_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", GRIDS["plain"])
    refused(path, modality="X-ray")
    assert read(path, modality="PET").modality == "PET"


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / ("a" * 300 + ".nii.gz"))
    refused(tmp_path / "a\0b.nii.gz")


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return segmentation_of(read(write_nifti(tmp_path / "scan.nii.gz", GRIDS["plain"])))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_nothing_is_overwritten_unless_told(tmp_path: Path, result: Result) -> None:
    out = tmp_path / "mask.nii.gz"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"^expected a new output file.*--overwrite"):
        result.save(out)
    assert out.read_bytes() == b"precious"
    result.save(out, overwrite=True)
    np.testing.assert_array_equal(read_sitk(out).voxels, corner_mask())


def test_folders_are_made(tmp_path: Path, result: Result) -> None:
    out = result.save(tmp_path / "a" / "b" / "mask.nii.gz")
    assert names(out.parent) == ["mask.nii.gz"]


def test_a_folder_is_no_output_file(tmp_path: Path, result: Result) -> None:
    (tmp_path / "out.nii.gz").mkdir()
    with pytest.raises(OutputError, match=r"^expected an output file"):
        result.save(tmp_path / "out.nii.gz", overwrite=True)


@pytest.mark.parametrize("below", ["mask.nii.gz", "deep/er/mask.nii.gz"])
def test_a_file_is_no_folder(tmp_path: Path, result: Result, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"^expected a folder that can be written"):
        result.save(tmp_path / "file" / below)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path, result: Result) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(OutputError, match=r"^expected a folder that can be written"):
        result.save(locked / "mask.nii.gz")


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk"), (errno.EDQUOT, "disk"), (errno.EIO, "can be written")],
)
@pytest.mark.parametrize("existing", [True, False])
def test_nothing_is_half_written(
    tmp_path: Path,
    result: Result,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    words: str,
    existing: bool,
) -> None:
    def fail(segmentation: Segmentation, path: Path, layers: bool) -> None:
        path.write_bytes(b"half of a file")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(nifti, "write", fail)
    out = tmp_path / "out" / "mask.nii.gz"
    out.parent.mkdir()
    if existing:
        out.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"^expected ") as error:
        result.save(out, overwrite=True)
    assert words in str(error.value)
    assert names(out.parent) == (["mask.nii.gz"] if existing else [])
    assert not existing or out.read_bytes() == b"precious"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_interruptions_leave_no_rest(
    tmp_path: Path,
    result: Result,
    monkeypatch: pytest.MonkeyPatch,
    interruption: type[BaseException],
) -> None:
    def fail(segmentation: Segmentation, path: Path, layers: bool) -> None:
        path.write_bytes(b"half of a file")
        raise interruption

    monkeypatch.setattr(nifti, "write", fail)
    with pytest.raises(interruption):
        result.save(tmp_path / "out" / "mask.nii.gz")
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("length", [251, 300])
def test_names_of_any_length_are_written_or_refused(
    tmp_path: Path, result: Result, length: int, suffix: str
) -> None:
    name = "m" * (length - len(suffix) - 1) + f".{suffix}"
    folder = tmp_path / "out"
    try:
        result.save(folder / name)
    except OutputError:
        assert not folder.exists() or names(folder) == []
        return
    assert names(folder) == [name]


@pytest.mark.parametrize("name", ["mask", "mask.xyz", "mask.gz", "mask.nii.bz2"])
def test_unknown_endings_are_refused(tmp_path: Path, result: Result, name: str) -> None:
    with pytest.raises(OutputError, match=r"^expected an output file.*\.nii\.gz"):
        result.save(tmp_path / name)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.jpg", "mask.dcm.gz", "mask.nhdr"])
def test_volumes_are_refused_where_they_do_not_fit(
    tmp_path: Path, result: Result, name: str
) -> None:
    with pytest.raises(OutputError, match=r"^expected an output file for a volume mask"):
        result.save(tmp_path / name)
    assert names(tmp_path) == ["scan.nii.gz"]


@pytest.mark.parametrize("name", ["mask.jpg", "mask.jpeg", "mask.webp", "mask.bmp"])
def test_lossy_and_read_only_formats_are_refused_for_masks(tmp_path: Path, name: str) -> None:
    picture = segmentation_of(Image.from_array(random_voxels((6, 7), np.uint8)))
    with pytest.raises(OutputError, match=r"^expected an output file for a 2D image mask.*\.png"):
        picture.save(tmp_path / name)


def test_a_dicom_folder_to_every_volume_format(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["oblique"])
    image = read(tmp_path / "ct")
    for suffix in WRITERS:
        out = segmentation_of(image).save(tmp_path / f"mask.{suffix}")
        assert_same_places(read_sitk(out), Grid(corner_mask(), GRIDS["oblique"], ORIGIN))


def test_threads_that_save_side_by_side_do_not_mix(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from promptseg.geometry import Geometry
    from promptseg.image import Segment
    from promptseg.result import Result

    def save(k: int) -> None:
        mask = np.zeros((8, 8, 8), dtype=bool)
        mask[k, :, : k + 1] = True
        geometry = Geometry.from_spacing(mask.shape)
        result = Result([Segment.from_mask("a", 1, mask)], geometry)
        result.save(tmp_path / f"m{k}.nii.gz")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    for k in range(8):
        found = read(tmp_path / f"m{k}.nii.gz").voxels
        assert found[k, :, : k + 1].all()
        assert found.sum() == 8 * (k + 1)
