"""Parts of a curation: what makes one count, how large they are, how cases fail."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from curate import curate_makers as make
from datasets import dataset_makers
from promptseg.curate import parts as curate_parts
from promptseg.curate import reading
from promptseg.curate.options import ConversionOptions
from promptseg.curate.parts import parts_of_dataset
from promptseg.datasets import DatasetOptions, open_datasets
from promptseg.datasets.collection import Collection, Shard
from promptseg.errors import InputError, OutputError
from promptseg.jobs import curate as job

SMALL = {"min_pixels": 1, "min_pixels_256": 0, "min_voxels": 1}


def run_lengths(folder: Path, **said: Any) -> Path:
    """A 2D image whose only object is the first 60 pixels, counted in one of two ways."""
    dataset_makers.described(
        folder,
        image_files="images/{case}.png",
        run_lengths={"file": "train.csv", "id": "id", "pixels": "rle", **said},
        modality="histology",
        targets={"1": "gland"},
    )
    (folder / "train.csv").write_text("id,rle\na,1 60\n")
    dataset_makers.png(folder / "images" / "a.png", make.cloudy(0))
    return folder


def changed(folder: Path, **content: Any) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))


def test_counting_that_is_corrected_makes_parts_anew(tmp_path: Path) -> None:
    data = run_lengths(tmp_path / "glands")
    wrong = make.curated(data, output=tmp_path / "out")
    counting = {"file": "train.csv", "id": "id", "pixels": "rle", "order": "rows"}
    changed(data, run_lengths=counting)
    assert wrong.samples[0].targets[0].box == (0, 0, 1, 47)
    right = make.curated(data, output=tmp_path / "out")
    assert right.samples[0].targets[0].box == (0, 0, 47, 1)


def test_a_modality_that_is_corrected_makes_parts_anew(tmp_path: Path) -> None:
    data = make.volumes(tmp_path / "scans", ("a",), modality="MR")
    assert {s.modality for s in make.curated(data, output=tmp_path / "out").samples} == {"MR"}
    changed(data, modality="CT")
    assert {s.modality for s in make.curated(data, output=tmp_path / "out").samples} == {"CT"}
    options: dict[str, Any] = {"dataset_modality": "PET", "overwrite": True}
    again = make.curated(data, output=tmp_path / "out", **options)
    assert {s.modality for s in again.samples} == {"PET"}


def test_annotations_of_the_same_size_and_time_make_parts_anew(tmp_path: Path) -> None:
    """What a case's readers are bound to counts, not the file alone."""
    path = dataset_makers.coco(tmp_path / "coco")
    options = ConversionOptions()
    (before,) = parts_of_dataset(open_datasets(path)[0], tmp_path / "out", options)
    (same,) = parts_of_dataset(open_datasets(path)[0], tmp_path / "out", options)
    assert before.request() == same.request()
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[4, 2, 9, 2, 9, 6, 4, 6]]
    path.write_text(json.dumps(content))
    (after,) = parts_of_dataset(open_datasets(path)[0], tmp_path / "out", options)
    assert before.request() != after.request()


def test_a_file_of_all_cases_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dataset_makers.coco(tmp_path / "coco")
    (dataset,) = open_datasets(path)
    pictures = sum(case.image.stat().st_size for case in dataset.cases)
    whole = pictures + path.stat().st_size
    options = ConversionOptions()
    (part,) = parts_of_dataset(dataset, tmp_path / "out", options)
    assert sum(part.input_sizes().values()) == whole
    monkeypatch.setattr(curate_parts, "_BYTES", whole)
    assert len(list(parts_of_dataset(dataset, tmp_path / "out", options))) == 1
    monkeypatch.setattr(curate_parts, "_BYTES", whole - 1)
    halves = list(parts_of_dataset(dataset, tmp_path / "out", options))
    assert len(halves) == 2
    assert len({p for half in halves for p in half.input_sizes()}) == 3


def test_free_space_is_asked_for_once_per_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two parts share the annotations."""
    path = dataset_makers.coco(tmp_path / "coco")
    whole = sum(p.stat().st_size for p in [path, *(tmp_path / "coco" / "images").iterdir()])
    monkeypatch.setattr(curate_parts, "_BYTES", 1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(job.shutil, "disk_usage", lambda _: usage._replace(free=2 * whole - 1))
    with pytest.raises(OutputError, match="free disk"):
        make.curated(path, output=tmp_path / "out", **SMALL)
    monkeypatch.setattr(job.shutil, "disk_usage", lambda _: usage._replace(free=2 * whole))
    make.curated(path, output=tmp_path / "out", **SMALL)
    assert len(list((tmp_path / "out" / "parts").glob("annotations-*.json"))) == 2


def test_voxels_beside_their_header_count(tmp_path: Path) -> None:
    data = tmp_path / "ct"
    dataset_makers.described(data, modality="CT", targets={"1": "liver", "2": "tumour"})
    voxels = make.cloudy(1, (5, 48, 48)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(data / "a_image.mhd"))
    labels = sitk.GetImageFromArray(make.two_objects((5, 48, 48)))
    sitk.WriteImage(labels, str(data / "a_label.mhd"), useCompression=True)
    assert {p.suffix for p in data.iterdir()} == {".mhd", ".raw", ".zraw", ".json"}
    (dataset,) = open_datasets(data)
    (part,) = parts_of_dataset(dataset, tmp_path / "out", ConversionOptions())
    names = {path.name for path in part.input_sizes()}
    assert names == {"a_image.mhd", "a_image.raw", "a_label.mhd", "a_label.zraw"}
    before = part.request(), dataset.file_list_sha256()
    (data / "a_image.raw").write_bytes(voxels.tobytes() + b"\0")
    assert part.request() != before[0]
    assert dataset.file_list_sha256() != before[1]


def exclusions(folder: Path) -> list[dict[str, str]]:
    with (folder / "exclusions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_disk_that_fails_while_reading_is_no_fault_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make.volumes(tmp_path / "ct")
    labels_of = reading.labels_of
    count = 0

    def failing(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:  # of the first case
            raise OSError(5, "Input/output error")
        return labels_of(*given)

    monkeypatch.setattr(reading, "labels_of", failing)
    collection = make.curated(data, output=tmp_path / "out")
    assert {s.case for s in collection.samples} == {"b"}
    (said,) = exclusions(tmp_path / "out")
    assert (said["case"], said["rule"]) == ("a", "incomplete image")
    assert "Input/output error" in said["detail"]


def test_a_disk_that_fails_while_writing_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make.volumes(tmp_path / "ct")

    def failing(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Shard, "add", failing)
    with pytest.raises(OutputError, match="Input/output error"):
        make.curated(data, output=tmp_path / "out")


def test_too_many_objects_leave_a_case_out(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "cells")
    dots = np.zeros((520, 520), np.uint8)
    dots[::2, ::2] = 1  # 67,600
    dataset_makers.png(data / "images" / "b.png", make.cloudy(1, (520, 520)))
    dataset_makers.png(data / "masks" / "b.png", dots)
    collection = make.curated(data, output=tmp_path / "out", components=True, **SMALL)
    assert {s.case for s in collection.samples} == {"a"}
    (said,) = exclusions(tmp_path / "out")
    assert (said["case"], said["rule"]) == ("b", "unusable mask")
    assert "expected 65,535 objects on a slice at most, got 67,600; " in said["detail"]


def test_slices_of_one_value_are_empty_images(tmp_path: Path) -> None:
    data = make.volumes(tmp_path / "ct", ("a",))
    voxels = make.cloudy(0, (5, 48, 48)).astype(np.int16)
    voxels[2] = 7
    dataset_makers.nifti(data / "a_image.nii.gz", voxels)
    collection = make.curated(data, output=tmp_path / "out")
    assert [s.slice for s in collection.samples] == [1, 3, 4]
    (said,) = exclusions(tmp_path / "out")
    assert (said["rule"], said["slice"]) == ("empty image", "2")


def test_incomplete_cases_say_what_they_lack(tmp_path: Path) -> None:
    """The kind is data: this 2D image has "no image" in its name and lacks its mask."""
    data = make.pictures(tmp_path / "us", ("a", "no image"))
    (data / "masks" / "no image.png").unlink()
    (data / "masks" / "c.png").write_bytes((data / "masks" / "a.png").read_bytes())
    (dataset,) = open_datasets(data, DatasetOptions(keep_going=True))
    assert [(each.case, each.kind) for each in dataset.missing] == [
        ("no image", "labels"),
        ("c", "image"),
    ]
    make.curated(data, output=tmp_path / "out")
    assert {(e["case"], e["rule"]) for e in exclusions(tmp_path / "out")} == {
        ("no image", "no mask"),
        ("c", "no image"),
    }


def test_pictures_of_one_name_in_two_folders_keep_their_licences(tmp_path: Path) -> None:
    data = tmp_path / "coco"
    names = [{"id": 1, "name": "CC BY"}, {"id": 2, "name": "CC BY-NC"}]
    images = [
        {"id": k, "file_name": f"{folder}/a.png", "height": 12, "width": 16, "license": k}
        for k, folder in ((1, "one"), (2, "two"))
    ]
    annotations = [
        {"id": k, "image_id": k, "category_id": 7, "segmentation": [[4, 2, 8, 2, 8, 6, 4, 6]]}
        for k in (1, 2)
    ]
    dataset_makers.coco(data, licenses=names, images=images, annotations=annotations)
    for k, folder in enumerate(("one", "two")):
        dataset_makers.png(data / "images" / folder / "a.png", dataset_makers.gray(k))
    collection = make.curated(data, output=tmp_path / "out", **SMALL)
    assert {s.case: s.licence for s in collection.samples} == {
        "one_a": "CC BY",
        "two_a": "CC BY-NC",
    }


def test_a_picture_of_another_size_is_a_damaged_shard(tmp_path: Path) -> None:
    make.curated(make.pictures(tmp_path / "us"), output=tmp_path / "out")
    collection = Collection(tmp_path / "out")
    other = replace(collection.samples[0], shape=(4, 4))
    with pytest.raises(InputError, match="pixels where \\(4, 4\\) were written"):
        collection.read(other)
