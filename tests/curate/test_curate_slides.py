"""Whole slides become tiles of 1024 pixels, with their masks, padded at the border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curate import curate_makers as make
from datasets import dataset_makers
from promptseg.curate.tiles import is_slide
from promptseg.formats import slide

tifffile = pytest.importorskip("tifffile", reason="the extra pathology is not installed")
pytest.importorskip("tiffslide", reason="the extra pathology is not installed")

WIDTH, HEIGHT = 2300, 1500


def tissue() -> NDArray[np.uint8]:
    y, x = np.indices((HEIGHT, WIDTH))
    waves = [np.sin(x / 40) * 90, np.cos(y / 55) * 90, np.sin((x + 2 * y) / 70) * 90]
    return np.stack([128 + wave for wave in waves], axis=-1).astype(np.uint8)


def labels() -> NDArray[np.uint8]:
    """One object across two tiles, one in the lower right corner."""
    out = np.zeros((HEIGHT, WIDTH), np.uint8)
    out[100:300, 1000:1100] = 1
    out[1400:, 2200:] = 2
    return out


def pyramid(path: Path, pixels: NDArray[Any]) -> Path:
    """A TIFF in tiles with a smaller level, 0.25 micrometres per pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"tile": (256, 256), "compression": "deflate", "metadata": None}
    options["photometric"] = "rgb" if pixels.ndim == 3 else "minisblack"
    with tifffile.TiffWriter(path) as file:
        for level in range(2):
            per_cm = 1e4 / (0.25 * 2**level)
            file.write(
                pixels[:: 2**level, :: 2**level],
                subfiletype=level,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                **options,
            )
    return path


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    dataset_makers.described(folder, modality="histopathology", targets={"1": "gland", "2": "fat"})
    pyramid(folder / "images" / "s1.tif", tissue())
    return folder


def check(collection: Any, truth: NDArray[np.uint8]) -> None:
    """Two rows of three tiles, four of them without objects."""
    tiles = collection.samples
    assert [s.slice for s in tiles] == [0, 1, 5]
    assert {s.group for s in tiles} == {"slides/s1"}
    assert len({s.split for s in tiles}) == 1
    whole = np.pad(tissue(), ((0, 548), (0, 772), (0, 0)))
    masks = np.pad(truth, ((0, 548), (0, 772)))
    for sample in tiles:
        row, column = divmod(sample.slice, 3)
        place = (slice(row * 1024, (row + 1) * 1024), slice(column * 1024, (column + 1) * 1024))
        picture, layers = collection.read(sample)
        assert sample.shape == (1024, 1024)
        assert sample.modality == "pathology"
        assert sample.pixel == pytest.approx((0.25, 0.25))
        np.testing.assert_array_equal(picture, whole[place])
        np.testing.assert_array_equal(layers[0] > 0, masks[place] > 0)
        assert [t.name for t in sample.targets] == [["gland"], ["fat"]][sample.slice == 5]


def test_masks_may_be_pictures(slides: Path, tmp_path: Path) -> None:
    dataset_makers.png(slides / "masks" / "s1.png", labels())
    assert is_slide(slides / "images" / "s1.tif")
    assert not is_slide(slides / "masks" / "s1.png")
    check(make.curated(slides, output=tmp_path / "out"), labels())


def test_masks_may_be_slides(slides: Path, tmp_path: Path) -> None:
    pyramid(slides / "masks" / "s1.tif", labels())
    check(make.curated(slides, output=tmp_path / "out"), labels())


@pytest.mark.parametrize("form", ["picture", "slide"])
def test_tiles_of_a_lower_resolution(slides: Path, tmp_path: Path, form: str) -> None:
    if form == "picture":
        dataset_makers.png(slides / "masks" / "s1.png", labels()[::2, ::2])  # of that resolution
    else:
        pyramid(slides / "masks" / "s1.tif", labels())
    collection = make.curated(slides, output=tmp_path / "out", microns=0.5)
    assert [s.slice for s in collection.samples] == [0, 1]
    expected = np.pad(labels()[::2, ::2], ((0, 274), (0, 898)))
    for sample in collection.samples:
        picture, layers = collection.read(sample)
        place = (slice(0, 1024), slice(sample.slice * 1024, (sample.slice + 1) * 1024))
        np.testing.assert_array_equal(layers[0] > 0, expected[place] > 0)
        assert sample.pixel == pytest.approx((0.5, 0.5))
        assert not picture[750:].any()


@pytest.mark.parametrize("form", ["picture", "slide"])
def test_a_mask_of_another_size_is_left_out(slides: Path, tmp_path: Path, form: str) -> None:
    good = slides.parent / "good"
    make.pictures(good)
    cut = labels()[:, :-10]
    if form == "picture":
        dataset_makers.png(slides / "masks" / "s1.png", cut)
    else:
        pyramid(slides / "masks" / "s1.tif", cut)
    make.curated(slides, good, output=tmp_path / "out")
    text = (tmp_path / "out" / "exclusions.csv").read_text()
    assert "slides,s1,,,mask of another grid," in text


def test_a_slide_has_hashes_for_the_leak_check(slides: Path, tmp_path: Path) -> None:
    pyramid(slides / "images" / "s2.tif", tissue())
    for name in ("s1", "s2"):
        dataset_makers.png(slides / "masks" / f"{name}.png", labels())
    collection = make.curated(slides, output=tmp_path / "out")
    assert len({s.group for s in collection.samples}) == 1, "the same slide twice"
    assert collection.facts["look_alikes"] == 1


def test_a_damaged_slide_is_left_out(slides: Path, tmp_path: Path) -> None:
    dataset_makers.png(slides / "masks" / "s1.png", labels())
    dataset_makers.png(slides / "masks" / "s2.png", labels())
    content = (slides / "images" / "s1.tif").read_bytes()
    (slides / "images" / "s2.svs").write_bytes(content[: len(content) // 3])
    collection = make.curated(slides, output=tmp_path / "out")
    assert {s.case for s in collection.samples} == {"s1"}
    assert "slides,s2,,,incomplete image," in (tmp_path / "out" / "exclusions.csv").read_text()
    assert slide.LONGEST_SIDE > WIDTH


def test_a_damaged_mask_that_is_a_slide_is_left_out(slides: Path, tmp_path: Path) -> None:
    """Its tiles are garbage: the codec's own error is none of ours, and comes in the middle."""
    pyramid(slides / "masks" / "s1.tif", labels())
    pyramid(slides / "images" / "s2.tif", tissue()[::-1])
    path = pyramid(slides / "masks" / "s2.tif", labels())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    content = bytearray(path.read_bytes())
    for offset, count in places[len(places) // 2 :]:
        content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    collection = make.curated(slides, output=tmp_path / "out")
    assert {s.case for s in collection.samples} == {"s1"}
    assert "slides,s2,,,unusable mask," in (tmp_path / "out" / "exclusions.csv").read_text()
