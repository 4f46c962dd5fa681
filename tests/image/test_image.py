"""Image, Segment and Segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import MODALITIES, Image, Segment, Segmentation, bounding_region


def segmentation(*masks: NDArray[np.bool_], labels: list[int] | None = None) -> Segmentation:
    ids = labels or list(range(1, len(masks) + 1))
    segments = [Segment.from_mask(f"s{k}", k, m) for k, m in zip(ids, masks, strict=True)]
    return Segmentation(segments, Geometry.pixels(masks[0].shape))


@pytest.mark.parametrize(
    ("shape", "kind", "colour", "grid"),
    [
        ((4, 5), "picture", False, (4, 5)),
        ((4, 5, 3), "picture", True, (4, 5)),
        ((4, 5, 6), "volume", False, (4, 5, 6)),
        ((4, 5, 6, 3), "volume", True, (4, 5, 6)),
    ],
)
def test_from_array_recognises_kinds(
    shape: tuple[int, ...], kind: str, colour: bool, grid: tuple[int, ...]
) -> None:
    image = Image.from_array(np.zeros(shape, np.uint8))
    assert (image.kind, image.is_colour, image.geometry.shape) == (kind, colour, grid)
    assert image.geometry.unit == "pixel"
    assert image.modality == "unknown"


def test_from_array_with_spacing_is_in_millimetres() -> None:
    image = Image.from_array(np.zeros((4, 5, 6)), "CT", (0.5, 0.6, 3.0))
    np.testing.assert_allclose(image.geometry.spacing, [0.5, 0.6, 3.0])
    assert image.geometry.unit == "mm"


@pytest.mark.parametrize("shape", [(5,), (4, 5, 6, 4), (2, 3, 4, 5, 3)])
def test_from_array_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"^expected "):
        Image.from_array(np.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 7), (4, 5, 6, 2), (4, 5, 6, 1)])
def test_voxels_must_fit_the_grid(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"^expected voxels of shape"):
        Image(np.zeros(shape), Geometry.pixels((4, 5, 6)))


def test_unknown_modalities_are_refused() -> None:
    with pytest.raises(InputError, match="CT, MR"):
        Image.from_array(np.zeros((4, 5)), "X-ray")
    assert all(Image.from_array(np.zeros((4, 5)), m).modality == m for m in MODALITIES)


@pytest.mark.parametrize("axis", AXES)
def test_slice_takes_the_named_axis(axis: Axis) -> None:
    voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    image = Image.from_array(voxels)
    taken = image.slice(2, axis)
    np.testing.assert_array_equal(taken, voxels.take(2, AXES.index(axis)))
    assert taken.shape == image.geometry.slice_shape(axis)
    assert np.shares_memory(taken, voxels)


def test_slice_keeps_the_colours() -> None:
    voxels = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3)
    np.testing.assert_array_equal(Image.from_array(voxels).slice(1, "x"), voxels[:, :, 1])


def test_hash_depends_on_values_shape_and_type_only() -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    base = Image.from_array(voxels).sha256()
    assert base == Image.from_array(np.asfortranarray(voxels), "CT", (1, 2, 3)).sha256()
    changed = voxels.copy()
    changed[2, 3, 4] += 1
    others = [changed, voxels.reshape(4, 3, 5), voxels.astype(np.uint16)]
    assert len({base, *(Image.from_array(o).sha256() for o in others)}) == 4


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_a_segment_gives_its_mask_again(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=3)))
    seed, share = data.draw(st.integers(0, 99)), data.draw(st.floats(0, 0.6))
    mask = np.random.default_rng(seed).random(shape) < share
    segment = Segment.from_mask("thing", 1, mask)
    np.testing.assert_array_equal(segment.mask(shape), mask)
    assert segment.is_empty is not bool(mask.any())
    assert segment.crop.sum() == mask.sum()
    assert segment.crop.shape == tuple(r.stop - r.start for r in bounding_region(mask))


def test_a_segment_does_not_follow_later_changes_of_its_mask() -> None:
    mask = np.ones((3, 3), dtype=bool)
    segment = Segment.from_mask("thing", 1, mask)
    mask[:] = False
    assert segment.mask((3, 3)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_a_mask_of_numbers_is_never_taken_for_indices(dtype: type) -> None:
    mask = np.zeros((6, 7), dtype=bool)
    mask[2:5, 1:4] = True
    mask[3, 2] = False
    try:
        found = segmentation(mask.astype(dtype)).labels()
    except PromptsegError:
        return
    np.testing.assert_array_equal(found, mask)


def test_predicted_iou_is_the_mean_over_slices() -> None:
    mask = np.ones((2, 2), dtype=bool)
    assert Segment.from_mask("a", 1, mask).predicted_iou is None
    assert Segment.from_mask("a", 1, mask, quality={0: 0.5, 1: 1.0}).predicted_iou == 0.75


def test_labels_and_layers_of_separate_objects() -> None:
    a, b = np.zeros((2, 4, 5), bool)
    a[0, 1], b[3, 2:4] = True, True
    result = segmentation(a, b, labels=[3, 7])
    expected = np.zeros((4, 5), np.uint8)
    expected[a], expected[b] = 3, 7
    assert result.overlaps() == []
    np.testing.assert_array_equal(result.labels(), expected)
    np.testing.assert_array_equal(result.layers(), np.stack([a, b]))
    np.testing.assert_array_equal(result["s7"], b)
    assert result.names == {3: "s3", 7: "s7"}
    with pytest.raises(KeyError):
        result["nobody"]


def test_overlaps_are_counted_and_refused_unless_later_wins() -> None:
    a, b, c = np.zeros((3, 4, 5), bool)
    a[0:3, 0:3], b[2:4, 1:5], c[0, 4] = True, True, True
    result = segmentation(a, b, c)
    assert result.overlaps() == [("s1", "s2", 2)]
    with pytest.raises(OutputError, match="--overlap later-wins"):
        result.labels()
    labels = result.labels(later_wins=True)
    assert (labels[b] == 2).all()
    assert (labels[a & ~b] == 1).all()


def test_touching_boxes_do_not_overlap() -> None:
    a, b = np.eye(4, dtype=bool), ~np.eye(4, dtype=bool)
    assert segmentation(a, b).overlaps() == []


def test_empty_objects_overlap_nothing() -> None:
    result = segmentation(np.zeros((3, 3), bool), np.ones((3, 3), bool), np.zeros((3, 3), bool))
    assert result.overlaps() == []
    assert (result.labels() == 2).all()


@pytest.mark.parametrize(("label", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_labels_use_the_smallest_type(label: int, dtype: Any) -> None:
    labels = segmentation(np.ones((2, 2), bool), labels=[label]).labels()
    assert labels.dtype == dtype
    assert (labels == label).all()
