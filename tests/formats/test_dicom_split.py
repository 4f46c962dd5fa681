"""Several volumes in one series: told apart, listed, chosen by frame; localisers left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from formats.helpers import (
    GRIDS,
    ORIGIN,
    SHAPE,
    Grid,
    assert_image_places,
    decimals,
    edit_dicom,
    random_voxels,
    write_dicom_series,
)
from promptseg import read
from promptseg.errors import GeometryError, InputError

Tags = Callable[[int, int], dict[str, Any]]


def write_times(folder: Path, times: int, tags: Tags) -> list[NDArray[Any]]:
    """Volumes of one series; `tags` says what slice k of time point t has."""
    made = []
    for t in range(times):
        stored = random_voxels() + 200 * t
        paths = write_dicom_series(
            folder / str(t), GRIDS["oblique"], stored=stored, uid="1.2.3", seed=t, intercept=0
        )
        for k, path in enumerate(paths):
            edit_dicom(path, **tags(t, k))
        made.append(stored)
    return made


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (lambda t, k: {"EchoTime": str(5 * (3 - t))}, r"echo time \(5, 10, 15\)"),
        (lambda t, k: {"TemporalPositionIdentifier": t + 1}, r"temporal position \(1, 2, 3\)"),
        (lambda t, k: {"DiffusionBValue": 500.0 * t}, r"b-value \(0, 500, 1000\)"),
        (lambda t, k: {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"[t]]}, "image type"),
        (lambda t, k: {"AcquisitionTime": f"1200{10 * t:02d}"}, "acquisition time"),
        (lambda t, k: {"TriggerTime": str(100 * t + k)}, "order of trigger time"),
        (lambda t, k: {"AcquisitionTime": f"1200{10 * t + k:02d}"}, "order of acquisition time"),
        (lambda t, k: {"InstanceNumber": 5 * t + k + 1}, "order of instance number"),
        (lambda t, k: {"InstanceNumber": 3 * k + t + 1}, "order of instance number"),
    ],
)
def test_volumes_are_told_apart(tmp_path: Path, tags: Tags, words: str) -> None:
    volumes = write_times(tmp_path / "mr", 3, tags)
    with pytest.raises(InputError, match=rf"3 frames of 5 slices.*{words}.*--frame 0\.\.2"):
        read(tmp_path / "mr")
    order = (2, 1, 0) if "echo" in words else (0, 1, 2)
    for frame, t in enumerate(order):
        image = read(tmp_path / "mr", frame=frame)
        np.testing.assert_array_equal(image.voxels, volumes[t])
        assert_image_places(image, Grid(image.voxels, GRIDS["oblique"], ORIGIN))
        assert any(note.startswith(f"frame {frame} of 3: ") for note in image.source.notes)


def test_two_attributes_together_tell_volumes_apart(tmp_path: Path) -> None:
    volumes = write_times(
        tmp_path / "mr", 4, lambda t, k: {"EchoTime": str(5 + t % 2), "TriggerTime": str(t // 2)}
    )
    with pytest.raises(InputError, match=r"4 frames.*echo time and trigger time"):
        read(tmp_path / "mr")
    for frame, t in enumerate([0, 2, 1, 3]):
        np.testing.assert_array_equal(read(tmp_path / "mr", frame=frame).voxels, volumes[t])


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    write_times(tmp_path / "mr", 2, lambda t, k: {"EchoTime": str(t)})
    with pytest.raises(InputError, match="a frame below 2"):
        read(tmp_path / "mr", frame=2)


def test_a_single_volume_has_frame_0_only(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    assert read(tmp_path / "ct", frame=0).voxels.shape == SHAPE
    with pytest.raises(InputError, match="no frame 1"):
        read(tmp_path / "ct", frame=1)


def test_a_series_saved_twice_is_refused(tmp_path: Path) -> None:
    for copy in ("a", "b"):
        write_dicom_series(tmp_path / copy, GRIDS["plain"], uid="1.2.3")
    for k, path in enumerate(sorted(tmp_path.rglob("*.bin"))):
        edit_dicom(path, InstanceNumber=k % 5, SOPInstanceUID=f"1.2.{k % 5}")
    with pytest.raises(GeometryError, match="one slice per position"):
        read(tmp_path)


def scouts(folder: Path, count: int) -> None:
    """Single slices of other orientations in the same series."""
    for k in range(count):
        grid = GRIDS[("sagittal", "anisotropic")[k]]
        stored = random_voxels((1, 9, 4))
        write_dicom_series(folder / f"scout{k}", grid, stored=stored, uid="1.2.3")


@pytest.mark.parametrize("count", [1, 2])
def test_localisers_beside_a_stack_are_left_out_and_noted(tmp_path: Path, count: int) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["oblique"], uid="1.2.3")
    scouts(tmp_path / "ct", count)
    image = read(tmp_path / "ct")
    np.testing.assert_array_equal(image.voxels, random_voxels() - 1024)
    assert_image_places(image, Grid(image.voxels, GRIDS["oblique"], ORIGIN))
    (note,) = image.source.notes
    assert note.startswith(f"{count} single slices of another Rows were left out")


def test_localisers_do_not_count_as_frames(tmp_path: Path) -> None:
    volumes = write_times(tmp_path / "mr", 2, lambda t, k: {"EchoTime": str(t)})
    scouts(tmp_path / "mr" / "0", 1)
    with pytest.raises(InputError, match="2 frames of 5 slices"):
        read(tmp_path / "mr")
    for frame in range(2):
        image = read(tmp_path / "mr", frame=frame)
        np.testing.assert_array_equal(image.voxels, volumes[frame])


def test_two_stacks_are_refused_and_can_be_chosen(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "mr", GRIDS["oblique"], uid="1.2.3")
    write_dicom_series(tmp_path / "mr", GRIDS["sagittal"], uid="1.2.3", seed=9)
    with pytest.raises(GeometryError, match=r"same PixelSpacing.*choose one with --frame"):
        read(tmp_path / "mr")
    found = [read(tmp_path / "mr", frame=k) for k in range(2)]
    oblique, sagittal = sorted(found, key=lambda image: image.geometry.spacing[2])
    assert_image_places(oblique, Grid(oblique.voxels, GRIDS["oblique"], ORIGIN))
    assert sagittal.geometry.spacing[2] == 3


def test_a_stack_is_chosen_by_its_number_or_its_id(tmp_path: Path) -> None:
    first = write_dicom_series(tmp_path / "mr", GRIDS["oblique"], uid="1.2.3")
    second = write_dicom_series(tmp_path / "mr", GRIDS["sagittal"], uid="1.2.3", seed=9)
    with pytest.raises(GeometryError, match=r"--stack, out of 0 \(\d slices.*, 1 \("):
        read(tmp_path / "mr")
    by_number = [read(tmp_path / "mr", stack=str(k)) for k in range(2)]
    for paths, name in ((first, "axial"), (second, "sag")):
        for path in paths:
            edit_dicom(path, StackID=name)
    with pytest.raises(GeometryError, match=r"--stack, out of (axial|sag) \("):
        read(tmp_path / "mr")
    with pytest.raises(InputError, match=r"a stack out of .*axial"):
        read(tmp_path / "mr", stack="coronal")
    sagittal = read(tmp_path / "mr", stack="sag")
    assert sagittal.geometry.spacing[2] == 3
    assert any(note.startswith("stack sag of") for note in sagittal.source.notes)
    assert any(np.array_equal(sagittal.voxels, other.voxels) for other in by_number)


def test_positions_and_orientations_with_few_digits_are_one_stack(tmp_path: Path) -> None:
    """Rounded to 0.1 mm and to three digits, as some anonymisers leave them."""
    paths = write_dicom_series(tmp_path / "mr", GRIDS["oblique"], uid="1.2.3")
    plain = read(tmp_path / "mr")
    for k, path in enumerate(paths):
        header = pydicom.dcmread(path)
        place = [f"{float(v):.1f}" for v in header.ImagePositionPatient]
        axes = [f"{float(v):.{3 + k % 2}f}" for v in header.ImageOrientationPatient]
        edit_dicom(path, ImagePositionPatient=place, ImageOrientationPatient=axes)
    rounded = read(tmp_path / "mr")
    np.testing.assert_array_equal(rounded.voxels, plain.voxels)
    assert any("of a voxel" in note for note in rounded.source.notes)
    corners = plain.geometry.to_world([[0, 0, 0], [6, 5, 4]])
    assert np.abs(rounded.geometry.to_world([[0, 0, 0], [6, 5, 4]]) - corners).max() < 0.15


def test_a_stack_with_a_hole_where_the_other_slice_lies_is_refused(tmp_path: Path) -> None:
    stored = random_voxels((9, 6, 7))
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"], stored=stored)
    edit_dicom(paths[4], PixelSpacing=decimals([2, 2]))
    with pytest.raises(GeometryError, match="same PixelSpacing"):
        read(tmp_path / "ct")
