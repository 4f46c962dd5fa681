"""Pixels: the same numbers whichever decoder gives them, and colours as RGB."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space

from formats.dicom_makers import write_object
from formats.helpers import edit_dicom, random_voxels, write_dicom_series
from promptseg import read
from promptseg.errors import InputError, PromptsegError
from promptseg.formats import ReadOptions, dicom
from promptseg.formats.dicom import pixels
from promptseg.image import Image

SHIPPED = Path(str(get_testdata_file("MR_small.dcm"))).parent
FILES = sorted(path for path in SHIPPED.iterdir() if path.suffix == ".dcm")
CHANGED_ON_PURPOSE = ("rtdose", "16bit", "32bit", "liver")
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 255, (10, 12, 3)).astype(np.uint8)
GRAYS = RNG.integers(0, 255, (10, 12)).astype(np.uint8)


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no decoder")


@pytest.fixture
def no_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "iter_pixels", fail)


def read_or_refusal(path: Path) -> tuple[Image | None, str]:
    try:
        return read(path), ""
    except PromptsegError as error:
        return None, str(error)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_simpleitk_reads_of_the_files_of_pydicom_is_read_alike(path: Path) -> None:
    try:
        other = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError:
        other = None
    image, refusal = read_or_refusal(path)
    if image is None:
        known = ("a DICOM SEG", "badVR.dcm")
        assert refusal.startswith("expected ")
        assert other is None or any(words in refusal for words in known)
        return
    if other is not None and not any(words in path.name for words in CHANGED_ON_PURPOSE):
        np.testing.assert_array_equal(image.voxels, other.reshape(image.voxels.shape))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_jp2klossless.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPGExtended.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "examples_ybr_color.dcm",
    ],
)
def test_gdcm_gives_what_pydicom_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SHIPPED / name
    first = dicom.read(path)
    monkeypatch.setattr(pixels, "iter_pixels", fail)
    second = dicom.read(path)
    assert second.voxels.dtype == first.voxels.dtype
    np.testing.assert_array_equal(second.voxels, first.voxels)


@pytest.mark.usefixtures("no_pydicom")
@pytest.mark.parametrize("name", ["jpeg_ls_lossless", "jp2klossless"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2.5, 100), (0.001, 0)])
def test_gdcm_rescales_once(tmp_path: Path, name: str, slope: float, intercept: float) -> None:
    shutil.copy(SHIPPED / f"MR_small_{name}.dcm", tmp_path / "mr.dcm")
    edit_dicom(tmp_path / "mr.dcm", RescaleSlope=str(slope), RescaleIntercept=str(intercept))
    stored = pydicom.dcmread(SHIPPED / "MR_small.dcm").pixel_array
    voxels = read(tmp_path / "mr.dcm").voxels
    np.testing.assert_allclose(voxels[0], stored * slope + intercept, rtol=1e-6)


def test_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    path = write_object(tmp_path / "x.dcm", GRAYS, PhotometricInterpretation="MONOCHROME1")
    image = read(path)
    np.testing.assert_array_equal(image.voxels, int(GRAYS.max()) + int(GRAYS.min()) - GRAYS)
    assert image.source.notes == ["MONOCHROME1: brightness inverted"]


@pytest.mark.usefixtures("no_pydicom")
def test_gdcm_does_not_invert_it_again(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "MR_small_jpeg_ls_lossless.dcm", tmp_path / "mr.dcm")
    edit_dicom(tmp_path / "mr.dcm", PhotometricInterpretation="MONOCHROME1")
    stored = pydicom.dcmread(SHIPPED / "MR_small.dcm").pixel_array
    found = read(tmp_path / "mr.dcm").voxels[0]
    np.testing.assert_array_equal(found, stored.max() + stored.min() - stored)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("ybr", [False, True])
def test_colours(tmp_path: Path, planar: int, ybr: bool) -> None:
    stored = convert_color_space(COLOURS, "RGB", "YBR_FULL") if ybr else COLOURS
    raw = stored.transpose(2, 0, 1) if planar else stored
    path = write_object(
        tmp_path / "sc.dcm",
        COLOURS,
        PhotometricInterpretation="YBR_FULL" if ybr else "RGB",
        PlanarConfiguration=planar,
        PixelData=raw.tobytes(),
    )
    image = read(path)
    assert (image.kind, image.is_colour) == ("picture", True)
    np.testing.assert_allclose(image.voxels, COLOURS, atol=2 if ybr else 0)


def palette(tables: Any, bits: int) -> dict[str, Any]:
    names = ("Red", "Green", "Blue")
    made: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in zip(names, np.asarray(tables), strict=True):
        made[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        made[f"{name}PaletteColorLookupTableData"] = table.astype(f"<u{bits // 8}").tobytes()
    return made


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(tmp_path: Path, bits: int) -> None:
    tables = RNG.integers(0, 255, (3, 256)) * (257 if bits == 16 else 1)
    image = read(write_object(tmp_path / "us.dcm", GRAYS, **palette(tables, bits)))
    expected = np.stack([(t >> (bits - 8))[GRAYS] for t in tables], axis=-1)
    np.testing.assert_array_equal(image.voxels, expected)


def test_a_palette_of_grays_gives_grays(tmp_path: Path) -> None:
    table = np.arange(256)[::-1]
    image = read(write_object(tmp_path / "us.dcm", GRAYS, **palette([table] * 3, 8)))
    assert not image.is_colour
    np.testing.assert_array_equal(image.voxels, 255 - GRAYS)


@pytest.mark.parametrize("modality", ["US", "XA", "OT", "ES"])
@pytest.mark.parametrize("colour", [False, True])
def test_films(tmp_path: Path, modality: str, colour: bool) -> None:
    frames = RNG.integers(0, 255, (4, 10, 12, 3)[: 3 + colour]).astype(np.uint8)
    path = write_object(tmp_path / "cine.dcm", frames, frames=True, Modality=modality)
    image = read(path)
    assert (image.kind, image.geometry.unit, image.is_colour) == ("video", "pixel", colour)
    np.testing.assert_array_equal(image.voxels, frames)
    assert [i.frame for i in image.source.header.slices] == [0, 1, 2, 3]
    picture = read(path, frame=2)
    assert picture.kind == "picture"
    np.testing.assert_array_equal(picture.voxels, frames[2])
    assert [i.frame for i in picture.source.header.slices] == [2]
    with pytest.raises(InputError, match="a frame below 4"):
        read(path, frame=4)


@pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "examples_ybr_color.dcm"])
def test_one_frame_of_a_compressed_film(name: str) -> None:
    whole = dicom.read(SHIPPED / name)
    one = dicom.read(SHIPPED / name, ReadOptions(frame=1))
    np.testing.assert_array_equal(one.voxels, whole.voxels[1])


def test_bits_that_are_not_stored_are_no_part_of_the_value(tmp_path: Path) -> None:
    stored = random_voxels((10, 12), np.uint16)
    path = write_object(
        tmp_path / "mr.dcm",
        stored,
        BitsStored=12,
        HighBit=11,
        PixelData=(stored | 0x8000).tobytes(),
    )
    np.testing.assert_array_equal(read(path).voxels, stored)


def recode(path: Path, syntax: str, frame: bytes = b"\1\2\3\4" * 8) -> Path:
    """Say another transfer syntax, over pixels that are none."""
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return path


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        ("1.2.840.113619.5.2", r"1\.2\.840\.113619\.5\.2, private or unknown.*gdcmconv"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.10008.1.2.4.102", r"a film of transfer syntax MPEG-4.*ffmpeg"),
        ("1.2.840.10008.1.2.4.70", "JPEG Lossless"),
        ("1.2.840.10008.1.2.4.90", "JPEG 2000"),
        ("1.2.840.10008.1.2.4.80", "JPEG-LS"),
        ("1.2.840.10008.1.2.5", "RLE"),
    ],
)
def test_pixels_that_cannot_be_decoded(
    tmp_path: Path, syntax: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = recode(write_object(tmp_path / "x.dcm", GRAYS), syntax)
    with pytest.raises(InputError, match=rf"(?s)^expected .*{words}"):
        read(path)
    assert capfd.readouterr().err == ""


def test_encrypted_objects_say_so(tmp_path: Path) -> None:
    path = write_object(tmp_path / "x.dcm", GRAYS)
    locked = pydicom.Dataset()
    locked.EncryptedContent = b"\1\2"
    edit_dicom(path, PixelData=None, EncryptedAttributesSequence=[locked])
    with pytest.raises(InputError, match="its pixels are encrypted; decrypt it first"):
        read(path)


def test_a_cut_film_is_refused(tmp_path: Path) -> None:
    frames = RNG.integers(0, 255, (4, 10, 12)).astype(np.uint8)
    path = write_object(tmp_path / "cine.dcm", frames, True, PixelData=frames.tobytes()[:-40])
    with pytest.raises(InputError, match="complete DICOM pixel data"):
        read(path)


def test_a_film_of_fewer_frames_than_it_says_is_refused(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "SC_rgb_rle_2frame.dcm", tmp_path / "cine.dcm")
    edit_dicom(tmp_path / "cine.dcm", NumberOfFrames=3)
    with pytest.raises(InputError, match="complete DICOM pixel data"):
        read(tmp_path / "cine.dcm")


def test_a_slope_of_zero_is_said(tmp_path: Path) -> None:
    """GDCM, and so ITK, takes it as 1: the stored values are the only ones there are."""
    paths = write_dicom_series(tmp_path / "ct", np.eye(3), slope=0, intercept=-5)
    image = read(tmp_path / "ct")
    assert f"RescaleSlope is 0 in {len(paths)} of {len(paths)} slices: taken as 1" in (
        image.source.notes
    )
    by_gdcm = sitk.GetArrayFromImage(sitk.ReadImage(str(paths[2])))[0]
    np.testing.assert_array_equal(image.voxels[2], by_gdcm)
