"""Whole slides in DICOM: the same pixels as those of a pyramidal TIFF, read by tiffslide."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from formats.dicom_makers import item, sequence, write_object
from formats.helpers import ORTHOGONAL, segmentation_of, write_dicom_series
from promptseg import read
from promptseg.errors import InputError, PromptsegError
from promptseg.formats.slide import Region
from promptseg.formats.whole_slide import identity, is_dicom_slide, open_slide

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 16
MICRONS = 0.5  # along x; twice that along y


def picture(shape: tuple[int, int, int] = (70, 90, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)


def tiles_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(tiles, 16, 16, 3), row by row; the last ones are filled up."""
    rows, columns = (ceil(n / TILE) for n in pixels.shape[:2])
    full = np.zeros((rows * TILE, columns * TILE, 3), np.uint8)
    full[: pixels.shape[0], : pixels.shape[1]] = pixels
    cut = full.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
    return np.ascontiguousarray(cut.reshape(-1, TILE, TILE, 3))


def level(path: Path, pixels: NDArray[np.uint8], step: float = 1.0, **tags: Any) -> Path:
    """One level of a slide."""
    spacing = [2 * MICRONS * step / 1000, MICRONS * step / 1000]
    measures = item(PixelMeasuresSequence=sequence(item(PixelSpacing=spacing)))
    said = {
        "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "TotalPixelMatrixColumns": pixels.shape[1],
        "TotalPixelMatrixRows": pixels.shape[0],
        "SharedFunctionalGroupsSequence": sequence(measures),
    }
    frames = tags.pop("frames", None)
    return write_object(
        path,
        tiles_of(pixels) if frames is None else frames,
        frames=True,
        sop=SLIDE,
        **{**said, **tags},
    )


def sparse(path: Path, pixels: NDArray[np.uint8], left_out: int) -> Path:
    """Tiles in disorder that say where they are; one is missing."""
    tiles, across = tiles_of(pixels), ceil(pixels.shape[1] / TILE)
    order = [k for k in np.random.default_rng(2).permutation(len(tiles)) if k != left_out]
    groups = [
        item(
            PlanePositionSlideSequence=sequence(
                item(
                    ColumnPositionInTotalImagePixelMatrix=int(k % across) * TILE + 1,
                    RowPositionInTotalImagePixelMatrix=int(k // across) * TILE + 1,
                )
            )
        )
        for k in order
    ]
    return level(
        path, pixels, frames=tiles[order], PerFrameFunctionalGroupsSequence=sequence(*groups)
    )


def test_a_slide_is_put_together(tmp_path: Path) -> None:
    pixels = picture()
    path = level(tmp_path / "a.dcm", pixels)
    whole, part = read(path), read(path, region="20,10,33,41")
    np.testing.assert_array_equal(whole.voxels, pixels)
    np.testing.assert_array_equal(part.voxels, pixels[10:51, 20:53])
    assert (whole.kind, whole.modality) == ("picture", "pathology")
    np.testing.assert_allclose(part.geometry.spacing, [0.0005, 0.001, 1])
    np.testing.assert_allclose(part.geometry.origin, [20 * 0.0005, 10 * 0.001, 0])
    np.testing.assert_array_equal(read(path, frame=3).voxels, tiles_of(pixels)[3])


def test_tiles_lie_where_they_say(tmp_path: Path) -> None:
    pixels = picture()
    path = sparse(tmp_path / "a.dcm", pixels, left_out=7)
    expected = pixels.copy()
    expected[16:32, 16:32] = 255
    np.testing.assert_array_equal(read(path).voxels, expected)


@pytest.mark.parametrize("microns", [None, 0.5, 1.0, 1.3, 2.0, 3.1])
@pytest.mark.parametrize("region", [None, "20,10,41,33", "0,0,90,70", "7,3,60,60"])
def test_levels_are_those_of_a_pyramidal_tiff(
    tmp_path: Path, microns: float | None, region: str | None
) -> None:
    tifffile = pytest.importorskip("tifffile")
    square = {"PixelMeasuresSequence": sequence(item(PixelSpacing=[0.0005, 0.0005]))}
    shared = {"SharedFunctionalGroupsSequence": sequence(item(**square))}
    levels = [picture(), picture((35, 45, 3)), picture((17, 22, 3))]
    for k, pixels in enumerate(levels):
        level(tmp_path / "slide" / f"{k}.dcm", pixels, **shared)
    level(tmp_path / "slide" / "label.dcm", picture(), ImageType=["ORIGINAL", "PRIMARY", "LABEL"])
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for k, pixels in enumerate(levels):
            out.write(
                pixels,
                tile=(TILE, TILE),
                photometric="rgb",
                subfiletype=int(k > 0),
                resolution=(20_000 / 2**k, 20_000 / 2**k),
                resolutionunit="CENTIMETER",
            )
    how = {"region": region, "microns": microns}
    ours, theirs = read(tmp_path / "slide", **how), read(tmp_path / "a.tif", **how)
    np.testing.assert_array_equal(ours.voxels, theirs.voxels)
    np.testing.assert_allclose(ours.geometry.spacing, theirs.geometry.spacing)
    np.testing.assert_allclose(ours.geometry.origin, theirs.geometry.origin)


def test_masks_of_a_slide_are_written_on_its_grid(tmp_path: Path) -> None:
    image = read(level(tmp_path / "a.dcm", picture()), region="20,10,33,41")
    path = segmentation_of(image).save(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(read(path).geometry.spacing[:2], image.geometry.spacing[:2])
    with pytest.raises(PromptsegError, match="DICOM"):
        segmentation_of(image).save(tmp_path / "m.dcm")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"TotalPixelMatrixColumns": 200}, "13 x 5 tiles that fill the slide"),
        ({"TotalPixelMatrixRows": 0}, "states its TotalPixelMatrixRows"),
        ({"TotalPixelMatrixRows": 2**31 - 1, "TotalPixelMatrixColumns": 2**31 - 1}, "at most 10,0"),
        ({"NumberOfOpticalPaths": 3}, "one focal plane and one optical path"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "one focal plane and one optical path"),
    ],
)
def test_tiles_that_make_no_slide_are_refused(
    tmp_path: Path, tags: dict[str, Any], said: str
) -> None:
    path = level(tmp_path / "a.dcm", picture(), **tags)
    with pytest.raises(InputError, match=said):
        read(path)
    assert read(path, frame=0).kind == "picture"


def test_large_slides_and_other_images_name_the_way_out(tmp_path: Path) -> None:
    path = level(tmp_path / "a.dcm", picture((16, 5000, 3)))
    with pytest.raises(InputError, match=r"5000 x 16 pixels .* --region x,y,width,height"):
        read(path)
    assert read(path, region="4000,0,500,16").voxels.shape == (16, 500, 3)
    write_dicom_series(tmp_path / "ct", ORTHOGONAL["oblique"])
    with pytest.raises(InputError, match="a whole slide for --region and --microns"):
        read(tmp_path / "ct", region="0,0,2,2")


def test_tiles_that_are_not_wanted_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slide may be larger than memory."""
    pixels = picture()
    slide = open_slide(level(tmp_path / "a.dcm", pixels))

    def whole(*_: object) -> None:
        raise AssertionError("all of the file is read")

    monkeypatch.setattr("promptseg.formats.dicom.pixels._with_pixels", whole)
    found = slide.pixels(Region(20, 10, 33, 41), (33, 41))
    np.testing.assert_array_equal(found, pixels[10:51, 20:53])


def test_slides_are_known_by_what_they_say(tmp_path: Path) -> None:
    slide = level(tmp_path / "a.dcm", picture())
    write_dicom_series(tmp_path / "ct", ORTHOGONAL["plain"])
    assert is_dicom_slide(slide)
    assert not any(is_dicom_slide(path) for path in tmp_path.rglob("ct/*"))
    assert open_slide(tmp_path / "a.dcm").size == (90, 70)
    with pytest.raises(InputError, match="a whole slide"):
        open_slide(tmp_path / "ct")
    before = identity(slide)
    slide.write_bytes(slide.read_bytes()[:-1] + b"x")
    assert identity(slide) != before
