"""Layouts of others: nnU-Net, MSD, COCO, the challenge npz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import dataset_makers as make
from promptseg.datasets import Dataset, DatasetOptions, open_datasets, target_of
from promptseg.datasets.outlines import check_outline, decode, run_lengths
from promptseg.errors import GeometryError, InputError


def only(path: Path, **options: Any) -> Dataset:
    (dataset,) = open_datasets(path, DatasetOptions(**options))
    return dataset


def test_nnunet_takes_one_channel_and_makes_regions(tmp_path: Path) -> None:
    dataset = only(make.nnunet(tmp_path / "Dataset007_Brain"), channel=1)
    assert (dataset.layout, dataset.modality) == ("nnunet", "CT")
    assert dataset.notes == ["split test", "channel 1 (CT) of 2"]
    assert [case.name for case in dataset.cases] == ["patient001_frame01", "patient001_frame02"]
    assert {case.patient for case in dataset.cases} == {"patient001"}
    image, truth = dataset.cases[0].load()
    np.testing.assert_array_equal(image.voxels, make.gray(10, (4, 12, 16)))
    sizes = {s.name: int(s.crop.sum()) for s in truth.segments}
    assert sizes == {"core": 36, "rim": 12, "whole": 48}
    labels = make.labels((4, 12, 16))
    np.testing.assert_array_equal(truth["whole"], labels > 0)
    np.testing.assert_array_equal(truth["rim"], labels == 2)


def test_nnunet_first_channel_has_the_modality_of_its_name(tmp_path: Path) -> None:
    assert only(make.nnunet(tmp_path)).modality == "MR"


def test_nnunet_splits(tmp_path: Path) -> None:
    make.nnunet(tmp_path, "Tr")
    with pytest.raises(InputError, match="--nnunet-split train"):
        open_datasets(tmp_path)
    assert len(only(tmp_path, split="train").cases) == 2
    with pytest.raises(InputError, match="channel from 0 to 1"):
        only(tmp_path, split="train", channel=2)


def slip(root: Path, image: str, label: str, ending: str = ".nii.gz") -> Path:
    make.nifti(root / "imagesTr" / image, make.gray(0, (3, 12, 16)))
    make.nifti(root / "labelsTr" / label, make.labels((3, 12, 16)))
    return make.described(
        root,
        channel_names={"0": "CT"},
        labels={"background": 0, "a": 1, "b": 2},
        file_ending=ending,
    )


@pytest.mark.parametrize(
    ("image", "label", "ending", "words"),
    [
        ("c1_0000.nii.gz", "c1_0000.nii.gz", ".nii.gz", "labels called .* without _0000"),
        ("c1.nii.gz", "c1.nii.gz", ".nii.gz", "c1 becomes c1_0000"),
        ("c1_0000.nii.gz", "c1.nii.gz", ".nii", 'file_ending.*write "file_ending": ".nii.gz"'),
        ("c1_0001.nii.gz", "c1.nii.gz", ".nii.gz", "channel 0 .*_0001 alone; .*--channel"),
    ],
)
def test_nnunet_slips_are_named(
    tmp_path: Path, image: str, label: str, ending: str, words: str
) -> None:
    slip(tmp_path, image, label, ending)
    with pytest.raises(InputError, match=words):
        only(tmp_path, split="train")


def test_nnunet_files_that_nobody_reads_are_named(tmp_path: Path) -> None:
    slip(tmp_path, "c1_0000.nii.gz", "c1.nii.gz")
    for folder, name in (("imagesTr", "c2_0000.nii"), ("labelsTr", "c2.nii")):
        make.nifti(tmp_path / folder / name, make.gray(0, (3, 12, 16)))
    with pytest.raises(InputError, match=r"c2_0000\.nii does not end in \.nii\.gz"):
        only(tmp_path, split="train")
    kept = only(tmp_path, split="train", keep_going=True)
    assert [case.name for case in kept.cases] == ["c1"]
    assert [lost.case for lost in kept.missing] == ["c2", "c2"]


def test_nnunet_endings_in_capitals(tmp_path: Path) -> None:
    slip(tmp_path, "c1_0000.nii.gz", "c1.nii.gz")
    for path in (tmp_path / "imagesTr" / "c1_0000.nii.gz", tmp_path / "labelsTr" / "c1.nii.gz"):
        path.rename(str(path).replace(".nii.gz", ".NII.GZ"))
    assert [case.name for case in only(tmp_path, split="train").cases] == ["c1"]


def test_nnunet_v1_and_pictures(tmp_path: Path) -> None:
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "x", "2": "y"}}
    make.described(tmp_path, **content, training=[], test=[])
    make.png(tmp_path / "imagesTs" / "c_0000.png", make.gray())
    make.png(tmp_path / "labelsTs" / "c.png", make.labels())
    dataset = only(tmp_path)
    assert (dataset.kind, dataset.targets) == ("picture", {1: "x", 2: "y"})
    assert [s.name for s in dataset.cases[0].load()[1].segments] == ["x", "y"]


def test_nnunet_voxels_to_be_ignored_are_refused(tmp_path: Path) -> None:
    make.nnunet(tmp_path, labels={"background": 0, "core": 1, "ignore": 2})
    with pytest.raises(InputError, match="to be ignored, 2"):
        only(tmp_path).cases[0].load()


@pytest.mark.parametrize("wrong", [{}, None, {"core": "one"}, {"core": [[1]]}])
def test_nnunet_labels_that_make_no_sense(tmp_path: Path, wrong: Any) -> None:
    make.nnunet(tmp_path, labels=wrong)
    with pytest.raises(InputError, match="labels as"):
        open_datasets(tmp_path)


def test_nnunet_missing_labels_are_named(tmp_path: Path) -> None:
    make.nnunet(tmp_path)
    (tmp_path / "labelsTs" / "patient001_frame02.nii.gz").unlink()
    with pytest.raises(InputError, match=r"patient001_frame02_0000\.nii\.gz has no labels"):
        open_datasets(tmp_path)


def msd(folder: Path, **changes: Any) -> Path:
    """An MSD task of one 4D case with two channels."""
    voxels = np.stack([make.gray(k, (4, 12, 16)) for k in range(2)]).astype(np.int16)
    make.nifti(folder / "imagesTr" / "BRATS_001.nii.gz", voxels)
    make.nifti(folder / "labelsTr" / "BRATS_001.nii.gz", make.labels((4, 12, 16)))
    content = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "oedema", "2": "tumour"},
        "licence": "CC-BY-SA 4.0",
        "training": [
            {"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}
        ],
        "test": ["./imagesTs/BRATS_002.nii.gz"],
        **changes,
    }
    make.described(folder, **content)
    return folder


def test_msd_takes_a_channel_of_4d_images(tmp_path: Path) -> None:
    dataset = only(msd(tmp_path / "Task01_BrainTumour"), channel=1)
    assert (dataset.layout, dataset.modality, dataset.title) == ("msd", "MR", "BRATS")
    assert dataset.may_publish_images
    image, truth = dataset.cases[0].load()
    np.testing.assert_array_equal(image.voxels, make.gray(1, (4, 12, 16)))
    assert [s.name for s in truth.segments] == ["oedema", "tumour"]


def test_msd_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="channel from 0 to 1"):
        only(msd(tmp_path), channel=2)
    outside = [{"image": "../../etc/a.nii.gz", "label": "labelsTr/BRATS_001.nii.gz"}]
    with pytest.raises(InputError, match="inside the dataset's folder"):
        open_datasets(msd(tmp_path, training=outside))
    gone = [{"image": "imagesTr/x.nii.gz", "label": "labelsTr/x.nii.gz"}]
    with pytest.raises(InputError, match="no such file"):
        open_datasets(msd(tmp_path, training=gone))
    with pytest.raises(InputError, match="at least one case"):
        open_datasets(msd(tmp_path, training=[]))


def challenge(path: Path, **changes: Any) -> Path:
    arrays = {
        "imgs": make.gray(0, (4, 12, 16)),
        "gts": make.labels((4, 12, 16)),
        "spacing": np.array([0.8, 0.9, 2.5]),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_challenge_files(tmp_path: Path) -> None:
    challenge(tmp_path / "3DBox_CT_0001.npz")
    challenge(tmp_path / "3DBox_MR_0002.npz")
    dataset = only(tmp_path)
    assert (dataset.layout, dataset.kind, dataset.modality) == ("challenge", "volume", "unknown")
    image, truth = dataset.cases[1].load()
    assert image.modality == "MR"
    np.testing.assert_allclose(image.geometry.spacing, [0.8, 0.9, 2.5])
    np.testing.assert_array_equal(truth.labels(), make.labels((4, 12, 16)))
    alone = only(tmp_path / "3DBox_CT_0001.npz")
    assert (alone.modality, [case.name for case in alone.cases]) == ("CT", ["3DBox_CT_0001"])


def test_challenge_pictures(tmp_path: Path) -> None:
    challenge(tmp_path / "2DBox_CXR_1.npz", imgs=make.gray(0, (12, 16, 3)), gts=make.labels())
    dataset = only(tmp_path)
    assert (dataset.kind, dataset.modality) == ("picture", "XR")
    assert len(dataset.cases[0].load()[1].segments) == 2


@pytest.mark.parametrize(
    ("gts", "error", "match"),
    [
        (None, InputError, "key gts"),
        (make.labels((4, 12, 15)), GeometryError, "shape of imgs"),
        (make.labels((4, 12, 16)) / 2, InputError, "whole numbers"),
    ],
)
def test_challenge_files_that_are_refused(
    tmp_path: Path, gts: Any, error: type[Exception], match: str
) -> None:
    case = only(challenge(tmp_path / "CT_1.npz", gts=gts)).cases[0]
    with pytest.raises(error, match=match):
        case.load()


def test_coco_annotations_are_objects(tmp_path: Path) -> None:
    make.coco(tmp_path)
    dataset = only(tmp_path)
    assert (dataset.layout, dataset.kind, dataset.targets) == ("coco", "picture", {7: "nucleus"})
    assert "1 crowd annotations left out" in dataset.notes
    _, truth = dataset.cases[0].load()
    assert [(s.name, target_of(s)) for s in truth.segments] == [
        ("nucleus 11", "nucleus"),
        ("nucleus 12", "nucleus"),
    ]
    square = np.zeros((12, 16), bool)
    square[2:6, 4:8] = True
    np.testing.assert_array_equal(truth["nucleus 11"], square)
    column = np.zeros((12, 16), bool)
    column[:3, 0] = True
    np.testing.assert_array_equal(truth["nucleus 12"], column)
    assert dataset.cases[1].load()[1].segments == []


def test_coco_polygons_hold_the_pixels_whose_centres_they_hold(tmp_path: Path) -> None:
    corners = np.array([[40.3, 20.1], [150.2, 35.7], [120.9, 140.4], [30.5, 110.8]])  # x, y
    make.png(tmp_path / "a.png", make.gray(0, (160, 180)))
    picture = {"id": 1, "file_name": "a.png", "height": 160, "width": 180}
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 7,
        "segmentation": [corners.ravel().tolist()],
    }
    path = make.coco(tmp_path, images=[picture], annotations=[annotation])
    found = only(path).cases[0].load()[1]["nucleus 1"]
    y, x = np.indices((160, 180)) + 0.5
    sides = [
        (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    expected = np.min(sides, axis=0) > 0  # convex: on the inner side of all
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.99


def test_coco_compressed_run_lengths(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    mask = make.labels() == 1
    runs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    outline = {"size": runs["size"], "counts": runs["counts"].decode("ascii")}
    annotation = {"id": 5, "image_id": 1, "category_id": 7, "segmentation": outline}
    path = make.coco(tmp_path, annotations=[annotation])
    np.testing.assert_array_equal(only(path).cases[0].load()[1]["nucleus 5"], mask)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_are_those_of_pycocotools(seed: int, share: float) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).random((13, 9)) < share
    text = tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii")
    values = np.repeat(np.arange(len(run_lengths(text))) % 2, run_lengths(text))
    np.testing.assert_array_equal(values.reshape(9, 13).T, mask)
    np.testing.assert_array_equal(decode({"size": [13, 9], "counts": text}, 13, 9), mask)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_id": 9}, "image_id that is listed"),
        ({"category_id": 9}, "category_id that is listed"),
        ({"segmentation": [[4, 2, 80, 2, 8, 6]]}, "inside the 2D image"),
        ({"segmentation": [[4, 2, 8, 2]]}, "3 corners"),
        ({"segmentation": []}, "box alone"),
        ({"segmentation": None}, "box alone"),
        ({"segmentation": {"size": [16, 12], "counts": [0, 3, 189]}}, "run lengths of 16 x 12"),
        ({"segmentation": {"size": [12, 16], "counts": [0, 300]}}, "run lengths of 192"),
        ({"segmentation": {"size": [12, 16], "counts": "0"}}, "run lengths of 192"),
        ({"segmentation": {"size": [12, 16], "counts": "~~"}}, "polygons or run lengths"),
        ({"segmentation": {"size": [12, 16], "counts": "PP"}}, "polygons or run lengths"),
    ],
)
def test_coco_annotations_that_are_refused(
    tmp_path: Path, change: dict[str, Any], match: str
) -> None:
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[1, 1, 4, 1, 4, 4]]}
    path = make.coco(tmp_path, annotations=[{**annotation, **change}])
    with pytest.raises(InputError, match=match):
        only(path).cases[0].load()


def test_coco_pictures_that_are_not_there_or_of_another_size(tmp_path: Path) -> None:
    path = make.coco(tmp_path)
    make.png(tmp_path / "images" / "b.png", make.gray(1, (12, 17)))
    with pytest.raises(GeometryError, match="as its annotations say"):
        only(path).cases[1].load()
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png is not there"):
        open_datasets(path)
    assert [case.name for case in only(path, keep_going=True).cases] == ["a"]


def test_coco_files_that_contradict_themselves(tmp_path: Path) -> None:
    path = make.coco(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, "images": [{"id": 1}]}), encoding="utf-8")
    with pytest.raises(InputError, match="as COCO writes them"):
        open_datasets(path)
    make.coco(tmp_path)
    path.with_name("more.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="one file of annotations"):
        open_datasets(tmp_path)


def test_coco_annotations_of_no_pixel_and_categories_of_one_id(tmp_path: Path) -> None:
    path = make.coco(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    tiny = {"id": 99, "image_id": content["images"][0]["id"], "category_id": 7, "iscrowd": 0}
    tiny["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]
    more = {**content, "annotations": [*content["annotations"], tiny]}
    path.write_text(json.dumps(more), encoding="utf-8")
    image, truth = open_datasets(path)[0].cases[0].load()
    assert len(truth.segments) == 2
    assert "1 of 3 annotations cover no pixel" in image.source.notes
    twice = {**content, "categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}
    path.write_text(json.dumps(twice), encoding="utf-8")
    with pytest.raises(InputError, match="categories with different ids"):
        open_datasets(path)


def test_channels_that_are_not_numbered(tmp_path: Path) -> None:
    make.nnunet(tmp_path, channel_names={"T1": "MR", "T2": "MR"})
    with pytest.raises(InputError, match=r"channels numbered from 0.*got T1, T2 .*; correct it"):
        open_datasets(tmp_path)


def test_coco_outlines_from_0_to_1_are_suspected_aloud() -> None:
    triangle = [[0.1, 0.1, 0.5, 0.1, 0.5, 0.9]]
    with pytest.raises(InputError, match=r"normalised.*multiply x by 640 and y by 480"):
        check_outline(triangle, (480, 640), "annotation 1")
