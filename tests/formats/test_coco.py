"""COCO out: run lengths and polygons that pycocotools turns into the same masks again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image as PilImage

from formats.test_geojson import result_of, ring_and_dot
from json_answers import answer
from promptseg.cli.main import main
from promptseg.datasets import open_datasets
from promptseg.errors import InputError, OutputError
from promptseg.formats.categories import categories_of
from promptseg.formats.coco import compressed
from promptseg.formats.masks import read_masks
from promptseg.geometry import Geometry
from promptseg.image import Segment
from promptseg.provenance import Provenance
from promptseg.result import Result

coco = pytest.importorskip("pycocotools.coco")
masks_of_coco = pytest.importorskip("pycocotools.mask")


@settings(max_examples=150, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_are_those_of_pycocotools(mask: NDArray[np.bool_]) -> None:
    theirs = masks_of_coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compressed(mask) == theirs["counts"].decode()


@settings(max_examples=150, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(2, 9), st.integers(2, 9))))
def test_polygons_are_filled_by_pycocotools_as_the_mask_was(
    mask: NDArray[np.bool_], tmp_path_factory: Any
) -> None:
    if not mask.any():
        return
    path = tmp_path_factory.mktemp("any") / "a.coco.json"
    result_of({"a": mask}).save(path, outlines="polygons")
    loaded = coco.COCO(path)
    (annotation,) = loaded.loadAnns(loaded.getAnnIds())
    np.testing.assert_array_equal(loaded.annToMask(annotation).astype(bool), mask)


@pytest.mark.parametrize("outlines", ["rle", "polygons"])
def test_pycocotools_finds_objects_categories_areas_and_boxes(
    outlines: Any, tmp_path: Path
) -> None:
    other = np.zeros_like(ring_and_dot())
    other[10:12, 10:14] = True
    masks = {"nucleus 1": ring_and_dot(), "nucleus 9": other, "gland": ~ring_and_dot()}
    result = result_of(masks, [7, 8, 3])
    result.save(tmp_path / "a.coco.json", outlines=outlines)
    loaded = coco.COCO(tmp_path / "a.coco.json")
    assert {c["id"]: c["name"] for c in loaded.loadCats(loaded.getCatIds())} == {
        7: "nucleus",
        3: "gland",
    }
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))
    assert [a["name"] for a in annotations] == list(masks)
    assert [a["label"] for a in annotations] == [7, 8, 3]
    for annotation, mask in zip(annotations, masks.values(), strict=True):
        np.testing.assert_array_equal(loaded.annToMask(annotation).astype(bool), mask)
        encoded = masks_of_coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert annotation["area"] == masks_of_coco.area(encoded)
        assert annotation["bbox"] == masks_of_coco.toBbox(encoded).tolist()
        assert annotation["iscrowd"] == 0


def test_a_folder_of_masks_becomes_one_file_that_is_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    rng = np.random.default_rng(0)
    truth = {}
    for k, shape in enumerate([(20, 30), (25, 22), (20, 30)]):
        pixels = rng.integers(0, 255, shape, dtype=np.uint8)
        PilImage.fromarray(pixels).save(images / f"case{k}.png")
        mask = np.zeros(shape, dtype=bool)
        mask[2 + k : 9, 3:12] = True
        truth[f"case{k}"] = mask
        parts = {"lesion": mask, "marker": ~mask & (np.arange(shape[1]) > 15 + k)}
        result = result_of(parts, [4, 2] if k else [4, 9])
        result.segments[1].name = f"marker {k}"
        result.provenance = Provenance(notice="test")
        result.save(masks / f"case{k}_mask.png")
    out = images / "all.coco.json"
    command = ["convert", "-i", str(masks), "-o", str(out)]
    assert main([*command, "--reference", str(images), "--json"]) == 0
    said = answer("convert", capsys.readouterr().out)
    assert (said["pictures"], said["objects"], said["categories"]) == (3, 6, 2)
    content = json.loads(out.read_text())
    assert [image["file_name"] for image in content["images"]] == [f"case{k}.png" for k in range(3)]
    assert {c["name"]: c["id"] for c in content["categories"]} == {"lesion": 4, "marker": 2}
    (dataset,) = open_datasets(images)
    assert dataset.layout == "coco"
    for case in dataset.cases:
        _, found = case.load()
        lesion = next(s for s in found.segments if s.name.startswith("lesion"))
        np.testing.assert_array_equal(lesion.mask(truth[case.name].shape), truth[case.name])
    assert main(command) == 2, "it exists"
    assert main([*command, "--overwrite"]) == 0
    (images / "case1.png").unlink()
    assert main([*command, "--reference", str(images), "--overwrite"]) == 2
    assert "none for case1_mask.png" in capsys.readouterr().err


def test_what_coco_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solid = Segment.from_mask("a", 1, np.ones((3, 4, 5), dtype=bool))
    volume = Result([solid], Geometry.pixels((3, 4, 5)))
    with pytest.raises(OutputError, match="coco cannot hold it"):
        volume.save(tmp_path / "a.coco.json")
    assert not list(tmp_path.iterdir())
    result_of({"a": ring_and_dot()}).save(tmp_path / "a.coco.json")
    with pytest.raises(InputError, match="evaluate and curate"):
        read_masks(tmp_path / "a.coco.json")
    command = ["convert", "-i", str(tmp_path / "a.coco.json"), "-o", str(tmp_path / "a.png")]
    assert main([*command, "--outlines", "polygons"]) == 2
    assert "an output .coco.json for --outlines" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert (
        main(["convert", "-i", str(tmp_path / "empty"), "-o", str(tmp_path / "b.coco.json")]) == 2
    )
    assert "masks of 2D images" in capsys.readouterr().err
    assert not (tmp_path / "b.coco.json").exists()


def test_a_number_tells_instances_apart_only_where_there_are_several() -> None:
    assert categories_of(["a 1", "a 2", "b 3", "label 1", "label 2", "c"]) == {
        "a 1": "a",
        "a 2": "a",
        "b 3": "b 3",
        "label 1": "label 1",
        "label 2": "label 2",
        "c": "c",
    }
