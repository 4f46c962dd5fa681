"""Label pictures: what is stored, against the array they were written from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage
from PIL import ImageOps

from datasets import dataset_makers as make
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.errors import InputError
from promptseg.evaluate.predictions import open_predictions
from promptseg.formats import read, read_labels
from promptseg.formats.masks import read_masks
from promptseg.formats.options import MaskOptions

LABELS = np.zeros((12, 16), np.uint8)
LABELS[2:5, 3:9], LABELS[6:10, 8:14] = 1, 2
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0]
GRAYS = [0, 0, 0, 128, 128, 128, 255, 255, 255]


def with_palette(path: Path, palette: list[int], **how: object) -> Path:
    picture = PilImage.frombytes("P", LABELS.shape[::-1], LABELS.tobytes())
    picture.putpalette(palette + [0] * (768 - len(palette)))
    picture.save(path, **how)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
@pytest.mark.parametrize("palette", [VOC, GRAYS], ids=["voc", "gray"])
def test_a_palette_gives_its_indices(tmp_path: Path, ending: str, palette: list[int]) -> None:
    path = with_palette(tmp_path / f"a.{ending}", palette)
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS)


def test_a_palette_with_transparency_gives_its_indices(tmp_path: Path) -> None:
    path = with_palette(tmp_path / "a.png", VOC, transparency=0)
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_lookup_table_of_fiji_gives_its_indices(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.tif"
    table = np.zeros((3, np.iinfo(dtype).max + 1), np.uint16)
    table[0, 1] = table[1, 2] = 65535
    tifffile.imwrite(path, LABELS.astype(dtype), photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_one_bit_is_zero_and_one(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    PilImage.fromarray(LABELS == 1).save(path)
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS == 1)
    assert read(path).voxels.max() == 255  # as a 2D image it stays what it looks like


def test_one_bit_of_a_fax_is_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    PilImage.fromarray(LABELS == 1).save(path, compression="group4")  # white is 0 in there
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS == 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_of_gray_are_not_spread(tmp_path: Path, bits: int) -> None:
    """PNG optimisers store labels up to 3 in two bits; a reader of 2D images makes 85, 170, 255."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    per_byte = 8 // bits
    rows = LABELS.reshape(len(LABELS), -1, per_byte)
    shifts = np.arange(per_byte)[::-1] * bits
    packed = (rows.astype(int) << shifts).sum(axis=-1).astype(np.uint8)
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    size = struct.pack(">IIBBBBB", LABELS.shape[1], LABELS.shape[0], bits, 0, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_as_zero_leaves_the_stored_numbers(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, LABELS.astype(dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read_labels(path).voxels, LABELS)


@pytest.mark.parametrize("orientation", [3, 6])
def test_labels_are_turned_as_their_exif_says(tmp_path: Path, orientation: int) -> None:
    path, picture = tmp_path / "a.png", PilImage.fromarray(LABELS)
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    with PilImage.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_labels(path).voxels, expected)


def test_labels_with_loss_are_refused_when_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PilImage.fromarray(LABELS * 100).save(path, quality=50)
    with pytest.raises(InputError, match="without loss"):
        read_labels(path)


def test_a_shape_in_the_transparency_alone_is_no_empty_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = np.zeros((*LABELS.shape, 4), np.uint8)
    pixels[..., 3] = (LABELS > 0) * 255
    PilImage.fromarray(pixels).save(path)
    with pytest.raises(InputError, match="transparency"):
        read_labels(path)


def colour_coded(path: Path) -> Path:
    table = np.array(VOC, np.uint8).reshape(-1, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(table[LABELS]).save(path)
    return path


def test_colours_are_labels_only_where_a_table_says_so(tmp_path: Path) -> None:
    path = colour_coded(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"3 colours.*#800000.*--colours"):
        read_masks(path)
    masks = read_masks(path, options=MaskOptions(colours="1=#800000, 2=#008000"))
    np.testing.assert_array_equal(masks.labels(), LABELS)
    with pytest.raises(InputError, match=r"#008000 at 8, 6, and 24 such"):
        read_masks(path, options=MaskOptions(colours="1=#800000"))
    with pytest.raises(InputError, match="--colours"):
        read_masks(path, options=MaskOptions(colours="1=red"))


def test_a_dataset_has_its_own_table_of_colours(tmp_path: Path) -> None:
    make.png(tmp_path / "images" / "a.png", make.gray())
    colour_coded(tmp_path / "masks" / "a.png")
    make.described(
        tmp_path,
        targets={"1": "polyp", "2": "tool"},
        colours={"1": "#800000", "2": [0, 128, 0]},
    )
    (dataset,) = open_datasets(tmp_path, DatasetOptions())
    truth = dataset.cases[0].load()[1]
    assert {s.name: int(s.crop.sum()) for s in truth.segments} == {"polyp": 18, "tool": 24}


def test_predictions_may_be_coded_in_the_colours_of_their_dataset(tmp_path: Path) -> None:
    for name in ("data/images/a.png", "data/images/b.png"):
        make.png(tmp_path / name, make.gray())
    for name in ("data/masks/a.png", "data/masks/b.png", "out/a.png"):
        colour_coded(tmp_path / name)
    make.png(tmp_path / "out" / "b.png", LABELS)  # numbers stay numbers
    make.described(
        tmp_path / "data",
        targets={"1": "polyp", "2": "tool"},
        colours={"1": "#800000", "2": "#008000"},
    )
    datasets = open_datasets(tmp_path / "data", DatasetOptions())
    predictions = open_predictions(tmp_path / "out", datasets)["data"]
    for case in datasets[0].cases:
        image, truth = case.load()
        found = predictions.of(case, image, truth)
        assert [int(s.crop.sum()) for s in found.objects] == [18, 24]


def test_several_colours_may_stand_for_one_label(tmp_path: Path) -> None:
    path = colour_coded(tmp_path / "a.png")
    masks = read_masks(path, options=MaskOptions(colours="1=#800000,1=#008000"))
    np.testing.assert_array_equal(masks.labels(), LABELS > 0)
    with pytest.raises(InputError, match="one label for each colour"):
        read_masks(path, options=MaskOptions(colours="1=#800000,2=#800000"))


def test_palettes_as_truth_of_a_dataset(tmp_path: Path) -> None:
    make.png(tmp_path / "images" / "a.png", make.gray())
    (tmp_path / "masks").mkdir()
    with_palette(tmp_path / "masks" / "a.png", VOC)
    make.described(tmp_path, targets={"1": "polyp", "2": "tool"})
    (dataset,) = open_datasets(tmp_path, DatasetOptions())
    truth = dataset.cases[0].load()[1]
    assert {s.name: int(s.crop.sum()) for s in truth.segments} == {"polyp": 18, "tool": 24}
