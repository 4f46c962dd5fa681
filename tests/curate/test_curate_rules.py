"""Objects on slices: what they are, which are left out, how they share label layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.curate.options import ConversionOptions
from promptseg.curate.rules import Excluded, Patch, is_branching, slenderness, surviving, tiny
from promptseg.curate.slices import labels_of, pieces_of, values_of
from promptseg.datasets import TruthSegment
from promptseg.datasets.collection import masks_of
from promptseg.image import Image, Segment

Mask = NDArray[np.bool_]


def patch(mask: Any, target: str = "x") -> Patch:
    found = Patch.cropped(target, np.asarray(mask, dtype=bool))
    assert found is not None
    return found


def square(side: int, rows: slice, columns: slice) -> Mask:
    mask = np.zeros((side, side), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_a_patch_is_cropped_and_knows_its_place() -> None:
    found = patch(square(20, slice(3, 6), slice(10, 15)))
    assert found.area == 15
    assert found.place == (slice(3, 6), slice(10, 15))
    assert Patch.cropped("x", np.zeros((4, 4), dtype=bool)) is None


def test_tiny_counts_own_pixels_and_those_at_256() -> None:
    options = ConversionOptions()
    nineteen, twenty = np.ones((1, 19)), np.ones((4, 5))
    assert "19 pixels" in tiny(patch(nineteen), (64, 64), options)
    assert not tiny(patch(twenty), (64, 64), options)
    assert not tiny(patch(twenty), (256, 362), options)  # 20 * (256 / 362)^2 = 10.002
    assert "at 256" in tiny(patch(twenty), (363, 256), options)


def vessels(side: int = 400) -> Mask:
    """A tree of lines 3 pixels wide."""
    mask = np.zeros((side, side), dtype=bool)
    for k in range(0, side, 60):
        mask[k : k + 3, side // 10 :] = True
    mask[:, side // 2 : side // 2 + 3] = True
    return mask


def test_branching_is_thin_and_hollow() -> None:
    rows, columns = np.indices((400, 400))
    disc = np.hypot(rows - 200, columns - 200) < 150
    ring = disc & (np.hypot(rows - 200, columns - 200) > 120)
    line = square(400, slice(100, 103), slice(None))
    assert is_branching(patch(vessels()))
    assert slenderness(vessels()) < 0.01
    assert not is_branching(patch(disc))
    assert not is_branching(patch(ring))
    assert slenderness(line) < 0.015
    assert not is_branching(patch(line)), "a straight line has no branches"
    assert not is_branching(patch(np.ones((1, 1))))


def test_scattered_objects_are_judged_by_their_largest_part() -> None:
    mask = np.zeros((300, 300), dtype=bool)
    mask[::20, ::20] = True
    mask[100:140, 100:140] = True
    assert not is_branching(patch(mask))


def test_rules_name_what_they_leave_out() -> None:
    excluded = Excluded("d", "c")
    options = ConversionOptions(branching=False)
    patches = [patch(np.ones((2, 2)), "dot"), patch(vessels(), "vessel"), patch(np.ones((9, 9)))]
    kept = surviving(patches, 7, (400, 400), options, excluded)
    assert [p.target for p in kept] == ["x"]
    assert [(e.rule, e.target, e.slice) for e in excluded] == [
        ("tiny", "dot", 7),
        ("branching", "vessel", 7),
    ]
    assert len(surviving(patches, 7, (400, 400), ConversionOptions(), excluded)) == 2


def test_components_are_objects_of_their_own() -> None:
    mask = square(40, slice(0, 10), slice(0, 10)) | square(40, slice(20, 30), slice(5, 10))
    parts = surviving(
        [patch(mask)], 0, (40, 40), ConversionOptions(components=True), Excluded("", "")
    )
    assert [(p.area, p.top, p.left) for p in parts] == [(100, 0, 0), (50, 20, 5)]


def test_overlapping_objects_get_layers_of_their_own() -> None:
    masks = [
        square(20, slice(0, 10), slice(0, 10)),
        square(20, slice(5, 15), slice(5, 15)),
        square(20, slice(12, 20), slice(0, 5)),
    ]
    labels, targets = labels_of([patch(m, f"t{k}") for k, m in enumerate(masks)], (20, 20))
    assert labels.shape == (2, 20, 20)
    assert labels.dtype == np.uint16
    assert [t.layer for t in targets] == [0, 1, 0]
    assert [t.id for t in targets] == [1, 2, 3]
    assert targets[1].box == (5, 5, 14, 14)
    assert targets[1].area == 100
    np.testing.assert_array_equal(masks_of(targets, labels), np.stack(masks))


def volume(depth: int = 12) -> tuple[Image, list[Segment]]:
    voxels = np.random.default_rng(0).normal(size=(depth, 32, 32)).astype(np.float32)
    mask = np.zeros(voxels.shape, dtype=bool)
    mask[2:10, 4:12, 4:12] = True
    speck = np.zeros_like(mask)
    speck[3, 20:25, 20:25] = True  # 25 voxels
    image = Image.from_array(voxels, "MR", spacing=(0.5, 0.7, 3))
    truth: list[Segment] = [
        TruthSegment.from_mask(name, k, each, target=name)
        for k, (name, each) in enumerate({"organ": mask, "speck": speck}.items(), 1)
    ]
    return image, truth


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2, 3, 4, 5, 6, 7, 8, 9]),
        ({"every_slice": 3}, [2, 5, 8]),
        ({"max_slices": 2}, [4, 8]),
        ({"every_slice": 3, "max_slices": 1}, [5]),
    ],
)
def test_slices_with_objects_are_taken(options: dict[str, Any], expected: list[int]) -> None:
    image, truth = volume()
    excluded = Excluded("d", "c")
    pieces = list(pieces_of(image, truth, None, ConversionOptions(**options), excluded))
    assert [piece.index for piece in pieces] == expected
    assert all([p.target for p in piece.patches] == ["organ"] for piece in pieces)
    assert pieces[0].pixel == (0.5, 0.7)
    assert [(e.rule, e.target) for e in excluded] == [("tiny volume", "speck")]


def test_excluded_targets_are_named() -> None:
    image, truth = volume()
    excluded = Excluded("d", "c")
    options = ConversionOptions(exclude_target=("organ",))
    assert not list(pieces_of(image, truth, None, options, excluded))
    assert ("excluded target", "organ") in {(e.rule, e.target) for e in excluded}


def test_the_window_is_for_ct_alone() -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (3, 8, 8)).astype(np.int16)
    assert "1500/-600" in values_of(Image.from_array(voxels, "CT"), "lung").rule
    assert "percentiles" in values_of(Image.from_array(voxels, "MR"), "lung").rule
    eight = Image.from_array(np.clip(voxels, 0, 255).astype(np.uint8), "CT")
    assert "already 8 bit" in values_of(eight, "lung").rule


def test_gray_pictures_of_8_bits_leave_clipping_to_the_reader() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (40, 40)).astype(np.uint8)
    values = values_of(Image.from_array(pixels, "US"))
    assert values.clip is not None
    assert values.stored.lower is None
    assert values_of(Image.from_array(pixels.astype(np.uint16), "US")).clip is None
    assert values_of(Image.from_array(np.stack([pixels] * 3, axis=-1), "fundus")).clip is None
