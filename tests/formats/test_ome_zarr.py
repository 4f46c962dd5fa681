"""OME-Zarr in and out, against zarr itself and the validator of ome-zarr-models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from formats.helpers import GRIDS, ORIGIN, Grid, assert_image_places
from promptseg import read
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats.masks import read_masks
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment
from promptseg.provenance import Provenance
from promptseg.result import Result

zarr = pytest.importorskip("zarr")

SHAPE = (6, 40, 50)
UNIT = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}


def write_image(
    path: Path,
    pixels: np.ndarray[Any, Any],
    axes: str,
    *,
    version: str = "0.4",
    step: dict[str, float] | None = None,
    units: dict[str, str] = UNIT,
    levels: int = 2,
    sides: dict[str, str] | None = None,
    more: dict[str, Any] | None = None,
    origin: dict[str, float] | None = None,
) -> Path:
    """An image as the specification has it, with levels by taking every second pixel."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    sizes = {"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25, **(step or {})}
    datasets = []
    for level in range(levels):
        part = pixels[..., :: 2**level, :: 2**level]
        array = group.create_array(str(level), shape=part.shape, dtype=part.dtype)
        array[...] = part
        scale = [sizes[a] * (2**level if a in "yx" else 1) for a in axes]
        shift = [(origin or {"x": 10.0}).get(a, 0.0) for a in axes]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": shift},
                ],
            }
        )
    kinds = {"t": "time", "c": "channel"}
    described = []
    for a in axes:
        axis: dict[str, Any] = {"name": a, "type": kinds.get(a, "space")}
        if a in units:
            axis["unit"] = units[a]
        if sides and a in sides:
            axis["orientation"] = {"type": "anatomical", "value": sides[a]}
        described.append(axis)
    said = {
        "multiscales": [{"name": "image", "axes": described, "datasets": datasets}],
        **(more or {}),
    }
    if version == "0.4":
        said["multiscales"][0]["version"] = "0.4"
        group.attrs.update(said)
    else:
        group.attrs.update({"ome": {"version": "0.5", **said}})
    return path


def voxels(shape: tuple[int, ...] = SHAPE, dtype: Any = np.uint16) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_units_and_levels(version: str, tmp_path: Path) -> None:
    pixels = voxels()
    path = write_image(tmp_path / "a.ome.zarr", pixels, "zyx", version=version)
    image = read(path)
    np.testing.assert_array_equal(image.voxels, pixels)
    np.testing.assert_allclose(image.geometry.spacing, [0.25e-3, 0.5e-3, 2e-3])
    np.testing.assert_allclose(image.geometry.origin, [10e-3, 0, 0])
    assert any("orientation unknown" in note for note in image.source.notes)
    assert any("level 0 of 2" in note for note in image.source.notes)
    coarse = read(path, level=1)
    np.testing.assert_array_equal(coarse.voxels, pixels[:, ::2, ::2])
    np.testing.assert_allclose(coarse.geometry.spacing, [0.5e-3, 1e-3, 2e-3])
    with pytest.raises(InputError, match="level from 0 to 1"):
        read(path, level=2)
    with pytest.raises(InputError, match="level counted from 0"):
        read(path, level=-1)


def test_frames_are_channels_and_time_points(tmp_path: Path) -> None:
    pixels = voxels((2, 4, 5, 12, 10))
    path = write_image(tmp_path / "a.zarr", pixels, "tczyx")
    with pytest.raises(PromptsegError, match="8 channels and time points"):
        read(path)
    for frame in range(8):
        np.testing.assert_array_equal(read(path, frame=frame).voxels, pixels[frame // 4, frame % 4])


def test_three_channels_of_bytes_are_colours_and_may_be_taken_alone(tmp_path: Path) -> None:
    pixels = voxels((3, 12, 10), np.uint8)
    path = write_image(tmp_path / "a.zarr", pixels, "cyx", units={})
    image = read(path)
    np.testing.assert_array_equal(image.voxels, pixels.transpose(1, 2, 0))
    assert any("read as colours" in note for note in image.source.notes)
    assert any("no units" in note for note in image.source.notes)
    assert image.geometry.unit == "pixel"
    np.testing.assert_array_equal(read(path, frame=2).voxels, pixels[2])


@pytest.mark.parametrize("grid", ["plain", "flipped", "left-handed", "sagittal"])
@pytest.mark.parametrize("ending", [".ome.zarr", ".zarr"])
def test_masks_keep_place_names_numbers_and_colours(grid: str, ending: str, tmp_path: Path) -> None:
    shape = (5, 6, 7)
    geometry = Geometry(shape, GRIDS[grid], ORIGIN)
    first = np.zeros(shape, dtype=bool)
    first[1:3, 2:4, 1:5] = True
    segments = [
        Segment.from_mask("left = kidney, \u00e4", 5, first, colour=(1, 2, 253)),
        Segment.from_mask("b", 300, ~first),
        Segment.from_mask("empty", 7, first & False),
    ]
    result = Result(segments, geometry)
    path = result.save(tmp_path / f"mask{ending}")
    found = read_masks(path)
    assert {s.label: s.name for s in found.segments} == {s.label: s.name for s in segments}
    assert found.segments[0].colour == (1, 2, 253)
    for segment in segments:
        np.testing.assert_array_equal(found[segment.name], segment.mask(shape))
    assert_image_places(Image(first, found.geometry), Grid(first, GRIDS[grid], ORIGIN))


def test_the_validator_and_zarr_find_what_was_written(tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v04")
    labels = np.zeros((2, 2500, 60), dtype=bool)
    labels[0, 100:2000, 5:40] = True
    geometry = Geometry.from_spacing(labels.shape, (0.5, 0.25, 2))
    Result([Segment.from_mask("gland", 9, labels)], geometry).save(tmp_path / "mask.ome.zarr")
    group = zarr.open_group(tmp_path / "mask.ome.zarr", mode="r")
    checked = models.image_label.ImageLabel.from_zarr(group)
    (scale,) = checked.attributes.multiscales
    assert [d.path for d in scale.datasets] == ["0", "1", "2"]
    assert [(a.name, a.unit) for a in scale.axes] == [(a, "millimeter") for a in "zyx"]
    (colour,) = checked.attributes.image_label.colors
    assert colour.label_value == 9
    np.testing.assert_array_equal(group["0"][:] == 9, labels)
    np.testing.assert_array_equal(group["1"][:] == 9, labels[:, ::2, ::2])
    steps = [d.coordinateTransformations[0].scale for d in scale.datasets]
    np.testing.assert_allclose(steps, [[2, 0.25 * k, 0.5 * k] for k in (1, 2, 4)])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_in_an_image_are_found(version: str, tmp_path: Path) -> None:
    """As other tools write them: `labels/NAME` below the image, names and colours in `image-label`."""
    path = write_image(tmp_path / "a.ome.zarr", voxels(), "zyx", version=version)
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:4, 5:9, 5:9], labels[0] = 3, 12
    more = {
        "image-label": {
            "colors": [{"label-value": 3, "rgba": [255, 128, 0, 128]}, {"label-value": 12}],
            "properties": [{"label-value": 3, "name": "nucleus", "area": 12.5}],
            "source": {"image": "../../"},
        }
    }
    write_image(path / "labels" / "cells", labels, "zyx", version=version, more=more)
    listed = zarr.open_group(path / "labels", mode="a", zarr_format=2 if version == "0.4" else 3)
    listed.attrs.update(
        {"labels": ["cells"]} if version == "0.4" else {"ome": {"labels": ["cells"]}}
    )
    for named in (path, path / "labels" / "cells"):
        found = read_masks(named, read(path))
        assert [(s.label, s.name) for s in found.segments] == [(3, "nucleus"), (12, "label 12")]
        assert found.segments[0].colour == (255, 128, 0)
        np.testing.assert_array_equal(found["nucleus"], labels == 3)
    shutil.copytree(path / "labels" / "cells", path / "labels" / "other")
    names = ["cells", "other"]
    listed.attrs.update({"labels": names} if version == "0.4" else {"ome": {"labels": names}})
    with pytest.raises(InputError, match="with 2: cells, other"):
        read_masks(path)


def test_only_masks_of_ours_are_replaced_and_whole(tmp_path: Path) -> None:
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    result = Result([Segment.from_mask("a", 1, np.ones((2, 3, 4), dtype=bool))], geometry)
    result.provenance = Provenance(notice="a test")
    path = tmp_path / "mask.ome.zarr"
    result.save(path)
    with pytest.raises(OutputError, match="exists"):
        result.save(path)
    result.segments[0].name = "b"
    result.save(path, overwrite=True)
    assert [s.name for s in read_masks(path).segments] == ["b"]
    theirs = write_image(tmp_path / "image.ome.zarr", voxels(), "zyx")
    before = sorted(theirs.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"a folder|exists"):
            result.save(theirs, overwrite=overwrite)
    assert sorted(theirs.rglob("*")) == before
    names = {"mask.ome.zarr", "mask.ome.zarr.json", "image.ome.zarr"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_a_writer_that_fails_leaves_the_mask_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    result = Result([Segment.from_mask("a", 1, np.ones((2, 3, 4), dtype=bool))], geometry)
    result.provenance = Provenance(notice="a test")
    path = result.save(tmp_path / "mask.ome.zarr")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "full")

    import promptseg.formats.files as files

    placing = files._Placing.place
    monkeypatch.setattr(
        files._Placing,
        "place",
        lambda self, path: fail() if path.suffix == ".json" else placing(self, path),
    )
    result.segments[0].name = "b"
    with pytest.raises(OutputError, match="no space left"):
        result.save(path, overwrite=True)
    assert [s.name for s in read_masks(path).segments] == ["a"]
    assert {p.name for p in tmp_path.iterdir()} == {"mask.ome.zarr", "mask.ome.zarr.json"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "without an image of its own"),
        ({"plate": {}}, "a plate"),
        ({"multiscales": [{}]}, "multiscales as NGFF"),
        ({"multiscales": [{"datasets": [{"path": "9"}]}]}, "multiscales as NGFF"),
        ({"multiscales": "a"}, "multiscales"),
    ],
)
def test_what_is_no_image_is_one_error(said: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(said))
    with pytest.raises(InputError) as caught:
        read(path)
    assert words in str(caught.value)
    (path / ".zattrs").write_text("{")
    with pytest.raises(InputError, match="OME-Zarr"):
        read(path)


def test_a_large_promise_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", voxels(), "zyx", levels=1)
    said = json.loads((path / "0" / ".zarray").read_text())
    said["shape"] = [1 << 20, 1 << 15, 1 << 15]
    (path / "0" / ".zarray").write_text(json.dumps(said))
    with pytest.raises(InputError, match="memory"):
        read(path)


def test_an_oblique_grid_is_refused_before_the_model_runs(tmp_path: Path) -> None:
    geometry = Geometry((2, 3, 4), GRIDS["oblique"], ORIGIN)
    result = Result([Segment.from_mask("a", 1, np.ones((2, 3, 4), dtype=bool))], geometry)
    with pytest.raises(OutputError, match="oblique"):
        result.save(tmp_path / "mask.ome.zarr")
    assert not list(tmp_path.iterdir())


def test_convert_goes_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_image(tmp_path / "image.ome.zarr", voxels(), "zyx")
    labels = np.zeros(SHAPE, dtype=bool)
    labels[1:3, 4:9, 5:9] = True
    result = Result([Segment.from_mask("a", 4, labels)], read(image).geometry)
    result.save(tmp_path / "a.nii.gz")
    for source, target in (("a.nii.gz", "b.ome.zarr"), ("b.ome.zarr", "c.mha")):
        command = ["convert", "-i", str(tmp_path / source), "-o", str(tmp_path / target)]
        assert main([*command, "--reference", str(image)]) == 0, capsys.readouterr().err
    found = read_masks(tmp_path / "c.mha")
    assert [s.label for s in found.segments] == [4]
    np.testing.assert_array_equal(found.segments[0].mask(SHAPE), labels)
    assert main(["info", str(image), "--json"]) == 0
