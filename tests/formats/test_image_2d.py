"""2D images: every kind of pixel, EXIF, pages, label images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import PngImagePlugin

from formats.helpers import corner_mask, random_voxels, segmentation_of, two_overlapping
from promptseg import read
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats import memory

SHAPE = (6, 7)


def colours(channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (*SHAPE, channels)).astype(np.uint8)


def smooth(shape: tuple[int, int] = (40, 56)) -> NDArray[np.uint8]:
    y, x = np.indices(shape)
    return np.stack([4 * x, 5 * y, 200 - 2 * x], axis=-1).astype(np.uint8)


def save(path: Path, pixels: NDArray[Any] | PilImage.Image, **options: Any) -> Path:
    picture = pixels if isinstance(pixels, PilImage.Image) else PilImage.fromarray(pixels)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp", "webp"])
def test_8_bit_gray(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    image = read(save(tmp_path / f"a.{suffix}", random_voxels(SHAPE, np.uint8), **options))
    np.testing.assert_array_equal(image.voxels, random_voxels(SHAPE))
    assert image.voxels.dtype == np.uint8
    assert image.kind == "picture"
    assert image.geometry.unit == "pixel"
    assert image.modality == "unknown"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray(tmp_path: Path, suffix: str) -> None:
    pixels = (random_voxels(SHAPE) * 500).astype(np.uint16)
    image = read(save(tmp_path / f"a.{suffix}", pixels))
    np.testing.assert_array_equal(image.voxels, pixels)
    assert image.voxels.dtype == np.uint16


def test_16_bit_big_endian_tiff(tmp_path: Path) -> None:
    pixels = (random_voxels(SHAPE) * 300).astype(np.uint16)
    big = PilImage.frombytes("I;16B", SHAPE[::-1], pixels.astype(">u2").tobytes())
    image = read(save(tmp_path / "a.tif", big))
    np.testing.assert_array_equal(image.voxels, pixels)
    assert image.voxels.dtype.isnative


def test_float_tiff(tmp_path: Path) -> None:
    pixels = random_voxels(SHAPE).astype(np.float32) / 7 - 3
    image = read(save(tmp_path / "a.tif", pixels))
    np.testing.assert_array_equal(image.voxels, pixels)
    assert image.voxels.dtype == np.float32


def test_32_bit_integer_tiff(tmp_path: Path) -> None:
    pixels = random_voxels(SHAPE).astype(np.int32) * 100_000 - 7
    np.testing.assert_array_equal(read(save(tmp_path / "a.tif", pixels)).voxels, pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_rgb(tmp_path: Path, suffix: str) -> None:
    image = read(save(tmp_path / f"a.{suffix}", colours()))
    np.testing.assert_array_equal(image.voxels, colours())
    assert image.is_colour
    assert image.source.notes == []


def test_transparency_is_left_out_and_noted(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.png", colours(4)))
    np.testing.assert_array_equal(image.voxels, colours(4)[..., :3])
    assert "transparency ignored" in image.source.notes


def test_gray_with_transparency(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.png", PilImage.fromarray(colours(2), "LA")))
    np.testing.assert_array_equal(image.voxels, colours(2)[..., 0])
    assert "transparency ignored" in image.source.notes


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    indices = (np.arange(42) % 5).reshape(SHAPE).astype(np.uint8)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 250, 3], [9, 8, 7], [1, 2, 200]], np.uint8)
    picture = PilImage.fromarray(indices, "L").copy()
    picture = picture.convert("P")
    picture.putpalette(palette.tobytes())
    image = read(save(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(image.voxels, palette[indices])


def test_1_bit_becomes_0_and_255(tmp_path: Path) -> None:
    bits = random_voxels(SHAPE) % 2 == 1
    image = read(save(tmp_path / "a.png", PilImage.fromarray(bits)))
    np.testing.assert_array_equal(image.voxels, bits * 255)


def test_gray_stored_as_colour_is_gray(tmp_path: Path) -> None:
    gray = random_voxels(SHAPE, np.uint8)
    image = read(save(tmp_path / "a.png", np.stack([gray] * 3, axis=-1)))
    np.testing.assert_array_equal(image.voxels, gray)
    assert not image.is_colour
    assert any("read as grayscale" in note for note in image.source.notes)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG"])
def test_jpeg(tmp_path: Path, suffix: str) -> None:
    image = read(save(tmp_path / f"a.{suffix}", smooth(), quality=95))
    assert image.voxels.shape == smooth().shape
    assert np.abs(image.voxels.astype(int) - smooth()).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    stored = smooth()
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    image = read(save(tmp_path / "a.jpg", stored, quality=95, exif=exif))
    assert image.geometry.shape == upright.shape[:2]
    assert np.abs(image.voxels.astype(int) - upright).mean() < 4
    assert bool(image.source.notes) is (orientation != 1)


def pages(count: int = 3, shape: tuple[int, int] = SHAPE) -> list[PilImage.Image]:
    return [PilImage.fromarray(random_voxels(shape, np.uint8) + k) for k in range(count)]


@pytest.mark.parametrize("suffix", ["tif", "tiff"])
def test_pages_of_one_size_are_a_volume(tmp_path: Path, suffix: str) -> None:
    first, *rest = pages()
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=rest)
    image = read(path)
    assert (image.kind, image.geometry.unit) == ("volume", "pixel")
    np.testing.assert_array_equal(image.voxels, [random_voxels(SHAPE) + k for k in range(3)])
    assert any("3 pages of one size" in note for note in image.source.notes)
    alone = read(path, frame=2)
    assert alone.kind == "picture"
    np.testing.assert_array_equal(alone.voxels, random_voxels(SHAPE) + 2)
    with pytest.raises(InputError, match=r"frame 3 of .* 3 pages"):
        read(path, frame=3)


def test_pages_of_different_sizes_need_a_choice(tmp_path: Path) -> None:
    second = pages(1, (9, 4))
    path = save(tmp_path / "a.tif", pages(1)[0], save_all=True, append_images=second)
    with pytest.raises(InputError, match=r"2 pages of different sizes.*--frame \(0 to 1\)"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, random_voxels((9, 4)))


def test_pages_of_different_types_need_a_choice(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.tif",
        pages(1)[0],
        save_all=True,
        append_images=[PilImage.fromarray(colours())],
    )
    with pytest.raises(InputError, match="or types"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, colours())


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_animations_need_a_choice(tmp_path: Path, suffix: str) -> None:
    frames = [PilImage.fromarray(smooth() // (k + 1)) for k in range(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(
        tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options
    )
    with pytest.raises(InputError, match=r"3 frames; choose one with --frame \(0 to 2\)"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, smooth() // 2)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3), (4, *SHAPE)])
def test_every_tiff_type_keeps_its_values(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra pathology is not installed")
    dtype = np.dtype(kind)
    top = np.iinfo(dtype).max if dtype.kind in "iu" else 1000
    pixels = (np.random.default_rng(1).random(shape) * top).astype(dtype)
    if dtype.kind != "u":
        pixels *= np.array([-1, 1], dtype)[random_voxels(shape) % 2]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb" if shape[-1] == 3 else "minisblack")
    image = read(path)
    np.testing.assert_array_equal(image.voxels, pixels)
    assert image.is_colour == (shape[-1] == 3)


def test_types_beyond_pillow_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra pathology is not installed")
    tifffile.imwrite(tmp_path / "a.tif", random_voxels(SHAPE, np.float64))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=r"promptseg\[pathology\]"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_bits(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 65535, (*SHAPE, channels)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read(tmp_path / "a.png").voxels, pixels[..., :3])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_palette(tmp_path: Path, bits: int) -> None:
    indices = (np.arange(42) % 2**bits).reshape(SHAPE).astype(np.uint8)
    palette = np.random.default_rng(2).integers(0, 255, (2**bits, 3)).astype(np.uint8)
    picture = PilImage.fromarray(indices, "L").convert("P")
    picture.putpalette(palette.tobytes())
    image = read(save(tmp_path / "a.png", picture, bits=bits))
    np.testing.assert_array_equal(image.voxels, palette[indices])


def test_cmyk_jpeg(tmp_path: Path) -> None:
    picture = PilImage.fromarray(smooth()).convert("CMYK")
    image = read(save(tmp_path / "a.jpg", picture, quality=95))
    assert image.is_colour
    assert np.abs(image.voxels.astype(int) - smooth()).mean() < 5


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_the_limit_is_memory_and_not_a_number_of_pillow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    ending: str,
) -> None:
    pixels = random_voxels(SHAPE, np.uint8)
    path = save(tmp_path / f"a.{ending}", pixels)
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(read(path).voxels, pixels)
    assert not recwarn.list
    assert PilImage.MAX_IMAGE_PIXELS == 10, "a limit of somebody else's is put back"
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    with pytest.raises(InputError, match=r"fits into the .* of free memory"):
        read(path)


def test_long_comments_are_no_reason_to_refuse_a_picture(tmp_path: Path) -> None:
    """Pillow takes compressed comments of one megabyte; programs that draw 2D images write more."""
    comment = PngImagePlugin.PngInfo()
    comment.add_text("workflow", "x" * 3_000_000, zip=True)
    pixels = random_voxels(SHAPE, np.uint8)
    PilImage.fromarray(pixels).save(tmp_path / "a.png", pnginfo=comment)
    np.testing.assert_array_equal(read(tmp_path / "a.png").voxels, pixels)


def test_what_only_calls_itself_a_picture_is_not_opened(tmp_path: Path) -> None:
    """Pillow would run a program on PostScript, whatever the name of its file."""
    PilImage.fromarray(random_voxels(SHAPE, np.uint8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match="readable png image"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_cut_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
@pytest.mark.parametrize(("label", "dtype"), [(1, np.uint8), (255, np.uint8), (4711, np.uint16)])
def test_label_pictures_come_back(tmp_path: Path, suffix: str, label: int, dtype: Any) -> None:
    result = segmentation_of(read(save(tmp_path / "a.png", random_voxels(SHAPE, np.uint8))))
    result.segments[0].label = label
    out = result.save(tmp_path / f"mask.{suffix}")
    with PilImage.open(out) as saved:
        labels = np.array(saved)
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels, corner_mask(SHAPE) * label)
    np.testing.assert_array_equal(read(out).voxels, labels)


def test_masks_of_turned_photographs_fit_the_upright_picture(tmp_path: Path) -> None:
    exif = PilImage.Exif()
    exif[0x0112] = 6
    image = read(save(tmp_path / "a.jpg", smooth(), exif=exif))
    with PilImage.open(segmentation_of(image).save(tmp_path / "mask.png")) as saved:
        np.testing.assert_array_equal(np.array(saved), corner_mask((56, 40)))
        assert saved.getexif().get(0x0112, 1) == 1


def test_overlapping_objects_are_one_tiff_page_each(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.png", random_voxels(SHAPE, np.uint8)))
    masks = two_overlapping(SHAPE)
    with PilImage.open(segmentation_of(image, masks).save(tmp_path / "mask.tif")) as saved:
        assert saved.n_frames == 2
        for k, mask in enumerate(masks.values()):
            saved.seek(k)
            np.testing.assert_array_equal(np.array(saved) > 0, mask)


def test_png_refuses_overlapping_objects_and_names_the_way_out(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.png", random_voxels(SHAPE, np.uint8)))
    masks = two_overlapping(SHAPE)
    result = segmentation_of(image, masks)
    with pytest.raises(OutputError, match="--overlap later-wins"):
        result.save(tmp_path / "mask.png")
    assert not (tmp_path / "mask.png").exists()
    with PilImage.open(result.save(tmp_path / "mask.png", overlap="later-wins")) as saved:
        labels = np.array(saved)
    np.testing.assert_array_equal(labels, np.where(masks["lesion"], 2, masks["liver"]))
