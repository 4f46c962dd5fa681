"""The npz files of the challenge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from formats.helpers import (
    GRIDS,
    ORIGIN,
    SHAPE,
    corner_mask,
    random_voxels,
    segmentation_of,
    two_overlapping,
    write_nifti,
)
from promptseg import read
from promptseg.errors import InputError
from promptseg.formats.masks import read_masks
from promptseg.formats.saving import save
from promptseg.geometry import Geometry
from promptseg.image import Segment, Segmentation
from promptseg.prompts import Box, Box3D


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_volumes(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", imgs=random_voxels(), spacing=[0.5, 0.6, 3.0])
    image = read(path)
    np.testing.assert_array_equal(image.voxels, random_voxels())
    np.testing.assert_allclose(image.geometry.spacing, [0.5, 0.6, 3.0])
    assert image.kind == "volume"
    assert image.geometry.unit == "mm"
    assert image.source.format == "npz"
    assert image.source.prompts == ()


def test_volumes_without_spacing_are_in_pixels(tmp_path: Path) -> None:
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels()))
    assert image.geometry.unit == "pixel"


@pytest.mark.parametrize("grid", ["oblique left-handed", "sheared"])
def test_origin_and_direction(tmp_path: Path, grid: str) -> None:
    spacing = np.linalg.norm(GRIDS[grid], axis=0)
    direction = (GRIDS[grid] / spacing).ravel()
    path = write_npz(
        tmp_path / "a.npz",
        imgs=random_voxels(),
        spacing=spacing,
        origin=ORIGIN,
        direction=direction,
    )
    image = read(path)
    np.testing.assert_allclose(image.geometry.matrix, GRIDS[grid], atol=1e-12)
    np.testing.assert_allclose(image.geometry.origin, ORIGIN)
    with np.load(segmentation_of(image).save(tmp_path / "mask.npz")) as saved:
        np.testing.assert_array_equal(saved["segs"], corner_mask())
        np.testing.assert_array_equal(saved["spacing"], spacing)
        np.testing.assert_array_equal(saved["origin"], ORIGIN)
        np.testing.assert_array_equal(saved["direction"], direction)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    voxels = random_voxels(shape, np.uint8)
    image = read(write_npz(tmp_path / "a.npz", imgs=voxels))
    np.testing.assert_array_equal(image.voxels, voxels)
    assert (image.kind, image.is_colour) == ("picture", len(shape) == 3)
    with np.load(segmentation_of(image).save(tmp_path / "mask.npz")) as saved:
        np.testing.assert_array_equal(saved["segs"], corner_mask((6, 7)))


def test_boxes_of_pictures(tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 3, 4], [0, 0, 6, 5]])
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels((6, 7)), boxes=boxes))
    assert image.source.prompts == (Box((1, 2, 3, 4)), Box((0, 0, 6, 5)))


def test_boxes_of_volumes(tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 3, 4, 5, 4], [0, 0, 0, 6, 5, 4]])
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels(), boxes=boxes))
    assert image.source.prompts == (
        Box3D((1, 2, 3, 4, 5, 4), "object 1"),
        Box3D((0, 0, 0, 6, 5, 4), "object 2"),
    )


def test_a_single_box_needs_no_list(tmp_path: Path) -> None:
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels((6, 7)), boxes=[1, 2, 3, 4]))
    assert image.source.prompts == (Box((1, 2, 3, 4)),)


@pytest.mark.parametrize(
    ("shape", "boxes"),
    [
        ((6, 7), [[1, 2, 3]]),
        ((6, 7), [[1, 2, 3, 4, 5, 6]]),
        (SHAPE, [[1, 2, 3, 4]]),
        ((6, 7), [[3, 2, 1, 4]]),
        ((6, 7), [[1, 2, 3, np.nan]]),
    ],
)
def test_boxes_that_make_no_sense_are_left_out_with_a_note(
    tmp_path: Path, shape: tuple[int, ...], boxes: Any
) -> None:
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels(shape), boxes=boxes))
    np.testing.assert_array_equal(image.voxels, random_voxels(shape))
    assert image.source.prompts == ()
    assert any("boxes are no prompts" in note for note in image.source.notes)


def test_expert_labels_are_never_read(tmp_path: Path) -> None:
    pickled = np.array([{"a": 1}], dtype=object)
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels(), gts=pickled))
    np.testing.assert_array_equal(image.voxels, random_voxels())


class Tripwire:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_boxes_as_dictionaries_cost_the_boxes_alone(tmp_path: Path) -> None:
    """The npz of the CVPR 2025 challenge of interactive 3D segmentation."""
    trace = tmp_path / "trace"
    boxes = np.array([{"z_min": 1, "z_mid_x_min": 2}, Tripwire(trace)], dtype=object)
    path = write_npz(tmp_path / "a.npz", imgs=random_voxels(), spacing=[1, 2, 3], boxes=boxes)
    image = read(path)
    assert image.geometry.spacing.tolist() == [1, 2, 3]
    assert image.source.prompts == ()
    assert any("boxes holds pickled objects" in note for note in image.source.notes)
    assert not trace.exists()


def test_names_that_are_pickled_cost_the_names_alone(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    segs = (random_voxels() > 0).astype(np.uint8)
    names = np.array(["liver", Tripwire(trace)], dtype=object)
    masks = read_masks(write_npz(tmp_path / "a.npz", segs=segs, names=names))
    assert [int(s.crop.sum()) for s in masks.segments] == [int(segs.sum())]
    assert any("names of objects are not read" in note for note in masks.source.notes)
    assert not trace.exists()


def test_slices_as_many_as_objects_are_no_layers(tmp_path: Path) -> None:
    """Two objects, one of them empty, on two slices: 0 and 1 of shape (2, y, x) either way."""
    geometry = Geometry.from_spacing((2, 4, 5))
    full = np.zeros((2, 4, 5), bool)
    full[0, 1:3, 1:3] = full[1, 2:4, 2] = True
    objects = [Segment.from_mask("a", 1, full), Segment.from_mask("b", 2, full & False)]
    path = save(Segmentation(objects, geometry), tmp_path / "m.npz")
    again = read_masks(path)
    assert again.geometry.shape == (2, 4, 5)
    np.testing.assert_array_equal(again["a"], full)


@pytest.mark.parametrize("key", ["imgs", "spacing"])
def test_pickled_content_is_refused_and_not_run(tmp_path: Path, key: str) -> None:
    trace = tmp_path / "trace"
    arrays = {"imgs": random_voxels(), key: np.array([Tripwire(trace)], dtype=object)}
    with pytest.raises(InputError, match=r"^expected "):
        read(write_npz(tmp_path / "a.npz", **arrays))
    assert not trace.exists()


def test_a_file_without_imgs_is_refused_with_its_keys(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", image=random_voxels(), other=1)
    with pytest.raises(InputError, match=r"key imgs.*image, other"):
        read(path)


@pytest.mark.parametrize(
    "imgs",
    [
        np.zeros(5),
        np.zeros((2, 3, 4, 5)),
        np.array([["a", "b"]]),
        np.zeros((0, 4, 5)),
        np.arange(20).reshape(4, 5) * (1 + 2j),
    ],
    ids=["1d", "4d", "text", "empty", "complex"],
)
def test_other_arrays_are_refused(tmp_path: Path, imgs: np.ndarray[Any, Any]) -> None:
    path = write_npz(tmp_path / "a.npz", imgs=imgs)
    with pytest.raises(InputError, match=r"^expected "):
        read(path)


@pytest.mark.parametrize(
    "extra",
    [
        {"spacing": [1.0, 1.0]},
        {"spacing": [1.0, 1.0, 0.0]},
        {"spacing": [1.0, 1.0, np.nan]},
        {"spacing": [1.0, 1.0, 1.0], "origin": [0.0, 0.0]},
        {"spacing": [1.0, 1.0, 1.0], "direction": np.ones(9)},
        {"spacing": [1.0, 1.0, 1.0], "direction": np.ones(4)},
    ],
)
def test_impossible_grids_are_refused(tmp_path: Path, extra: dict[str, Any]) -> None:
    path = write_npz(tmp_path / "a.npz", imgs=random_voxels(), **extra)
    with pytest.raises(InputError, match=r"^expected "):
        read(path)


def test_overlapping_objects_are_one_layer_each(tmp_path: Path) -> None:
    image = read(write_npz(tmp_path / "a.npz", imgs=random_voxels()))
    masks = two_overlapping()
    with np.load(segmentation_of(image, masks).save(tmp_path / "mask.npz")) as saved:
        np.testing.assert_array_equal(saved["segs"], np.stack(list(masks.values())))
        assert saved["names"].tolist() == list(masks)


def test_masks_of_other_formats_carry_their_grid(tmp_path: Path) -> None:
    image = read(write_nifti(tmp_path / "scan.nii.gz", GRIDS["oblique left-handed"]))
    with np.load(segmentation_of(image).save(tmp_path / "mask.npz")) as saved:
        matrix = saved["direction"].reshape(3, 3) * saved["spacing"]
        np.testing.assert_array_equal(saved["segs"], corner_mask())
        np.testing.assert_allclose(matrix, GRIDS["oblique left-handed"], atol=1e-6)
        np.testing.assert_allclose(saved["origin"], ORIGIN, atol=1e-3)


def test_an_array_that_unpacks_beyond_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", imgs=np.zeros((50, 200, 200), np.uint8))
    monkeypatch.setattr("promptseg.formats.memory.available_bytes", lambda: 1 << 20)
    with pytest.raises(InputError, match="free memory"):
        read(tmp_path / "a.npz")
