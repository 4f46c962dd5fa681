"""Datasets as they were unpacked, found by the patterns of their dataset.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import dataset_makers as make
from promptseg.datasets import Dataset, DatasetOptions, open_datasets, target_of
from promptseg.datasets.patterns import find_files
from promptseg.errors import InputError


def only(path: Path, **options: Any) -> Dataset:
    (dataset,) = open_datasets(path, DatasetOptions(**options))
    return dataset


def kits(root: Path) -> Path:
    """case_0000N/imaging.nii.gz with segmentation.nii.gz, as KiTS is unpacked."""
    for seed in (1, 10, 2):
        folder = root / f"case_{seed}"
        make.nifti(folder / "imaging.nii.gz", make.gray(seed, (3, 12, 16)))
        make.nifti(folder / "segmentation.nii.gz", make.labels((3, 12, 16)))
        make.nifti(folder / "instances" / "kidney.nii.gz", make.labels((3, 12, 16)))
    make.described(
        root,
        image_files="{case}/imaging.nii.gz",
        label_files="{case}/segmentation.nii.gz",
        modality="CT",
        targets={"1": "kidney", "2": "tumour"},
        patients={"case_1": "Ann"},
    )
    return root


def test_folders_per_case(tmp_path: Path) -> None:
    dataset = only(kits(tmp_path / "kits"))
    assert (dataset.layout, dataset.modality, dataset.kind) == ("patterns", "CT", "volume")
    assert [case.name for case in dataset.cases] == ["case_1", "case_2", "case_10"]
    assert [case.patient for case in dataset.cases] == ["Ann", "case_2", "case_10"]
    image, truth = dataset.cases[1].load()
    np.testing.assert_array_equal(image.voxels, make.gray(2, (3, 12, 16)))
    np.testing.assert_array_equal(truth["tumour"], make.labels((3, 12, 16)) == 2)


def test_one_file_per_class(tmp_path: Path) -> None:
    root = tmp_path / "total"
    masks = {"liver": make.labels((3, 12, 16)) == 1, "trunk": make.labels((3, 12, 16)) > 0}
    make.nifti(root / "s0001" / "ct.nii.gz", make.gray(0, (3, 12, 16)))
    for name, mask in {**masks, "spleen": masks["liver"] & False}.items():
        make.nifti(root / "s0001" / "segmentations" / f"{name}.nii.gz", mask.astype(np.uint8))
    make.described(
        root,
        image_files="{case:s[0-9]*}/ct.nii.gz",
        label_files="{case}/segmentations/{target}.nii.gz",
    )
    _, truth = only(root).cases[0].load()
    assert [target_of(s) for s in truth.segments] == ["liver", "trunk"]  # the spleen is empty
    for name, mask in masks.items():
        np.testing.assert_array_equal(truth[name], mask)


def test_patients_and_endings(tmp_path: Path) -> None:
    """As ACDC and CholecSeg8k: names that repeat from patient to patient, masks beside 2D images."""
    root = tmp_path / "surgery"
    for patient in ("video01", "video02"):
        folder = root / patient / "clip"
        make.png(folder / "frame_80_endo.png", make.gray(8))
        make.png(folder / "frame_80_mask.png", make.labels())
        make.png(folder / ".hidden_endo.png", make.labels())
    make.described(
        root,
        image_files="{patient}/*/{case:frame_[0-9]?}_endo.png",
        label_files="{patient}/*/{case}_mask.png",
    )
    dataset = only(root)
    assert [c.name for c in dataset.cases] == ["video01_frame_80", "video02_frame_80"]
    assert [c.patient for c in dataset.cases] == ["video01", "video02"]
    assert {s.label for s in dataset.cases[0].load()[1].segments} == {1, 2}


def test_labels_of_msd_name_the_classes_and_a_glob_leaves_cases_out(tmp_path: Path) -> None:
    """As AMOS: one folder of CT and MR, told apart by their numbers."""
    root = tmp_path / "amos"
    for name in ("amos_0001", "amos_0507"):
        make.nifti(root / "imagesTr" / f"{name}.nii.gz", make.gray(0, (3, 12, 16)))
        make.nifti(root / "labelsTr" / f"{name}.nii.gz", make.labels((3, 12, 16)))
    make.described(
        root,
        image_files="imagesTr/{case:amos_0[5-9]*}.nii.gz",
        label_files="labelsTr/{case:amos_0[5-9]*}.nii.gz",
        labels={"0": "background", "1": "spleen", "2": "liver"},
        modality={"0": "MR"},
    )
    dataset = only(root)
    assert [c.name for c in dataset.cases] == ["amos_0507"]
    assert dataset.modality == "MR"
    assert dataset.targets == {1: "spleen", 2: "liver"}


def test_incomplete_cases(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits")
    (root / "case_2" / "segmentation.nii.gz").unlink()
    (root / "case_10" / "imaging.nii.gz").unlink()
    with pytest.raises(InputError, match=r"imaging\.nii\.gz has no labels"):
        only(root)
    dataset = only(root, keep_going=True)
    assert [c.name for c in dataset.cases] == ["case_1"]
    assert len(dataset.missing) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("imaging.nii.gz", r"a pattern with \{case\}"),
        ("../{case}/imaging.nii.gz", "patterns below their folder"),
        ("/{case}/imaging.nii.gz", "patterns below their folder"),
        ("{case}/{colour}.nii.gz", r"got .*\{colour\}"),
        ("{case}/{target}.nii.gz", "label_files alone"),
        ("{case}/absent.nii.gz", "files that image_files finds"),
        ("case_1/{case:*}*", "one image per case|one label|has no labels"),
        ("{case}/[", "pattern"),
        ("**{case}/imaging.nii.gz", r"\*\*/ for any folders"),
        ("{case}/imag**.nii.gz", r"\*\*/ for any folders"),
        ("{case:a**}/imaging.nii.gz", r"\*\*/ for any folders"),
        ("*i*m*a*g*i*n*g*{case}", "at most 6 wildcards in a name"),
        ("a/" * 2000 + "{case}", "a pattern"),
        ("{case}\0", "files that image_files finds|a pattern"),
        ("\ud800{case}", "files that image_files finds"),
    ],
)
def test_patterns_that_make_no_sense(tmp_path: Path, images: str, message: str) -> None:
    root = kits(tmp_path / "kits")
    make.described(root, image_files=images, label_files="{case}/segmentation.nii.gz")
    with pytest.raises(InputError, match=message):
        only(root)


def test_a_link_out_of_the_folder_is_followed_as_everywhere(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits")
    outside = tmp_path / "outside.nii.gz"
    (root / "case_1" / "imaging.nii.gz").rename(outside)
    (root / "case_1" / "imaging.nii.gz").symlink_to(outside)
    found = [file.names["case"] for file in find_files(root, "{case}/imaging.nii.gz")]
    assert found == ["case_1", "case_2", "case_10"]
    outside.unlink()
    with pytest.raises(InputError, match=r"a link to nothing|has no image"):
        only(root)


def test_masks_of_a_part_of_the_image(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits")
    make.nifti(root / "case_1" / "segmentation.nii.gz", make.labels((3, 11, 16)))
    image, truth = only(root).cases[0].load()  # a row less: the image's own voxels, a part of them
    assert [int(s.crop.sum()) for s in truth.segments] == [
        int((make.labels((3, 11, 16)) == s.label).sum()) for s in truth.segments
    ]
    assert any("16 x 11 x 3 of 16 x 12 x 3 voxels" in note for note in image.source.notes)


def test_a_patient_whose_number_begins_that_of_a_case(tmp_path: Path) -> None:
    root = tmp_path / "numbers"
    for seed, name in enumerate(("1/10", "10/10", "10/10_2")):
        make.png(root / "images" / f"{name}.png", make.gray(seed))
        make.png(root / "masks" / f"{name}.png", make.labels())
    make.described(
        root, image_files="images/{patient}/{case}.png", label_files="masks/{patient}/{case}.png"
    )
    found = {c.name: (c.patient, c.image.parent.name) for c in only(root).cases}
    assert found == {"1_10": ("1", "1"), "10": ("10", "10"), "10_2": ("10", "10")}


def test_images_without_any_mask_say_so(tmp_path: Path) -> None:
    root = kits(tmp_path / "kits")
    for path in root.glob("*/segmentation.nii.gz"):
        path.unlink()
    with pytest.raises(InputError, match=r"has no labels.*; put labels beside the images"):
        only(root, keep_going=True)
