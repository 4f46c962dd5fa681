"""Same lattice, other storage: against nibabel's reorientation and plain numpy indexing."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.formats.lattice import difference, placement
from promptseg.geometry import Geometry

SHAPE = (4, 5, 6)
OBLIQUE = np.array([[0.9, 0.2, 0.0], [-0.3, 1.1, 0.4], [0.1, -0.2, 2.0]])


def numbered(grid: Geometry) -> np.ndarray:
    """A different number for every voxel of a grid."""
    return np.arange(1, np.prod(grid.shape) + 1).reshape(grid.shape)


@given(
    st.permutations(range(3)),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.tuples(*[st.integers(0, 1)] * 3),
)
def test_turned_and_cut_grids_find_their_voxels(
    order: list[int],
    flips: tuple[bool, ...],
    low: tuple[int, ...],
    high: tuple[int, ...],
) -> None:
    target = Geometry(SHAPE, OBLIQUE, np.array([-3.0, 7.0, 100.0]))
    whole = numbered(target)
    cut = tuple(slice(a, n - b) for a, b, n in zip(low, high, SHAPE, strict=True))
    part = whole[cut].transpose(order)
    part = part[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    # where each voxel of the part is, found by its number: no arithmetic of ours
    first, steps = np.argwhere(whole == part[0, 0, 0])[0], []
    for axis in range(3):
        if part.shape[axis] == 1:  # a step that no voxel takes, along the axis that was moved here
            step = np.eye(3)[order[axis]] * (-1 if flips[axis] else 1)
        else:
            step = np.argwhere(whole == np.take(part, 1, axis)[(0, 0)])[0] - first
        steps.append(target.matrix @ step[::-1])
    origin = target.to_world(first[::-1])
    source = Geometry(part.shape, np.stack(steps[::-1], axis=1), origin)
    found = placement(source, target)
    assert found is not None
    block, region, lost = found.place(part)
    assert lost == 0
    back = np.zeros_like(whole)
    back[region] = block
    expected = np.zeros_like(whole)
    expected[cut] = whole[cut]
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("code", ["RAS", "LPI", "SRA", "PIR", "ILA"])
def test_orientations_of_nibabel_come_back(code: str) -> None:
    target = Geometry.from_spacing(SHAPE, (0.7, 0.9, 3.0), (-30, -40, 100))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = target.matrix, target.origin
    affine[:2] *= -1
    image = nib.Nifti1Image(numbered(target).astype(np.int16).T, affine)
    ends = nib.orientations.axcodes2ornt(code)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), ends))
    its = np.asarray(turned.affine) * np.array([-1, -1, 1, 1])[:, None]
    voxels = np.asarray(turned.dataobj).T
    source = Geometry(voxels.shape, its[:3, :3], its[:3, 3])
    found = placement(source, target)
    assert found is not None
    np.testing.assert_array_equal(found.place(voxels)[0], numbered(target))
    assert "axes" in found.words()


def test_what_lies_beyond_the_target_is_counted() -> None:
    target = Geometry.from_spacing((3, 3, 3))
    source = Geometry.from_spacing((3, 3, 3), origin=(-1, 0, 2))
    found = placement(source, target)
    assert found is not None
    assert found.start == (2, 0, -1)
    block, region, lost = found.place(np.ones((3, 3, 3), bool))
    assert block.shape == (1, 3, 2)
    assert region == (slice(2, 3), slice(0, 3), slice(0, 2))
    assert lost == 27 - 6


@pytest.mark.parametrize(
    ("shift", "fits"), [(0.02, True), (0.09, True), (0.11, False), (0.5, False), (1.02, True)]
)
@pytest.mark.parametrize("spacing", [(0.8, 0.9, 5.0), (100.0, 1.0, 20.0)])
def test_the_limit_is_a_part_of_a_voxel(
    shift: float, fits: bool, spacing: tuple[float, ...]
) -> None:
    for axis in range(3):
        origin = np.zeros(3)
        origin[axis] = shift * spacing[axis]
        target = Geometry.from_spacing((4, 5, 6), spacing)
        found = placement(Geometry.from_spacing((4, 5, 6), spacing, origin), target)
        assert (found is not None) is fits
        if found is not None:
            assert found.off == pytest.approx(shift % 1, abs=1e-9)


@pytest.mark.parametrize("pixel", [0.25, 0.3, 0.5, 0.7, 3.0])
def test_positions_rounded_to_a_tenth_of_a_millimetre_fit(pixel: float) -> None:
    for origin in np.random.default_rng(0).uniform(-200, 200, (50, 3)):
        target = Geometry.from_spacing((4, 5, 6), (pixel, pixel, 3.0), origin)
        source = Geometry.from_spacing((4, 5, 6), (pixel, pixel, 3.0), origin.round(1))
        found = placement(source, target)
        assert found is not None
        assert found.is_identity


def test_a_small_angle_counts_where_the_grid_is_large() -> None:
    angle = 1e-3
    turned = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    small, large = (Geometry.from_spacing((3, n, n)) for n in (20, 512))
    assert placement(Geometry(small.shape, turned, np.zeros(3)), small) is not None
    assert placement(Geometry(large.shape, turned, np.zeros(3)), large) is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Geometry.from_spacing((4, 5, 6), (1, 1, 2)), "another spacing"),
        (Geometry.from_spacing((4, 5, 6), origin=(0.5, 0, 0)), "another origin"),
        (Geometry((4, 5, 6), OBLIQUE / np.linalg.norm(OBLIQUE, axis=0), np.zeros(3)), "orient"),
        (Geometry.from_spacing((4, 5, 600), (1.002, 1, 1)), "another spacing or orientation"),
    ],
)
def test_a_grid_elsewhere_is_described(source: Geometry, words: str) -> None:
    target = Geometry.from_spacing((4, 5, 600 if source.shape[2] == 600 else 6))
    assert placement(source, target) is None
    assert words in difference(source, target)
