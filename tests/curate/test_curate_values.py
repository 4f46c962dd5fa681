"""What training reads is what inference feeds, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate import curate_makers as make
from datasets import dataset_makers
from promptseg.datasets import open_datasets, target_of
from promptseg.datasets.collection import Collection, masks_of
from promptseg.intensity import choose_intensity

DATASETS = (
    "picture/ultrasound__busi",
    "picture/pathology__monuseg",
    "picture/chest_xray__covid_anatomy",
    "picture/mammography__ddsm_tissue",
    "picture/oct__duke_chiu_dme",
    "volume/ct__nsclc_lung1_rtstruct",
    "volume/ct__medsam2_recist_lesion",
    "volume/mr__msd_hippocampus",
    "volume/pet__qin_headneck_seg",
    "video/video__vocalfolds",
    "video/video__acdc_cine",
)


def check_against_inference(collection: Collection, data: Path) -> None:
    """Pixels for both kinds of model, masks, sizes of pixels."""
    cases = {(d.name, c.name): c for d in open_datasets(data) for c in d.cases}
    loaded = {}
    for sample in collection.samples:
        place = (sample.dataset, sample.case)
        if place not in loaded:
            loaded = {place: cases[place].load()}  # samples are in order of their cases
        image, truth = loaded[place]
        index = sample.slice or 0
        for flag in (False, True):
            picture, labels = collection.read(sample, keep_8bit=flag)
            fed = choose_intensity(image, keep_8bit=flag).apply(image.slice(index))
            np.testing.assert_array_equal(picture, fed)
            assert picture.dtype == np.uint8
        np.testing.assert_allclose(sample.pixel, image.geometry.spacing[:2])
        masks = masks_of(sample.targets, labels)
        true = [
            mask
            for s in truth.segments
            if target_of(s) in {t.name for t in sample.targets}
            and (mask := s.on_slice(index, image.geometry)).any()
        ]
        kept = {mask.tobytes() for mask in true}
        assert all(mask.tobytes() in kept for mask in masks)
        for target, mask in zip(sample.targets, masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert target.area == mask.sum()
            assert target.box == (columns.min(), rows.min(), columns.max(), rows.max())


@pytest.mark.data
@pytest.mark.parametrize("name", DATASETS)
def test_real_data_is_stored_as_inference_sees_it(
    name: str, data_root: Path, tmp_path: Path
) -> None:
    data = data_root / name
    collection = make.curated(data, output=tmp_path / "out", max_cases=2, max_slices=4)
    assert collection.samples
    check_against_inference(collection, data)


@pytest.mark.data
def test_of_the_real_data_vessels_alone_are_branching(data_root: Path, tmp_path: Path) -> None:
    collection = make.curated(
        data_root / "picture",
        output=tmp_path / "out",
        max_cases=3,
        branching=False,
        min_pixels=20,
    )
    text = (tmp_path / "out" / "exclusions.csv").read_text()
    hit = {line.split(",")[0] for line in text.splitlines() if ",branching," in line}
    assert hit == {"fundus__drive_vessels"}
    assert collection.facts["excluded"]["branching"] == {"cases": 0, "objects": 3}


def test_made_data_is_stored_as_inference_sees_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make.pictures(data / "us")
    make.pictures(data / "fundus", seed=5, modality="fundus")
    make.volumes(data / "ct")
    make.volumes(data / "mr", seed=5, modality="MR")
    dataset_makers.clip(data / "clips" / "one")
    collection = make.curated(data, output=tmp_path / "out", min_pixels=3, min_pixels_256=0)
    assert {s.dataset for s in collection.samples} == {"us", "fundus", "ct", "mr", "clips"}
    check_against_inference(collection, data)
    assert [s.slice for s in collection.samples if s.dataset == "clips"] == [1, 3]
    kept = {s.dataset for s in collection.samples if s.clip is not None}
    assert {"us"} <= kept
    assert not {"fundus", "ct", "mr"} & kept


@pytest.mark.data
def test_a_patient_is_in_one_part_in_ct_mr_and_pet(data_root: Path, tmp_path: Path) -> None:
    volumes = data_root / "volume"
    inputs = [volumes / name for name in ("ct__ibsi_sts", "mr__ibsi_sts_t1", "pet__ibsi_sts")]
    collection = make.curated(*inputs, output=tmp_path / "out", max_slices=2, split="50/25/25")
    parts: dict[str, set[tuple[str, str]]] = {}
    scans: dict[str, set[str]] = {}
    for sample in collection.samples:
        assert sample.patient.startswith("STS_")
        parts.setdefault(sample.patient, set()).add((sample.split, sample.group))
        scans.setdefault(sample.patient, set()).add(sample.dataset)
    assert all(len(each) == 1 for each in parts.values())
    assert max(map(len, scans.values())) > 1
    assert len({split for each in parts.values() for split, _ in each}) == 3
