"""Whole-slide images: regions and tiles are where and as large as they say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from formats.helpers import segmentation_of
from promptseg import read
from promptseg.errors import InputError
from promptseg.formats import slide

tifffile = pytest.importorskip("tifffile", reason="the extra pathology is not installed")
pytest.importorskip("tiffslide", reason="the extra pathology is not installed")

SIZE = (1500, 1100)
MICRONS = 0.25


def tissue(width: int = SIZE[0], height: int = SIZE[1]) -> NDArray[np.uint8]:
    """(y, x, 3) waves without any symmetry."""
    y, x = np.indices((height, width))
    waves = [np.sin(x / 40) * 90, np.cos(y / 55) * 90, np.sin((x + 2 * y) / 70) * 90]
    return np.stack([128 + wave for wave in waves], axis=-1).astype(np.uint8)


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    y, x = (n // 2 * 2 for n in pixels.shape[:2])
    four = pixels[:y, :x].reshape(y // 2, 2, x // 2, 2, *pixels.shape[2:]).astype(float)
    return four.mean(axis=(1, 3)).round().astype(pixels.dtype)


def write_pyramid(
    path: Path, pixels: NDArray[Any], levels: int = 3, microns: float | None = MICRONS
) -> Path:
    """A pyramid of halved levels in tiles, as OpenSlide's generic format wants it."""
    known = microns is not None
    options: dict[str, Any] = {"tile": (256, 256), "compression": "deflate", "metadata": None}
    options["photometric"] = "rgb" if pixels.ndim == 3 else "minisblack"
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            per_cm = 1e4 / (microns * 2**level) if known else 1
            file.write(
                pixels,
                subfiletype=int(level > 0),
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER" if known else "NONE",
                **options,
            )
            pixels = halved(pixels)
    return path


def write_svs(path: Path, pixels: NDArray[Any]) -> Path:
    """What an Aperio scanner leaves: a description, the slide, a thumbnail, a smaller level."""
    head = "Aperio Image Library v11.2.1\n"
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    about = f"{head}{size} [0,0 {size}] (256x256) J2K/KDU Q=30|AppMag = 40|MPP = {MICRONS}"
    options: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=(256, 256), description=about, **options)
        file.write(pixels[::8, ::8], description=head + "thumbnail", **options)
        file.write(halved(halved(pixels)), tile=(256, 256), description=about, **options)
    return path


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pyramid(tmp_path_factory.mktemp("slides") / "slide.tif", tissue())


@pytest.fixture(scope="module")
def svs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("slides") / "slide.svs", tissue())


def test_a_small_slide_is_read_whole(pyramid: Path, svs: Path) -> None:
    for path in (pyramid, svs):
        image = read(path)
        np.testing.assert_array_equal(image.voxels, tissue())
        assert (image.kind, image.modality, image.source.format) == (
            "picture",
            "pathology",
            "slide",
        )
        np.testing.assert_allclose(image.geometry.spacing[:2], MICRONS / 1000)
        np.testing.assert_allclose(image.geometry.origin, 0)


@pytest.mark.parametrize("region", [(0, 0, 300, 200), (517, 301, 400, 333), (1499, 1099, 1, 1)])
def test_regions_are_those_of_openslide(pyramid: Path, region: tuple[int, ...]) -> None:
    openslide = pytest.importorskip("openslide", reason="OpenSlide is not installed")
    x, y, width, height = region
    if width == 1:
        pixels = slide.Slide(pyramid).read(slide.Region(*region), None).voxels
    else:
        pixels = read(pyramid, region=",".join(map(str, region))).voxels
    with openslide.OpenSlide(pyramid) as other:
        expected = np.asarray(other.read_region((x, y), 0, (width, height)))[..., :3]
        assert float(other.properties["openslide.mpp-x"]) == pytest.approx(MICRONS)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("microns", [0.25, 0.3, 0.5, 0.8, 1.0, 2.0])
def test_a_region_at_a_resolution_lies_where_it_says(
    svs: Path, pyramid: Path, microns: float
) -> None:
    for path in (svs, pyramid):
        image = read(path, region="101,203,1000,800", microns=microns)
        width, height = round(1000 * MICRONS / microns), round(800 * MICRONS / microns)
        assert image.geometry.shape == (height, width)
        np.testing.assert_allclose(image.geometry.spacing[0] * width, 1000 * MICRONS / 1000)
        y, x = np.indices((height, width))
        places = image.geometry.to_world(np.stack([x, y, 0 * x], axis=-1)) / (MICRONS / 1000)
        waves = [
            128 + 90 * np.sin(places[..., 0] / 40),
            128 + 90 * np.cos(places[..., 1] / 55),
            128 + 90 * np.sin((places[..., 0] + 2 * places[..., 1]) / 70),
        ]
        # a shift by half a pixel of the finest level would already make 0.6
        assert np.abs(image.voxels - (np.stack(waves, axis=-1) - 0.5)).mean() < 0.5
        assert image.source.header.region == (101, 203, 1000, 800)
        assert any("region 101,203,1000,800" in note for note in image.source.notes)


def test_fine_detail_is_averaged_not_skipped(tmp_path: Path) -> None:
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 200
    path = write_pyramid(tmp_path / "a.tif", stripes, levels=1)
    image = slide.Slide(path).read(slide.Region(0, 0, 600, 600), 4 * MICRONS)
    assert image.voxels.shape == (150, 150, 3)
    np.testing.assert_allclose(image.voxels[5:-5, 5:-5], 100, atol=2)


@pytest.mark.parametrize("microns", [None, 0.5, 0.6])
def test_tiles_cover_the_slide_once(pyramid: Path, microns: float | None) -> None:
    seen = np.zeros(SIZE[::-1], int)
    whole = read(pyramid, microns=microns)
    for (x, y, width, height), tile in slide.tiles(pyramid, microns, size=256):
        seen[y : y + height, x : x + width] += 1
        assert max(tile.geometry.shape) <= 256
        assert tile.modality == "pathology"
        at = whole.geometry.to_index(tile.geometry.origin)
        if microns != 0.6:  # tiles and whole have the same pixels
            left, top = np.round(at[:2]).astype(int)
            np.testing.assert_allclose(at[:2], [left, top], atol=1e-6)
            rows, columns = tile.geometry.shape
            same = whole.voxels[top : top + rows, left : left + columns]
            assert np.abs(tile.voxels.astype(int) - same).max() <= 1
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("codec", "error"), [("jpeg", 3), ("jpeg2000", 3), ("lzw", 0), ("webp", 4)]
)
def test_compressed_tiles(tmp_path: Path, codec: str, error: float) -> None:
    pytest.importorskip("imagecodecs", reason="the extra pathology is not installed")
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for level, pixels in enumerate([tissue(), halved(tissue())]):
            file.write(
                pixels,
                tile=(256, 256),
                photometric="rgb",
                compression=codec,
                subfiletype=int(level > 0),
            )
    image = read(path)
    assert image.source.format == "slide"
    assert np.abs(image.voxels.astype(int) - tissue()).mean() <= error


def test_levels_in_sub_ifds(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(tissue(), tile=(256, 256), photometric="rgb", subifds=1)
        file.write(halved(tissue()), tile=(256, 256), photometric="rgb", subfiletype=1)
    image = read(path)
    assert image.source.format == "slide"
    np.testing.assert_array_equal(image.voxels, tissue())


def test_gray_slides(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = tissue(700, 500)[..., 0].astype(dtype) * (1 if dtype is np.uint8 else 200)
        path = write_pyramid(tmp_path / f"{dtype.__name__}.tif", pixels, levels=2)
        np.testing.assert_array_equal(read(path).voxels, pixels)
        half = read(path, microns=2 * MICRONS).voxels
        assert half.dtype == dtype
        np.testing.assert_array_equal(half, halved(pixels))


def test_without_a_pixel_size_the_grid_is_in_pixels(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", tissue(), microns=None)
    image = read(path, region="10,20,300,200")
    assert image.geometry.unit == "pixel"
    np.testing.assert_array_equal(image.voxels, tissue()[20:220, 10:310])
    with pytest.raises(InputError, match="how large its pixels are"):
        read(path, microns=1)


def test_a_large_slide_needs_a_choice(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", tissue(4400, 600), levels=1)
    with pytest.raises(
        InputError, match=r"4400 x 600 pixels at 0\.25 microns.*--region.*--microns"
    ):
        read(path)
    assert read(path, microns=0.5).geometry.shape == (300, 2200)
    assert read(path, region="4000,0,400,600").geometry.shape == (600, 400)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"region": "1,2,3"}, "x,y,width,height"),
        ({"region": "a,b,c,d"}, "x,y,width,height"),
        ({"region": "0,0,0,5"}, "at least one pixel"),
        ({"region": "-1,0,5,5"}, "inside the slide's 1500 x 1100"),
        ({"region": "1400,0,200,5"}, "inside the slide's 1500 x 1100"),
        ({"microns": 0.1}, "no finer than the scan's 0.25"),
        ({"microns": -1}, "above 0"),
        ({"frame": 0, "region": "0,0,5,5"}, "page .* or a region"),
    ],
)
def test_choices_that_make_no_sense(pyramid: Path, choices: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(pyramid, **choices)


def test_a_level_can_be_read_as_a_page(pyramid: Path) -> None:
    np.testing.assert_array_equal(read(pyramid, frame=1).voxels, halved(tissue()))


def test_other_pictures_have_no_regions(tmp_path: Path) -> None:
    from PIL import Image as PilImage

    PilImage.fromarray(tissue(90, 80)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="leave --region out"):
        read(tmp_path / "a.png", region="0,0,5,5")


def test_an_untiled_tiff_may_be_cut_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", tissue(300, 200), photometric="rgb")
    image = read(tmp_path / "a.tif", region="7,9,50,60")
    np.testing.assert_array_equal(image.voxels, tissue(300, 200)[9:69, 7:57])


@pytest.mark.parametrize("suffix", ["svs", "ndpi"])
def test_broken_slides_are_refused(tmp_path: Path, suffix: str) -> None:
    good = write_svs(tmp_path / "good.svs", tissue()).read_bytes()
    for k, content in enumerate([good[: len(good) // 2], b"II*\0" + b"\xff" * 60, b"nothing"]):
        path = tmp_path / f"{k}.{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^expected "):
            read(path)
    with pytest.raises(InputError, match="a whole-slide image"):
        next(slide.tiles(path))


def test_without_the_extra_the_error_names_it(
    pyramid: Path, svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    for path in (pyramid, svs):
        with pytest.raises(InputError, match=r"promptseg\[pathology\]"):
            read(path)


def test_the_mask_of_a_region_has_its_place(pyramid: Path, tmp_path: Path) -> None:
    image = read(pyramid, region="512,256,400,300", microns=0.5)
    out = segmentation_of(image).save(tmp_path / "mask.mha")
    again = read(out).geometry
    assert again.agrees_with(image.geometry, 1e-9)
    np.testing.assert_allclose(again.origin[:2] / (MICRONS / 1000), [512.5, 256.5])
