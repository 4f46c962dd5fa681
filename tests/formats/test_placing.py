"""Contours become slices as one object: no gap that the drawing does not have, nothing lost unsaid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from formats.helpers import ORTHOGONAL, segmentation_of, write_dicom_series
from formats.test_rtstruct import SQUARE, drawn
from promptseg import read
from promptseg.errors import GeometryError, InputError
from promptseg.formats.masks import read_masks
from promptseg.formats.rtstruct.placing import Contour, interpolated, offset_of, placed
from promptseg.image import Image

SHAPE = (9, 6, 7)
FOUR = 16  # pixels in SQUARE


@pytest.fixture
def image(tmp_path: Path) -> Image:
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_dicom_series(tmp_path / "ct", ORTHOGONAL["oblique"], stored=stored)
    return read(tmp_path / "ct")


def sizes(path: Path, image: Image, **how: Any) -> list[int]:
    """Pixels of the first object on each slice."""
    (segment,) = read_masks(path, image, **how).segments
    return [int(n) for n in segment.mask(SHAPE).sum((1, 2))]


def on(path: Path, image: Image, depths: list[float]) -> Path:
    return drawn(path, image, *(("CLOSED_PLANAR", z, SQUARE) for z in depths))


@pytest.mark.parametrize(
    "depths",
    [
        [2, 3, 4, 5, 6],
        [2.25, 3.25, 4.25, 5.25, 6.25],
        [2.5, 3.5, 4.5, 5.5, 6.5],
        [1.5, 2.5, 3.5, 4.5, 5.5],
        [2.502, 3.498, 4.502, 5.498, 6.502],
        [2.46, 3.54, 4.46, 5.54, 6.46],
    ],
)
def test_five_neighbouring_contours_cover_five_neighbouring_slices(
    image: Image, tmp_path: Path, depths: list[float]
) -> None:
    found = sizes(on(tmp_path / "x.rtstruct.dcm", image, depths), image)
    covered = np.flatnonzero(found)
    assert len(covered) == 5
    assert np.ptp(covered) == 4
    assert set(found) == {0, FOUR}


def test_all_objects_of_a_file_are_moved_alike(image: Image, tmp_path: Path) -> None:
    """Two objects, of which rounding puts one a hair below half a slice and one a hair above."""
    path = tmp_path / "x.rtstruct.dcm"
    segmentation_of(image, {n: np.ones(SHAPE, bool) for n in ("a", "b")}).save(path)
    ds = pydicom.dcmread(path)
    for item, depths in zip(
        ds.ROIContourSequence, ([2.499, 3.499], [2.501, 3.501, 4.501]), strict=True
    ):
        contours = list(item.ContourSequence[: len(depths)])
        for contour, depth in zip(contours, depths, strict=True):
            index = np.array([(x, y, depth) for x, y in SQUARE])
            points = image.geometry.to_world(index)
            contour.ContourData = [f"{v:.6f}" for v in points.ravel()]
        item.ContourSequence = contours
    ds.save_as(path)
    a, b = read_masks(path, image).segments
    assert a.region[0].start == b.region[0].start


def test_contours_of_a_slice_a_little_apart_belong_together(image: Image, tmp_path: Path) -> None:
    hole = [(x + 1, y + 1) for x, y in [(0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)]]
    path = drawn(
        tmp_path / "x.rtstruct.dcm",
        image,
        *(("CLOSED_PLANAR", k, SQUARE) for k in (2, 3, 4)),
        ("CLOSED_PLANAR", 3.04, hole),
    )
    assert sizes(path, image) == [0, 0, FOUR, FOUR - 4, FOUR, 0, 0, 0, 0]


def test_gaps_of_the_drawing_are_said_and_filled_if_asked(image: Image, tmp_path: Path) -> None:
    path = on(tmp_path / "x.rtstruct.dcm", image, [1, 3, 5])
    assert sizes(path, image) == [0, FOUR, 0, FOUR, 0, FOUR, 0, 0, 0]
    assert any("2 slices inside of it are empty; --interpolate" in n for n in image.source.notes)
    image.source.notes.clear()
    assert sizes(path, image, interpolate=True) == [0, *[FOUR] * 5, 0, 0, 0]
    assert any("2 slices between contours were interpolated" in n for n in image.source.notes)
    missing = on(tmp_path / "y.rtstruct.dcm", image, [1, 2, 3, 6, 7])
    image.source.notes.clear()
    assert sizes(missing, image, interpolate=True) == [0, *[FOUR] * 3, 0, 0, FOUR, FOUR, 0]
    assert any(": 2 slices inside of it are empty" in note for note in image.source.notes)


def test_a_finer_drawing_loses_no_slice(image: Image, tmp_path: Path) -> None:
    path = on(tmp_path / "x.rtstruct.dcm", image, [2 + k / 3 for k in range(13)])
    assert sizes(path, image) == [0, 0, *[FOUR] * 5, 0, 0]
    assert any("8 contours between slices" in note for note in image.source.notes)


def test_a_contour_that_is_there_twice_is_no_hole(image: Image, tmp_path: Path) -> None:
    path = on(tmp_path / "x.rtstruct.dcm", image, [2, 2, 3])
    assert sizes(path, image) == [0, 0, FOUR, FOUR, 0, 0, 0, 0, 0]
    assert any("1 contours that are there twice" in note for note in image.source.notes)


def test_contours_beside_the_image_are_told(image: Image, tmp_path: Path) -> None:
    far = [(x + 100, y) for x, y in SQUARE]
    tiny = [(1.1, 1.1), (1.2, 1.1), (1.2, 1.2)]
    over = [(x + 4, y) for x, y in SQUARE]
    for name, contours, said in (
        ("far", [(2, far)], "cover no pixel centre of the image, on any slice"),
        ("tiny", [(2, tiny)], "cover no pixel centre of the image, on any slice"),
        ("part", [(2, SQUARE), (3, tiny)], "on 1 of 2 slices"),
        ("over", [(2, over)], "1 contours reach beyond the image"),
    ):
        image.source.notes.clear()
        made = [("CLOSED_PLANAR", z, points) for z, points in contours]
        sizes(drawn(tmp_path / f"{name}.rtstruct.dcm", image, *made), image)
        assert any(said in note for note in image.source.notes), name


def edited(path: Path, image: Image, names: list[str]) -> tuple[Path, pydicom.Dataset]:
    segmentation_of(image, {n: np.ones(SHAPE, bool) for n in names}).save(path)
    return path, pydicom.dcmread(path)


def test_rois_without_contours_are_empty_objects(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a", "b", "c", "d"])
    del ds.ROIContourSequence[1].ContourSequence
    ds.ROIContourSequence[2].ContourSequence = []
    del ds.ROIContourSequence[3]
    ds.save_as(path)
    found = read_masks(path, image)
    assert [s.is_empty for s in found.segments] == [False, True, True, True]
    assert found.names == {1: "a", 2: "b", 3: "c", 4: "d"}
    assert "ROIs without contours, kept as empty: 'b', 'c', 'd'" in image.source.notes
    again = segmentation_of(image, {"a": np.zeros(SHAPE, bool)}).save(tmp_path / "y.rtstruct.dcm")
    assert read_masks(again, image).segments[0].is_empty


def test_contours_of_an_roi_that_is_not_listed(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a", "b"])
    del ds.StructureSetROISequence[1]
    ds.save_as(path)
    found = read_masks(path, image)
    assert found.names == {1: "a", 2: "ROI 2"}
    assert any("contours of ROI 2, which it does not list" in note for note in image.source.notes)


def test_numbers_of_rois_that_are_no_identities(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a", "b"])
    del ds.ROIContourSequence[1].ContourSequence
    for item in (*ds.StructureSetROISequence, *ds.ROIContourSequence):
        item["ROINumber" if "ROINumber" in item else "ReferencedROINumber"].value = 1
    ds.save_as(path)
    found = read_masks(path, image)
    assert [s.is_empty for s in found.segments] == [False, True]
    assert any("2 with number 1; contours were matched in order" in n for n in image.source.notes)
    del ds.ROIContourSequence[1]
    ds.save_as(path)
    with pytest.raises(InputError, match="a number of their own"):
        read_masks(path, image)


def test_contours_in_several_items_are_one_object(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a", "b"])
    first, second = ds.ROIContourSequence
    second.ReferencedROINumber = 1
    second.ContourSequence, first.ContourSequence = (
        list(first.ContourSequence[:4]),
        list(first.ContourSequence[4:]),
    )
    del ds.StructureSetROISequence[1]
    ds.save_as(path)
    assert read_masks(path, image)["a"].all()


@pytest.mark.parametrize("numbers", [[3, 7], [7, 3], [70_000, 0]])
def test_roi_numbers_become_labels(image: Image, tmp_path: Path, numbers: list[int]) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a", "b"])
    for roi, item, number in zip(
        ds.StructureSetROISequence, ds.ROIContourSequence, numbers, strict=True
    ):
        roi.ROINumber = item.ReferencedROINumber = number
    ds.save_as(path)
    found = read_masks(path, image)
    usable = max(numbers) < 70_000
    assert [s.label for s in found.segments] == (numbers if usable else [1, 2])
    said = any("numbers that a label image cannot hold" in note for note in image.source.notes)
    assert said is not usable


def test_what_an_roi_is_stays(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a"])
    ds.RTROIObservationsSequence[0].RTROIInterpretedType = "ORGAN"
    ds.StructureSetROISequence[0].ROIGenerationAlgorithm = "MANUAL"
    ds.save_as(path)
    from promptseg.formats.saving import save

    again = pydicom.dcmread(save(read_masks(path, image), tmp_path / "y.rtstruct.dcm"))
    assert again.RTROIObservationsSequence[0].RTROIInterpretedType == "ORGAN"
    assert again.StructureSetROISequence[0].ROIGenerationAlgorithm == "MANUAL"


def test_another_time_point_is_said(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a"])
    for contour in ds.ROIContourSequence[0].ContourSequence:
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID = pydicom.uid.generate_uid()
    ds.save_as(path)
    assert read_masks(path, image)["a"].all()
    assert any("(another series or time point)" in note for note in image.source.notes)


def test_a_file_without_any_contour_sequence_is_no_drawing(image: Image, tmp_path: Path) -> None:
    path, ds = edited(tmp_path / "x.rtstruct.dcm", image, ["a"])
    del ds.ROIContourSequence
    ds.save_as(path)
    with pytest.raises((InputError, GeometryError), match="with closed contours"):
        read_masks(path, image)


@settings(deadline=None, derandomize=True)
@given(
    count=st.integers(1, 12),
    start=st.integers(0, 8),
    beside=st.floats(-0.5, 0.5),
    jitter=st.lists(st.floats(-0.04, 0.04), min_size=12, max_size=12),
)
def test_a_drawing_on_neighbouring_planes_has_no_gap(
    count: int, start: int, beside: float, jitter: list[float]
) -> None:
    depths = [start + k + beside + jitter[k] for k in range(count)]
    planes = np.sort(np.array(depths))
    contours = [Contour(z, np.array([(0.0, 0), (1, 0), (1, 1)])) for z in depths]
    found = placed(contours, 40, 1.0, offset_of(planes))
    inside = sorted(found.on)
    assert found.between == 0
    assert found.outside + len(inside) == count
    assert found.missing() == []
    assert all(
        abs(k - z) <= 0.5 + 0.1 for k, z in zip(inside, planes[found.outside :], strict=True)
    )


def test_interpolation_is_between_both_contours() -> None:
    y, x = np.mgrid[:41, :41]

    def disc(radius: float) -> NDArray[np.bool_]:
        return np.asarray((y - 20) ** 2 + (x - 20) ** 2 <= radius**2)

    mask = np.zeros((5, 41, 41), dtype=bool)
    mask[0], mask[2], mask[4] = disc(6), disc(12), disc(12)
    assert interpolated(mask, 2.0, (1.0, 1.0)) == [1, 3]
    assert abs(np.sqrt(mask[1].sum() / np.pi) - 9) < 0.5
    np.testing.assert_array_equal(mask[3], mask[2])
