"""What every format must keep: the tests run over `EXAMPLES`, a file of each, made by another library.

A new format gets a line in `promptseg.formats.table.FORMATS` and one in `EXAMPLES`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from numpy.typing import NDArray
from PIL import Image as PilImage

from formats.helpers import (
    GRIDS,
    ORIGIN,
    Grid,
    assert_image_places,
    corner_mask,
    random_voxels,
    segmentation_of,
    two_overlapping,
    write_dicom_series,
    write_mgz,
    write_nifti,
    write_nrrd,
    write_sitk,
)
from formats.test_afni import write_afni
from formats.test_ome_zarr import write_image
from formats.test_slide import tissue, write_svs
from formats.video_makers import textured, write_video
from promptseg import read
from promptseg.errors import PromptsegError
from promptseg.formats import ReadOptions
from promptseg.formats.masks import read_masks
from promptseg.formats.table import FORMATS, Format, endings, format_named
from promptseg.image import Image
from promptseg.provenance import Provenance
from promptseg.result import Result

GRID = "oblique left-handed"
FLAT = (60, 70)


@dataclass(frozen=True)
class Example:
    """A file or folder of a format, and what was put into it.

    Attributes:
        path: the file, or the folder of a series.
        voxels: (z, y, x) or (y, x[, 3]).
        ending: of a mask that belongs to it, where the format can hold masks.
        exact: whether the format keeps every value.
        grid: of a volume; DICOM's axes are right-handed.
    """

    path: Path
    voxels: NDArray[Any]
    ending: str = ""
    exact: bool = True
    grid: str = GRID

    @property
    def places(self) -> Grid:
        return Grid(self.voxels, GRIDS[self.grid], ORIGIN)

    @property
    def is_volume(self) -> bool:
        return self.voxels.ndim == 3 and self.voxels.shape[-1] != 3

    @property
    def files(self) -> list[Path]:
        """The file and those beside it that belong to it."""
        holder = self.path if self.path.is_dir() else self.path.parent
        return sorted(p for p in holder.iterdir() if p.is_file())


def _picture(path: Path, exact: bool = True, ending: str = "") -> Example:
    pixels = random_voxels(FLAT, np.uint8)
    PilImage.fromarray(pixels).save(path)
    return Example(path, pixels, ending, exact)


def _pair(folder: Path) -> Example:
    affine = nib.load(write_nifti(folder / "a.nii", GRIDS[GRID])).affine
    (folder / "a.nii").unlink()
    voxels = random_voxels()
    nib.save(nib.Nifti1Pair(voxels.T, affine), folder / "scan.hdr")
    return Example(folder / "scan.hdr", voxels)


def _npz(folder: Path) -> Example:
    matrix = GRIDS[GRID]
    spacing = np.linalg.norm(matrix, axis=0)
    grid = {"spacing": spacing, "origin": ORIGIN, "direction": (matrix / spacing).ravel()}
    np.savez(folder / "scan.npz", imgs=random_voxels(), **grid)
    return Example(folder / "scan.npz", random_voxels(), ".npz")


def _tiff(folder: Path) -> Example:
    pixels = random_voxels(FLAT, np.uint16)
    tifffile.imwrite(folder / "scan.tif", pixels)
    return Example(folder / "scan.tif", pixels, ".tif")


def _ome_zarr(folder: Path) -> Example:
    pixels = random_voxels((5, 6, 7), np.uint16)
    steps = {"z": 2.5, "y": 0.9, "x": 0.8}
    units = dict.fromkeys("zyx", "millimeter")
    sides = {
        "z": "inferior-to-superior",
        "y": "anterior-to-posterior",
        "x": "right-to-left",
    }
    path = folder / "scan.ome.zarr"
    origin = dict(zip("xyz", ORIGIN.tolist(), strict=True))
    write_image(path, pixels, "zyx", step=steps, units=units, sides=sides, origin=origin)
    return Example(path, pixels, ".ome.zarr", grid="plain")


def _slide(folder: Path) -> Example:
    pixels = tissue(400, 300)
    return Example(write_svs(folder / "scan.svs", pixels), pixels)


def _series(folder: Path, ending: str = "") -> Example:
    write_dicom_series(folder / "series", GRIDS["oblique"])
    voxels = random_voxels().astype(float) - 1024
    return Example(folder / "series", voxels, ending, grid="oblique")


def _dicom_files(folder: Path) -> Example:
    made = _series(folder)
    for number, path in enumerate(made.files):
        path.rename(path.with_name(f"{number}.ima"))
    return made


def _volume(write: Callable[..., Any], ending: str, mask: str = "") -> Callable[[Path], Example]:
    def make(folder: Path) -> Example:
        path = folder / f"scan{ending}"
        write(path, GRIDS[GRID])
        return Example(path, random_voxels(), mask)

    return make


def _video(folder: Path) -> Example:
    pixels = np.stack(textured(5))
    return Example(write_video(folder / "scan.mkv", list(pixels)), pixels)


def _gif(folder: Path) -> Example:
    """Of few colours, all of them in the palette."""
    first = textured(1)[0] // 128 * 255
    pixels = np.stack([np.roll(first, 5 * k, axis=1) for k in range(5)])
    first, *rest = (PilImage.fromarray(frame).quantize(8) for frame in pixels)
    first.save(folder / "scan.gif", save_all=True, append_images=rest, duration=50)
    return Example(folder / "scan.gif", pixels)


def _frames(folder: Path) -> Example:
    pixels = np.stack(textured(11))
    (folder / "frames").mkdir()
    for number, frame in enumerate(pixels):
        PilImage.fromarray(frame).save(folder / "frames" / f"{number}.png")
    return Example(folder / "frames", pixels)


EXAMPLES: dict[str, Callable[[Path], Example]] = {
    "nifti": _volume(write_nifti, ".nii.gz", ".nii.gz"),
    "nifti pair": _pair,
    "nrrd": _volume(write_nrrd, ".nrrd", ".nrrd"),
    "nhdr": _volume(write_nrrd, ".nhdr"),
    "metaimage": _volume(write_sitk, ".mha", ".mha"),
    "mhd": _volume(write_sitk, ".mhd"),
    "freesurfer": _volume(write_mgz, ".mgz", ".mgz"),
    "afni": lambda folder: Example(write_afni(folder, GRID), random_voxels()),
    "npz": _npz,
    "tiff": _tiff,
    "slide": _slide,
    "png": lambda folder: _picture(folder / "scan.png", ending=".png"),
    "picture": lambda folder: _picture(folder / "scan.jpg", exact=False),
    "ome-zarr": _ome_zarr,
    "geojson": lambda folder: _picture(folder / "scan.png", ending=".geojson"),
    "coco": lambda folder: _picture(folder / "scan.png", ending=".coco.json"),
    "rtstruct": lambda folder: _series(folder, ".rtstruct.dcm"),
    "dicom": lambda folder: _series(folder, ".dcm"),
    "dicom files": _dicom_files,
    "video": _video,
    "gif": _gif,
    "frames": _frames,
}
"""How a file of each format is made; a DICOMweb server is no file (tests/formats/test_dicomweb.py)."""

READER = {"rtstruct": "dicom", "geojson": "png", "coco": "png"}
"""What reads the images of a format that has none of its own."""

ALONE = (
    "nifti",
    "nrrd",
    "metaimage",
    "freesurfer",
    "npz",
    "tiff",
    "slide",
    "png",
    "picture",
    "video",
    "gif",
)
"""Formats whose images are one file, told by its ending."""

each = pytest.mark.parametrize("name", EXAMPLES)
writing = pytest.mark.parametrize("name", [n for n in EXAMPLES if format_named(n).writes])
read_again = pytest.mark.parametrize(
    "name", [n for n in EXAMPLES if format_named(n).writes and n != "coco"]
)
"""Formats whose masks we read, too; COCO is read as a dataset (tests/formats/test_coco.py)."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the example is."""
    made = tmp_path / "in"
    made.mkdir()
    return made


def masks_of(image: Image, masks: dict[str, NDArray[np.bool_]] | None = None) -> Result:
    """As a job leaves them: with a provenance, which holds the names where a format cannot."""
    result = segmentation_of(image, masks)
    result.provenance = Provenance(notice="made by a test")
    return result


def digests(files: list[Path]) -> dict[str, str]:
    inside = [q for p in files for q in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in inside if p.is_file()}


# --- reading ------------------------------------------------------------------------------------


ELSEWHERE = ("dicomweb", "storage")  # which are no files, and have tests of their own


def test_every_format_has_an_example() -> None:
    assert [f.name for f in FORMATS if f.name not in ELSEWHERE] == list(EXAMPLES)


@each
def test_what_was_put_in_is_read_at_its_place_and_nothing_is_changed(
    name: str, folder: Path
) -> None:
    example = EXAMPLES[name](folder)
    before = digests(example.files)
    image, again = read(example.path), read(example.path)
    assert digests(example.files) == before
    module = format_named(READER.get(name, name)).module
    assert image.source.format == ("picture" if module == "image_2d" else module)
    assert image.geometry.shape == example.voxels.shape[: image.geometry.ndim]
    assert image.voxels.shape == example.voxels.shape
    if example.exact:
        np.testing.assert_array_equal(image.voxels, example.voxels)
    else:
        assert np.abs(image.voxels.astype(int) - example.voxels).mean() < 8
    np.testing.assert_array_equal(image.voxels, again.voxels)
    if example.is_volume:
        assert_image_places(image, example.places)


@pytest.mark.parametrize("name", ALONE)
def test_capitals_in_an_ending_are_no_obstacle(name: str, folder: Path, tmp_path: Path) -> None:
    example = EXAMPLES[name](folder)
    other = shutil.copy(example.path, tmp_path / example.path.name.upper())
    np.testing.assert_array_equal(read(other).voxels, read(example.path).voxels)


@each
def test_choices_that_a_format_does_not_have_are_refused(name: str, folder: Path) -> None:
    example = EXAMPLES[name](folder)
    values: dict[str, Any] = {
        "region": "0,0,5,5",
        "microns": 1.0,
        "suv": True,
        "frame": 0,
        "level": 1,
    }
    choices = {f.name for f in fields(ReadOptions)} - {"nan_as"}
    for choice in sorted(choices - format_named(READER.get(name, name)).choices):
        options = replace(ReadOptions(), **{choice: values.get(choice, "1")})
        with pytest.raises(PromptsegError, match=choice):
            read(example.path, options)


@each
@pytest.mark.parametrize("damage", ["empty", "a third", "text"])
def test_damaged_files_are_one_error(name: str, damage: str, folder: Path) -> None:
    example = EXAMPLES[name](folder)
    for path in example.files:
        content = path.read_bytes()
        damaged = {"empty": b"", "a third": content[: len(content) // 3], "text": b"hello " * 40}
        path.write_bytes(damaged[damage])
    with pytest.raises(PromptsegError) as caught:
        read(example.path)
    assert "expected" in str(caught.value)


# --- masks --------------------------------------------------------------------------------------


@read_again
def test_masks_come_back_with_names_and_numbers(name: str, folder: Path, tmp_path: Path) -> None:
    example = EXAMPLES[name](folder)
    image = read(example.path)
    shape = image.geometry.shape
    masks = {"left = kidney, \u00e4": corner_mask(shape), "b": ~corner_mask(shape)}
    path = masks_of(image, masks).save(tmp_path / f"mask{example.ending}")
    found = read_masks(path, read(example.path))
    assert [s.name for s in found.segments] == list(masks)
    assert [s.label for s in found.segments] == [1, 2]
    for key, mask in masks.items():
        np.testing.assert_array_equal(found[key], mask)
    if name not in ("rtstruct", "geojson"):  # contours have no grid of their own
        alone = read_masks(path)
        assert alone.geometry.shape == shape
        if example.is_volume:
            assert_image_places(Image(np.zeros(shape), alone.geometry), example.places)


@read_again
def test_overlap_is_kept_or_refused(name: str, folder: Path, tmp_path: Path) -> None:
    example = EXAMPLES[name](folder)
    image = read(example.path)
    masks = two_overlapping(image.geometry.shape)
    result, path = masks_of(image, masks), tmp_path / f"mask{example.ending}"
    if not format_named(name).layers:
        with pytest.raises(PromptsegError, match="overlap"):
            result.save(path)
        assert not list(tmp_path.glob("mask*"))
        result.save(path, overlap="later-wins")
        masks["liver"] = masks["liver"] & ~masks["lesion"]
    else:
        result.save(path)
    found = read_masks(path, read(example.path))
    for key, mask in masks.items():
        np.testing.assert_array_equal(found[key], mask)


@read_again
def test_empty_objects_stay(name: str, folder: Path, tmp_path: Path) -> None:
    example = EXAMPLES[name](folder)
    image = read(example.path)
    mask = corner_mask(image.geometry.shape)
    masks = {"there": mask, "not there": np.zeros_like(mask)}
    path = masks_of(image, masks).save(tmp_path / f"mask{example.ending}")
    found = read_masks(path, read(example.path))
    assert [(s.name, s.is_empty) for s in found.segments] == [("there", False), ("not there", True)]


@writing
def test_a_mask_that_is_there_is_replaced_on_request_only(
    name: str, folder: Path, tmp_path: Path
) -> None:
    example = EXAMPLES[name](folder)
    path = tmp_path / f"mask{example.ending}"
    result = masks_of(read(example.path))
    result.save(path)
    before = digests([path])
    with pytest.raises(PromptsegError, match="exists"):
        masks_of(read(example.path), {"other": ~result["thing"]}).save(path)
    assert digests([path]) == before


@writing
def test_a_writer_that_fails_leaves_nothing(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = EXAMPLES[name](folder)
    result = masks_of(read(example.path))
    out = tmp_path / "out"
    out.mkdir()
    real = format_named(name).load_writer().write

    def fails(segmentation: Any, path: Path, *how: Any) -> None:
        real(segmentation, path, *how)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(format_named(name).load_writer(), "write", fails)
    with pytest.raises((PromptsegError, OSError), match="space"):
        result.save(out / f"mask{example.ending}")
    assert not list(out.iterdir())


@pytest.mark.parametrize("ending", [*endings(), ".nhdr"])
@pytest.mark.parametrize("kind", ["picture", "volume"])
def test_masks_of_a_kind_that_a_format_cannot_hold_are_refused(
    kind: str, ending: str, tmp_path: Path
) -> None:
    shape = FLAT if kind == "picture" else (4, *FLAT)
    image = Image.from_array(random_voxels(shape))
    (format_of,) = (f for f in FORMATS if ending in f.suffixes)
    path = tmp_path / f"mask{ending}"
    if kind in format_of.writes and not _is_dicom(format_of):
        segmentation_of(image).save(path)
        if ending != ".coco.json":
            assert read_masks(path, image).segments
        return
    with pytest.raises(PromptsegError):  # DICOM masks belong to DICOM images
        segmentation_of(image).save(path)
    assert not list(tmp_path.iterdir())


def _is_dicom(one: Format) -> bool:
    return one.module == "dicom"


def test_second_libraries_find_the_same_masks(tmp_path: Path) -> None:
    """What nibabel and SimpleITK read of our masks, on the same oblique grid."""
    image = read(write_sitk(tmp_path / "scan.mha", GRIDS[GRID]))
    for ending in (".nii.gz", ".nrrd", ".mha"):
        path = segmentation_of(image).save(tmp_path / f"mask{ending}")
        seen = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(seen) > 0, corner_mask())
        np.testing.assert_allclose(seen.GetOrigin(), ORIGIN, atol=1e-4)
