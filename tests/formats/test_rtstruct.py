"""RTSTRUCT: a mask becomes contours and the same mask again, here and in other readers."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from PIL import ImageDraw

from formats.helpers import (
    ORIGIN,
    SHAPE,
    corner_mask,
    random_voxels,
    read_nifti,
    real_data,
    rotation,
    segmentation_of,
    two_overlapping,
    write_dicom_series,
    write_nifti,
)
from formats.test_dicom_seg import SERIES, enhanced, radiograph, series
from promptseg import read
from promptseg.errors import GeometryError, InputError, OutputError
from promptseg.formats import format_for_output
from promptseg.formats.contours import filled, outlines
from promptseg.formats.masks import read_masks
from promptseg.formats.saving import save
from promptseg.image import Image


def area(polygon: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = polygon.T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81))
def test_a_mask_becomes_polygons_and_the_same_mask_again(
    rows: int, columns: int, bits: int
) -> None:
    flat = np.array([bits >> k & 1 for k in range(rows * columns)], dtype=bool)
    mask = flat.reshape(rows, columns)
    polygons = outlines(mask)
    np.testing.assert_array_equal(filled(polygons, mask.shape), mask)
    one_by_one = [filled([polygon], mask.shape) for polygon in polygons]
    np.testing.assert_array_equal(np.any(one_by_one or [mask], axis=0), mask)
    assert sum(map(area, polygons)) == mask.sum()


def test_outlines_run_along_the_edges_of_pixels() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 2:4] = True
    (polygon,) = outlines(mask)
    assert sorted(map(tuple, polygon)) == [(1.5, 0.5), (1.5, 1.5), (3.5, 0.5), (3.5, 1.5)]


def test_a_polygon_inside_another_is_a_hole_and_what_is_outside_is_cut_off() -> None:
    outer = np.array([[-3.0, -3.0], [9.0, -3.0], [9.0, 9.0], [-3.0, 9.0]])
    inner = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    found = filled([outer, inner], (4, 5))
    expected = np.ones((4, 5), dtype=bool)
    expected[1:3, 1:3] = False
    np.testing.assert_array_equal(found, expected)


def ring() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:4, 1:6, 1:6] = True
    mask[1:4, 2:5, 2:5] = False
    mask[2, 3, 3] = True
    return mask


@pytest.mark.parametrize("grid", SERIES)
def test_round_trip(tmp_path: Path, grid: str) -> None:
    image = series(tmp_path / "ct", SERIES[grid])
    masks = segmentation_of(image, {**two_overlapping(), "ring": ring()})
    path = masks.save(tmp_path / "x.rtstruct.dcm")
    back = read_masks(path, image)
    assert back.sha256() == masks.sha256()
    assert [s.name for s in back.segments] == ["liver", "lesion", "ring"]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    order=st.integers(0, 100),
    bits=st.integers(1, 2**60 - 1),
)
def test_contours_lie_where_the_slices_say(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    order: int,
    bits: int,
) -> None:
    folder = tmp_path_factory.mktemp("round")
    stored = random_voxels((4, 3, 5))
    write_dicom_series(
        folder / "ct", rotation(*angles) @ np.diag(spacing), origin, stored, seed=order
    )
    image = read(folder / "ct")
    mask = np.array([bits >> k & 1 for k in range(60)], dtype=bool).reshape(4, 3, 5)
    path = segmentation_of(image, {"a": mask}).save(folder / "x.rtss.dcm")
    np.testing.assert_array_equal(redrawn(path, folder / "ct"), mask.sum())
    np.testing.assert_array_equal(read_masks(path, image)["a"], mask)


def redrawn(path: Path, folder: Path) -> int:
    """Number of pixel centres in the contours, each on the slice it refers to, by own arithmetic."""
    slices = {}
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        slices[ds.SOPInstanceUID] = ds
    inside = 0
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        ds = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        row, column = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        offset = points - np.array(ds.ImagePositionPatient, float)
        assert np.abs(offset @ np.cross(row, column)).max() < 1e-3
        xy = (
            np.stack([offset @ row, offset @ column], axis=1)
            / np.array(ds.PixelSpacing, float)[::-1]
        )
        np.testing.assert_allclose(xy % 1, 0.5, atol=0.02)
        inside += round(area(xy))
    return inside


@pytest.mark.peer
def test_rt_utils_reads_the_same_mask(tmp_path: Path) -> None:
    rt_utils = pytest.importorskip("rt_utils")
    shape = (4, 48, 48)
    stored = random_voxels(shape)
    square = np.diag([0.8, 0.8, 2.5])  # it takes pixels of other shapes wrongly
    write_dicom_series(tmp_path / "ct", square, stored=stored, SliceLocation=0)
    image = read(tmp_path / "ct")
    y, x = np.mgrid[:48, :48]
    disc = np.zeros(shape, dtype=bool)
    disc[1:3] = (x - 25) ** 2 + (y - 18) ** 2 < 15**2
    disc[1:3] &= (x - 25) ** 2 + (y - 18) ** 2 > 6**2
    path = segmentation_of(image, {"ring": disc}).save(tmp_path / "x.rtstruct.dcm")
    reader = rt_utils.RTStructBuilder.create_from(str(tmp_path / "ct"), str(path))
    found = reader.get_roi_mask_by_name("ring").transpose(2, 0, 1)
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.9  # it draws edges, rounded
    assert not found[1, 18, 25]
    assert list(found.any((1, 2))) == list(disc.any((1, 2)))


@pytest.mark.peer
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    image = series(tmp_path / "ct", SERIES["tilted"])
    path = segmentation_of(image, {"ring": ring()}).save(tmp_path / "x.rtstruct.dcm")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_it_belongs_to_the_patient_and_refers_to_the_slices(tmp_path: Path) -> None:
    image = series(tmp_path / "ct", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    path = segmentation_of(image, {"Läsion": corner_mask()}).save(tmp_path / "x.rtstruct.dcm")
    ds, source = pydicom.dcmread(path), image.source.header.slices[0].header
    assert str(ds.PatientName) == "Müller^Jörg"
    assert ds.StudyInstanceUID == source.StudyInstanceUID
    assert ds.StructureSetROISequence[0].ROIName == "Läsion"
    for keyword in ("AccessionNumber", "StudyDate", "PatientBirthDate", "OperatorsName"):
        assert not ds[keyword].value
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == source.FrameOfReferenceUID
    referred = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert len(referred.ContourImageSequence) == SHAPE[0]


def test_a_multi_frame_source_is_referred_to_by_frame(tmp_path: Path) -> None:
    image = enhanced(tmp_path)
    masks = segmentation_of(image, {"a": ring()})
    path = masks.save(tmp_path / "x.rtstruct.dcm")
    assert read_masks(path, image).sha256() == masks.sha256()
    contour = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0]
    number = contour.ContourImageSequence[0].ReferencedFrameNumber
    source = pydicom.dcmread(tmp_path / "enhanced.dcm")
    plane = source.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0]
    np.testing.assert_allclose(
        image.geometry.to_index(plane.ImagePositionPatient), [0, 0, 1], atol=1e-3
    )


def test_an_rtstruct_needs_its_image(tmp_path: Path) -> None:
    image = series(tmp_path / "ct")
    path = segmentation_of(image).save(tmp_path / "x.rtstruct.dcm")
    with pytest.raises(InputError, match="the image that an RTSTRUCT was drawn on"):
        read_masks(path)
    with pytest.raises(GeometryError, match="frame of reference"):
        read_masks(path, series(tmp_path / "b", FrameOfReferenceUID="1.2.3.9"))
    with pytest.raises(GeometryError, match="drawn on the slices"):
        read_masks(path, series(tmp_path / "c", SERIES["oblique coronal"]))
    with pytest.raises(GeometryError, match="in space"):
        read_masks(path, Image.from_array(random_voxels()))


def test_another_series_will_do_only_if_its_slices_are_the_same(tmp_path: Path) -> None:
    matrix = SERIES["plain"]
    image = series(tmp_path / "ct", matrix)
    path = segmentation_of(image).save(tmp_path / "x.rtstruct.dcm")
    copy = series(tmp_path / "copy", matrix)
    assert read_masks(path, copy).sha256() == read_masks(path, image).sha256()
    write_dicom_series(tmp_path / "between", matrix, ORIGIN + 0.3 * matrix[:, 2])
    write_dicom_series(tmp_path / "part", matrix, stored=random_voxels()[:3])
    for other in ("between", "part"):
        with pytest.raises(GeometryError, match="another series, and contours of 'thing' are not"):
            read_masks(path, read(tmp_path / other))


def test_a_nifti_of_the_same_image_will_do_with_a_note(tmp_path: Path) -> None:
    image = series(tmp_path / "ct")
    path = segmentation_of(image).save(tmp_path / "x.rtstruct.dcm")
    other = read(write_nifti(tmp_path / "a.nii.gz", SERIES["oblique"]))
    found = read_masks(path, other)
    np.testing.assert_array_equal(found["thing"], corner_mask())
    assert any("by position alone" in note for note in other.source.notes)
    np.testing.assert_array_equal(
        read_nifti(save(found, tmp_path / "b.nii.gz")).voxels, corner_mask()
    )


def test_images_without_a_place_have_no_rtstruct(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="rtstruct cannot hold it"):
        segmentation_of(radiograph(tmp_path / "xr.dcm")).save(tmp_path / "x.rtstruct.dcm")
    image = read(write_nifti(tmp_path / "a.nii.gz", SERIES["plain"]))
    with pytest.raises(OutputError, match="a DICOM image as the source"):
        segmentation_of(image).save(tmp_path / "x.rtstruct.dcm")


def drawn(path: Path, image: Image, *contours: tuple[str, float, list[Any]]) -> Path:
    """An RTSTRUCT of other contours (kind, slice, [(x, y), ...]) in the place of the first ROI's."""
    ds = pydicom.dcmread(segmentation_of(image).save(path, overwrite=True))
    template = ds.ROIContourSequence[0].ContourSequence[0]
    made = []
    for kind, k, points in contours:
        index = np.array([(x, y, k) for x, y in points])
        item = pydicom.Dataset()
        item.ContourImageSequence = template.ContourImageSequence
        item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
        item.ContourData = [f"{v:.6f}" for v in image.geometry.to_world(index).ravel()]
        made.append(item)
    ds.ROIContourSequence[0].ContourSequence = made
    ds.save_as(path)
    return path


SQUARE = [(0.5, 0.5), (4.5, 0.5), (4.5, 4.5), (0.5, 4.5)]
INNER = [(1.5, 1.5), (3.5, 1.5), (3.5, 3.5), (1.5, 3.5)]


def test_odd_contours(tmp_path: Path) -> None:
    image = series(tmp_path / "ct")
    path = drawn(
        tmp_path / "x.rtstruct.dcm",
        image,
        ("CLOSED_PLANAR", 1.1, SQUARE),
        ("CLOSED_PLANAR", 1.1, INNER),
        ("CLOSED_PLANAR", 1.4, SQUARE),
        ("CLOSED_PLANAR", 7, SQUARE),
        ("POINT", 2, [(1, 1)]),
    )
    found = read_masks(path, image)["thing"]
    assert found[1].sum() == 16 - 4
    assert not found[[0, 2, 3, 4]].any()
    notes = " ".join(image.source.notes)
    for said in ("1 POINT contours", "1 contours outside", "1 contours between", "beside their"):
        assert said in notes
    point = drawn(tmp_path / "p.rtstruct.dcm", image, ("POINT", 2, [(1, 1)]))
    with pytest.raises(InputError, match="with closed contours"):
        read_masks(point, image)


@pytest.mark.parametrize("undefined", [False, True])
def test_a_file_that_was_cut_is_never_read_in_part(tmp_path: Path, undefined: bool) -> None:
    image = series(tmp_path / "ct")
    path = segmentation_of(image, two_overlapping()).save(tmp_path / "x.rtstruct.dcm")
    ds = pydicom.dcmread(path)
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
    ds.save_as(path)
    drawn = [segment.crop for segment in read_masks(path, image).segments]
    assert len(drawn) == 2
    whole = path.read_bytes()
    behind = pydicom.dcmread(path)["RTROIObservationsSequence"].file_tell - 12  # or 4 later
    for end in range(len(whole) // 3, behind, 97):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"ends too early|without$|not recognised"):
            read_masks(path, image)
    for end in range(
        behind, len(whole), 3
    ):  # behind the contours: refused, or all of them are there
        path.write_bytes(whole[:end])
        with suppress(InputError):
            for one, other in zip(read_masks(path, image).segments, drawn, strict=True):
                np.testing.assert_array_equal(one.crop, other)


def test_an_old_file_without_meta_information_is_read(tmp_path: Path) -> None:
    path = real_data("formats", "dicom", "rtstruct.dcm")
    with pytest.raises(InputError, match="the image that an RTSTRUCT was drawn on"):
        read_masks(path)
    places = np.diag([10.0, 10.0, 10.0])
    stored = random_voxels((3, 41, 41))
    frame = "1.2.826.0.1.3680043.8.498.2010020400001.2"
    write_dicom_series(
        tmp_path / "ct", places, (-200, -200, -200), stored, FrameOfReferenceUID=frame
    )
    image = read(tmp_path / "ct")
    found = read_masks(path, image)
    assert [s.name for s in found.segments] == ["patient"]
    assert found["patient"].any((1, 2)).all()
    assert sum("POINT" in note for note in image.source.notes) == 2


@pytest.mark.data
def test_a_real_rtstruct(tmp_path: Path) -> None:
    """The given masks were drawn with PIL, which puts pixels half a pixel lower and adds the edge.

    So they are met exactly by drawing with PIL what was read, and by the mask itself only as far as
    half a pixel goes: lungs above 0.98, smaller things less. The areas are those of the contours.
    """
    folder = real_data("volume", "ct__nsclc_lung1_rtstruct")
    image = read(folder / "LUNG1-001_image")
    path = folder / "LUNG1-001_rtstruct.dcm"
    found = read_masks(path, image)
    label = np.asarray(nib.load(folder / "LUNG1-001_label.nii.gz").dataobj).T
    ds = pydicom.dcmread(path)
    values = {"Lung-Left": 1, "Lung-Right": 2, "Spinal-Cord": 3, "GTV-1": 4}
    rois = {r.ROINumber: r.ROIName for r in ds.StructureSetROISequence}
    for roi in ds.ROIContourSequence:
        name = rois[roi.ReferencedROINumber]
        by_pil, fine = drawn_with_pil(roi, image)
        counted = np.ones(image.geometry.shape, dtype=bool)
        if values[name] < 3:
            counted = label != 4  # the tumour was drawn over the lungs
        assert dice(by_pil & counted, (label == values[name]) & counted) > 0.999
        assert dice(found[name], fine) > 0.98
        if values[name] < 3:
            assert dice(found[name] & counted, (label == values[name]) & counted) > 0.98
    again = read_masks(save(found, tmp_path / "again.rtstruct.dcm"), image)
    for name in values:
        np.testing.assert_array_equal(again[name], found[name])


def drawn_with_pil(roi: pydicom.Dataset, image: Image) -> tuple[np.ndarray, np.ndarray]:
    """PIL's own polygons, and polygons eight times as fine whose majority counts."""
    plain, fine = np.zeros((2, *image.geometry.shape), dtype=bool)
    for contour in roi.ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        index = image.geometry.to_index(points)
        k, xy = round(index[:, 2].mean()), index[:, :2]
        if 0 <= k < len(plain):
            x, y = xy.min(axis=0).astype(int) - 2
            width, height = np.ptp(xy, axis=0).astype(int) + 5
            part = (k, slice(y, y + height), slice(x, x + width))
            canvas = PilImage.new("1", (width, height))
            ImageDraw.Draw(canvas).polygon(list(map(tuple, xy - (x, y))), 1, 1)
            plain[part] ^= np.array(canvas)
            large = PilImage.new("1", (width * 8, height * 8))
            ImageDraw.Draw(large).polygon(list(map(tuple, (xy - (x, y) + 0.5) * 8 - 0.5)), 1, 0)
            fine[part] ^= np.array(large).reshape(height, 8, width, 8).mean((1, 3)) > 0.5
    return plain, fine


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_what_cannot_be_written_is_refused_before_a_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_patient(_: object) -> dict[str, str]:
        raise ValueError("nothing that a patient's name could be")

    image = series(tmp_path / "ct")
    format_for_output(Path("x.rtstruct.dcm"), image)
    monkeypatch.setattr("promptseg.formats.rtstruct.writer.belonging", no_patient)
    said = "a source image that a DICOM RTSTRUCT can be made for"
    with pytest.raises(OutputError, match=said):
        format_for_output(Path("x.rtstruct.dcm"), image)
    with pytest.raises(OutputError, match=said):
        segmentation_of(image).save(tmp_path / "x.rtstruct.dcm")
    assert not list(tmp_path.glob("x*"))
