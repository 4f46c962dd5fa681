"""Multi-frame objects and mosaics: every slice where its own frame says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.dicom_makers import item, sequence, write_enhanced, write_mosaic, write_object
from formats.helpers import (
    GRIDS,
    ORIGIN,
    ORTHOGONAL,
    SHAPE,
    Grid,
    assert_image_places,
    decimals,
    random_voxels,
    rotation,
)
from promptseg import read
from promptseg.errors import GeometryError, InputError

RNG = np.random.default_rng(5)
UPWARDS = {name: m for name, m in ORTHOGONAL.items() if np.linalg.det(m) > 0}
UPWARDS["tilted"] = np.array([[0.8, 0, 0], [0, 0.9, 0.9], [0, 0, 2.5]])


def places(matrix: Any, count: int = SHAPE[0]) -> Any:
    return ORIGIN + np.arange(count)[:, None] * np.asarray(matrix)[:, 2]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("grid", UPWARDS)
def test_frames_in_any_order_are_sorted_in_space(tmp_path: Path, grid: str, shared: bool) -> None:
    matrix, stored = UPWARDS[grid], random_voxels()
    order = RNG.permutation(SHAPE[0])
    path = write_enhanced(
        tmp_path / "mr.dcm", stored[order], places(matrix)[order], matrix, shared=shared
    )
    image = read(path)
    np.testing.assert_array_equal(image.voxels, stored)
    assert_image_places(image, Grid(stored, matrix, ORIGIN))
    assert image.modality == "MR"
    assert [i.frame for i in image.source.header.slices] == np.argsort(order).tolist()


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    seed=st.integers(0, 99),
)
def test_any_oblique_grid(
    tmp_path_factory: pytest.TempPathFactory, angles: Any, spacing: Any, seed: int
) -> None:
    matrix, stored = rotation(*angles) @ np.diag(spacing), random_voxels()
    order = np.random.default_rng(seed).permutation(SHAPE[0])
    path = tmp_path_factory.mktemp("enhanced") / "mr.dcm"
    write_enhanced(path, stored[order], places(matrix)[order], matrix)
    image = read(path)
    np.testing.assert_array_equal(image.voxels, stored)
    assert_image_places(image, Grid(stored, matrix, ORIGIN))


def test_each_frame_has_its_own_rescaling(tmp_path: Path) -> None:
    rescale = [(1 + k / 4, -k) for k in range(SHAPE[0])]
    path = write_enhanced(
        tmp_path / "mr.dcm", random_voxels(), places(GRIDS["plain"]), GRIDS["plain"], rescale
    )
    factors = 1 + np.arange(SHAPE[0])[:, None, None] / 4
    offsets = np.arange(SHAPE[0])[:, None, None]
    np.testing.assert_allclose(read(path).voxels, random_voxels() * factors - offsets)


def test_time_points_and_echoes_in_one_object(tmp_path: Path) -> None:
    """Two echoes of three time points, frames shuffled."""
    matrix, stored = GRIDS["oblique"], random_voxels((30, 6, 7))
    order = RNG.permutation(30)
    keys = [(echo, time, k) for echo in (5.0, 20.0) for time in (1, 2, 3) for k in range(5)]
    path = write_enhanced(
        tmp_path / "mr.dcm",
        stored[order],
        [places(matrix)[keys[o][2]] for o in order],
        matrix,
        content=[{"TemporalPositionIndex": keys[o][1]} for o in order],
        groups=[{"MREchoSequence": {"EffectiveEchoTime": keys[o][0]}} for o in order],
    )
    with pytest.raises(InputError, match=r"6 frames of 5 slices.*echo time and temporal pos"):
        read(path)
    for frame in range(6):
        image = read(path, frame=frame)
        np.testing.assert_array_equal(image.voxels, stored[5 * frame : 5 * frame + 5])
        assert_image_places(image, Grid(image.voxels, matrix, ORIGIN))
    assert any("echo time and temporal position 20 3" in note for note in image.source.notes)
    with pytest.raises(InputError, match="a frame below 6"):
        read(path, frame=6)


def test_stacks_of_one_object_are_chosen_by_frame(tmp_path: Path) -> None:
    stored = random_voxels((10, 6, 7))
    position = np.stack([places(GRIDS["plain"]), places(GRIDS["plain"]) + 100]).reshape(-1, 3)
    content = [{"StackID": str(1 + k // 5)} for k in range(10)]
    path = write_enhanced(tmp_path / "mr.dcm", stored, position, GRIDS["plain"], content=content)
    with pytest.raises(GeometryError, match="same StackID"):
        read(path)
    np.testing.assert_array_equal(read(path, frame=1).voxels, stored[5:])


def test_fewer_functional_groups_than_frames_are_refused(tmp_path: Path) -> None:
    path = write_enhanced(
        tmp_path / "mr.dcm", random_voxels(), places(GRIDS["plain"])[:3], GRIDS["plain"]
    )
    with pytest.raises(GeometryError, match="functional groups for 5 frames"):
        read(path)


@pytest.mark.parametrize(("first", "absolute"), [(0.0, False), (345.6, True)])
def test_doses_by_offsets_and_by_positions(tmp_path: Path, first: float, absolute: bool) -> None:
    stored = random_voxels(dtype=np.uint16)
    path = write_object(
        tmp_path / "dose.dcm",
        stored,
        frames=True,
        Modality="RTDOSE",
        DoseGridScaling="0.002",
        GridFrameOffsetVector=[first + 2.5 * k for k in range(5)],
        ImagePositionPatient=decimals(ORIGIN),
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=decimals([0.9, 0.8]),
    )
    image = read(path)
    np.testing.assert_allclose(image.voxels, stored * 0.002, rtol=1e-6)
    assert_image_places(image, Grid(stored, GRIDS["plain"], ORIGIN))


def test_a_reconstructed_nuclear_tomogram(tmp_path: Path) -> None:
    detector = item(
        ImagePositionPatient=decimals(ORIGIN), ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    )
    tags = {
        "Modality": "NM",
        "DetectorInformationSequence": sequence(detector),
        "PixelSpacing": decimals([0.9, 0.8]),
        "SpacingBetweenSlices": "2.5",
    }
    kind = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    path = write_object(tmp_path / "nm.dcm", random_voxels(), True, ImageType=kind, **tags)
    image = read(path)
    assert image.modality == "unknown"
    assert_image_places(image, Grid(random_voxels(), GRIDS["plain"], ORIGIN))
    kind[2] = "DYNAMIC"
    path = write_object(tmp_path / "nm.dcm", random_voxels(), True, ImageType=kind, **tags)
    assert read(path).geometry.unit == "pixel"


@pytest.mark.parametrize("private", [("count", "normal"), ("count elsewhere", "normal")])
@pytest.mark.parametrize("grid", ORTHOGONAL)
def test_mosaics(tmp_path: Path, grid: str, private: tuple[str, ...]) -> None:
    stored = random_voxels((7, 6, 8))
    path = write_mosaic(tmp_path / "epi.dcm", stored, ORTHOGONAL[grid], ORIGIN, private)
    image = read(path)
    matrix, origin = ORTHOGONAL[grid], ORIGIN
    if np.linalg.det(matrix) < 0:
        stored, origin, matrix = stored[::-1], ORIGIN + 6 * matrix[:, 2], matrix * [1, 1, -1]
    np.testing.assert_array_equal(image.voxels, stored)
    assert_image_places(image, Grid(stored, matrix, origin))


def test_mosaics_of_several_time_points(tmp_path: Path) -> None:
    for time in range(3):
        write_mosaic(
            tmp_path / "epi" / f"{time}.dcm",
            random_voxels((7, 6, 8)) + 200 * time,
            GRIDS["oblique"],
            ORIGIN,
            AcquisitionNumber=time + 1,
        )
    with pytest.raises(InputError, match=r"3 frames of 7 slices that differ by acquisition"):
        read(tmp_path / "epi")
    image = read(tmp_path / "epi", frame=2)
    np.testing.assert_array_equal(image.voxels, random_voxels((7, 6, 8)) + 400)
    assert_image_places(image, Grid(image.voxels, GRIDS["oblique"], ORIGIN))


@pytest.mark.parametrize("private", [("count",), ("normal",), ()])
def test_a_mosaic_without_its_private_elements_is_refused(
    tmp_path: Path, private: tuple[str, ...]
) -> None:
    path = write_mosaic(
        tmp_path / "epi.dcm", random_voxels((7, 6, 8)), GRIDS["plain"], ORIGIN, private
    )
    with pytest.raises(GeometryError, match=r"a mosaic with its number of slices.*dcm2niix"):
        read(path)
