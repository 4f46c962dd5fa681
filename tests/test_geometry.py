"""Grids in space as a type: properties that hold for every grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptseg.errors import GeometryError, PromptsegError
from promptseg.geometry import AXES, Axis, Geometry, axis_position, opposite

RAS = np.array([-1.0, -1.0, 1.0])
ORIGIN = (-120.5, 33.25, 801.0)

steady = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    w, x, y, z = (draw(finite(-1, 1)) for _ in range(4))
    norm = np.sqrt(w * w + x * x + y * y + z * z)
    assume(norm > 0.2)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def matrices(draw: st.DrawFn, shear: float = 0.5) -> NDArray[np.float64]:
    """Oblique, flipped, left-handed, anisotropic and (with `shear`) sheared steps."""
    signs = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    spacing = [draw(finite(0.1, 12)) for _ in range(3)]
    a, b, c = (draw(finite(-shear, shear)) for _ in range(3))
    sheared = np.array([[1, a, b], [0, 1, c], [0, 0, 1]])
    return np.asarray(draw(rotations()) @ sheared @ np.diag(signs) @ np.diag(spacing))


@st.composite
def geometries(draw: st.DrawFn, shear: float = 0.5) -> Geometry:
    shape = tuple(draw(st.integers(1, 60)) for _ in range(3))
    origin = np.array([draw(finite(-900, 900)) for _ in range(3)])
    return Geometry(shape, draw(matrices(shear)), origin)


def polar_factor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, v = np.linalg.svd(matrix / np.linalg.norm(matrix, axis=0))
    return np.asarray(u @ v)


def has_clear_axes(directions: NDArray[np.float64]) -> bool:
    """Each axis is clearly closest to a world direction of its own."""
    size = np.abs(directions)
    best = size.argmax(axis=0)
    top = np.sort(size, axis=0)
    return len(set(best.tolist())) == 3 and bool((top[2] - top[1] > 0.02).all())


@steady
@given(geometries(), st.lists(finite(-300, 300), min_size=3, max_size=3))
def test_to_world_and_to_index_are_inverse(geometry: Geometry, index: list[float]) -> None:
    np.testing.assert_allclose(geometry.to_index(geometry.to_world(index)), index, atol=1e-7)
    np.testing.assert_allclose(geometry.to_world(geometry.to_index(index)), index, atol=1e-7)


@steady
@given(geometries())
def test_to_world_follows_the_definition(geometry: Geometry) -> None:
    columns = geometry.matrix.T
    np.testing.assert_allclose(geometry.to_world((0, 0, 0)), geometry.origin)
    for k in range(3):
        step = geometry.to_world(np.eye(3)[k]) - geometry.to_world((0, 0, 0))
        np.testing.assert_allclose(step, columns[k], atol=1e-9)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)])
def test_conversions_keep_the_leading_axes(shape: tuple[int, ...]) -> None:
    geometry = Geometry.from_spacing((4, 5, 6), (1, 2, 3), ORIGIN)
    index = np.random.default_rng(0).uniform(0, 4, shape)
    world = geometry.to_world(index)
    assert world.shape == shape
    np.testing.assert_allclose(geometry.to_index(world), index, atol=1e-12)


@steady
@given(matrices(shear=0.3))
def test_orientation_agrees_with_nibabel(matrix: NDArray[np.float64]) -> None:
    assume(has_clear_axes(matrix / np.linalg.norm(matrix, axis=0)))
    assume(has_clear_axes(polar_factor(matrix)))
    affine = np.eye(4)
    affine[:3, :3] = matrix * RAS[:, None]
    expected = "".join(nib.aff2axcodes(affine))
    assert Geometry((2, 3, 4), matrix, np.zeros(3)).orientation == expected


@steady
@given(geometries())
def test_orientation_names_three_different_directions(geometry: Geometry) -> None:
    pairs = {"".join(sorted(letter + opposite(letter))) for letter in geometry.orientation}
    assert pairs == {"LR", "AP", "IS"}


@pytest.mark.parametrize(
    ("signs", "letters"),
    [
        ((1, 1, 1), "LPS"),
        ((-1, -1, 1), "RAS"),
        ((1, -1, 1), "LAS"),
        ((1, 1, -1), "LPI"),
    ],
)
def test_orientation_of_straight_grids(signs: tuple[int, int, int], letters: str) -> None:
    geometry = Geometry((2, 2, 2), np.diag(signs).astype(float), np.zeros(3))
    assert geometry.orientation == letters


@pytest.mark.parametrize("letter", "LRAPSI")
def test_opposite_is_its_own_inverse(letter: str) -> None:
    assert opposite(letter) != letter
    assert opposite(opposite(letter)) == letter


@steady
@given(geometries())
def test_voxel_volume_is_the_volume_of_the_parallelepiped(geometry: Geometry) -> None:
    a, b, c = geometry.matrix.T
    assert geometry.voxel_volume == pytest.approx(abs(np.dot(a, np.cross(b, c))), rel=1e-9)


def test_voxel_volume_of_a_sheared_grid_is_not_the_product_of_the_spacings() -> None:
    tilted = np.array([[1.0, 0, 0], [0, 1.0, 3.0], [0, 0, 4.0]])
    geometry = Geometry((2, 2, 2), tilted, np.zeros(3))
    np.testing.assert_allclose(geometry.spacing, [1, 1, 5])
    assert geometry.voxel_volume == pytest.approx(4.0)
    assert not geometry.is_orthogonal


@steady
@given(geometries(shear=0.0))
def test_grids_without_shear_are_orthogonal(geometry: Geometry) -> None:
    assert geometry.is_orthogonal
    assert geometry.voxel_volume == pytest.approx(np.prod(geometry.spacing))


@steady
@given(geometries())
def test_spacing_and_direction_make_the_matrix(geometry: Geometry) -> None:
    np.testing.assert_allclose(np.linalg.norm(geometry.direction, axis=0), 1)
    rebuilt = Geometry.from_spacing(
        geometry.shape, geometry.spacing, geometry.origin, geometry.direction
    )
    np.testing.assert_allclose(rebuilt.matrix, geometry.matrix, atol=1e-12)
    assert rebuilt.agrees_with(geometry)


@steady
@given(geometries(), finite(-1, 1), st.integers(0, 2))
def test_agrees_within_the_tolerance_only(geometry: Geometry, part: float, axis: int) -> None:
    shift = (
        geometry.matrix[:, axis] * part * 2e-3
    )  # along one axis of the grid, in parts of a voxel
    assume(abs(abs(part * 2e-3) - 1e-3) > 1e-6)
    moved = Geometry(geometry.shape, geometry.matrix, geometry.origin + shift)
    assert geometry.agrees_with(moved) is bool(abs(part * 2e-3) < 1e-3)
    assert moved.agrees_with(geometry) is geometry.agrees_with(moved)


@pytest.mark.parametrize("voxel", [5.0, 1.0, 2.5e-4])  # millimetres: 0.25 micrometres at the end
def test_agreement_is_a_part_of_a_voxel_whatever_its_size(voxel: float) -> None:
    grid = Geometry.from_spacing((3, 4, 5), (voxel,) * 3)
    beside = Geometry.from_spacing((3, 4, 5), (voxel,) * 3, (voxel, 0, 0))
    near = Geometry.from_spacing((3, 4, 5), (voxel,) * 3, (voxel * 5e-4, 0, 0))
    assert grid.agrees_with(near)
    assert not grid.agrees_with(beside)


def test_agreement_is_judged_at_the_far_corner() -> None:
    near = Geometry.from_spacing((100, 100, 100), (1, 1, 1))
    stretched = Geometry.from_spacing((100, 100, 100), (1, 1, 1.0001))
    assert not near.agrees_with(stretched)
    assert near.agrees_with(stretched, tolerance=0.02)


def test_grids_of_other_shape_or_unit_do_not_agree() -> None:
    grid = Geometry.from_spacing((3, 4, 5))
    assert not grid.agrees_with(Geometry.from_spacing((3, 4, 6)))
    assert not grid.agrees_with(Geometry.from_spacing((4, 5)))
    assert not Geometry.pixels((4, 5)).agrees_with(Geometry.from_spacing((4, 5)))
    assert Geometry.pixels((4, 5)).agrees_with(Geometry.pixels((4, 5)))


SINGULAR = [
    np.zeros((3, 3)),
    np.diag([1.0, 1.0, 0.0]),
    np.ones((3, 3)),
    np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]]),
]


@pytest.mark.parametrize("matrix", SINGULAR)
def test_singular_matrices_are_refused(matrix: NDArray[np.float64]) -> None:
    with pytest.raises(GeometryError, match=r"^expected three independent directions"):
        Geometry((2, 2, 2), matrix, np.zeros(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_headers_are_refused(bad: float) -> None:
    matrix = np.eye(3)
    matrix[1, 2] = bad
    with pytest.raises(GeometryError, match=r"^expected finite"):
        Geometry((2, 2, 2), matrix, np.zeros(3))
    with pytest.raises(GeometryError, match=r"^expected finite"):
        Geometry((2, 2, 2), np.eye(3), np.array([0, bad, 0]))


@pytest.mark.parametrize("shape", [(), (4,), (1, 2, 3, 4), (0, 3, 3), (3, -1)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PromptsegError, match=r"^expected a grid of 2 or 3 dimensions"):
        Geometry(shape, np.eye(3), np.zeros(3))


def test_tiny_voxels_are_not_taken_for_singular_ones() -> None:
    nanometres = Geometry.from_spacing((2, 2, 2), (4e-6, 4e-6, 4e-5))
    assert nanometres.voxel_volume == pytest.approx(6.4e-16)


def test_a_geometry_cannot_be_changed() -> None:
    matrix = np.eye(3)
    geometry = Geometry((2, 2, 2), matrix, np.zeros(3))
    matrix[0, 0] = 5
    assert geometry.matrix[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.matrix[0, 0] = 5


@pytest.mark.parametrize(
    ("axis", "shape", "count", "step", "columns"),
    [
        ("z", (20, 30), 10, 3.0, (0, 1)),
        ("y", (10, 30), 20, 2.0, (0, 2)),
        ("x", (10, 20), 30, 1.0, (1, 2)),
    ],
)
def test_slices_along_each_axis(
    axis: Axis, shape: tuple[int, int], count: int, step: float, columns: tuple[int, int]
) -> None:
    geometry = Geometry.from_spacing((10, 20, 30), (1.0, 2.0, 3.0))
    assert geometry.slice_shape(axis) == shape
    assert geometry.slice_count(axis) == count
    assert geometry.slice_step(axis) == step
    np.testing.assert_array_equal(geometry.in_plane(axis), geometry.matrix[:, columns])
    assert np.zeros(geometry.shape).take(0, axis_position(axis)).shape == shape


@pytest.mark.parametrize("axis", AXES)
def test_a_picture_is_one_slice(axis: Axis) -> None:
    picture = Geometry.pixels((20, 30))
    assert picture.ndim == 2
    assert picture.unit == "pixel"
    assert picture.slice_count(axis) == 1
    assert picture.slice_shape(axis) == (20, 30)
