"""A curation as a whole: what it writes, what it leaves out, how it goes on."""

from __future__ import annotations

import csv
import errno
import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import curate_makers as make
from datasets import dataset_makers
from promptseg.curate.parts import Part
from promptseg.datasets import open_datasets
from promptseg.datasets.collection import Collection, Shard
from promptseg.datasets.leaks import leaks_in
from promptseg.errors import InputError, OutputError
from promptseg.jobs import curate as curate_job


def exclusions(folder: Path) -> list[dict[str, str]]:
    with (folder / "exclusions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_layout_goes_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make.pictures(data / "pictures")
    make.volumes(data / "volumes", seed=10)
    dataset_makers.clip(data / "clips" / "one")
    dataset_makers.nnunet(data / "nnunet", "Tr")
    dataset_makers.coco(data / "coco")
    small = {"min_pixels": 3, "min_pixels_256": 0, "min_voxels": 12}
    collection = make.curated(data, output=tmp_path / "out", **small)
    made = {s.key: s for s in collection.samples if s.case != "b"}
    assert set(made) == {
        "pictures/a",
        *(f"volumes/a/{k:04d}" for k in range(1, 5)),
        *(f"clips/one/{k:04d}" for k in (1, 3)),
        *(f"nnunet/patient001_frame0{n}/{k:04d}" for n in (1, 2) for k in range(1, 4)),
        "coco/a",
    }
    assert made["volumes/a/0001"].modality == "CT"
    assert made["volumes/a/0001"].pixel == pytest.approx((0.8, 0.9))
    assert [t.name for t in made["pictures/a"].targets] == ["lesion", "cyst"]
    assert [t.name for t in made["coco/a"].targets] == ["nucleus", "nucleus"]
    regions = made["nnunet/patient001_frame01/0002"]
    assert [(t.name, t.layer) for t in regions.targets] == [("core", 0), ("rim", 0), ("whole", 1)]
    assert len(regions.labels) == 2
    assert made["nnunet/patient001_frame02/0001"].patient == "patient001"
    assert {e["rule"] for e in exclusions(tmp_path / "out")} == {"empty mask"}


def test_an_unknown_modality_is_said_before_anything_is_trained_on_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make.curated(make.pictures(tmp_path / "mine", modality="kinds"), output=tmp_path / "out")
    assert "the modality of mine is not known" in caplog.text
    caplog.clear()
    make.curated(make.pictures(tmp_path / "other"), output=tmp_path / "known")
    assert "modality" not in caplog.text


def test_what_is_written_speaks_of_no_folder_of_this_machine(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "us", licence="CC BY 4.0", upstream="An article")
    (data / "images" / "b.png").write_bytes(b"no 2D image")
    collection = make.curated(data, output=tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
    facts = collection.facts
    assert facts["options"]["input"] == ["us"]
    assert facts["counts"]["all"]["train"]["samples"] == 1
    assert facts["licences"] == {"us": {"CC BY 4.0": 1}}
    assert collection.samples[0].source == "An article"
    assert "| incomplete image | 1 | 0 |" in (tmp_path / "out" / "summary.md").read_text()


def break_image(data: Path) -> None:
    (data / "images" / "b.png").write_bytes(b"no 2D image")


def one_value(data: Path) -> None:
    dataset_makers.png(data / "images" / "b.png", np.full((48, 48), 7, np.uint8))


def other_size(data: Path) -> None:
    dataset_makers.png(data / "masks" / "b.png", make.two_objects((48, 47)))


def unknown_label(data: Path) -> None:
    dataset_makers.png(data / "masks" / "b.png", make.two_objects() * 3)


def no_object(data: Path) -> None:
    dataset_makers.png(data / "masks" / "b.png", np.zeros((48, 48), np.uint8))


def colours(data: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 9, (48, 48, 3)).astype(np.uint8)
    dataset_makers.png(data / "masks" / "b.png", mask)


def mask_away(data: Path) -> None:
    (data / "masks" / "b.png").unlink()


def image_away(data: Path) -> None:
    (data / "images" / "b.png").unlink()


def specks(data: Path) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[3:5, 3:5] = 1
    dataset_makers.png(data / "masks" / "b.png", mask)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (break_image, "incomplete image"),
        (one_value, "empty image"),
        (other_size, "mask of another grid"),
        (unknown_label, "unusable mask"),
        (no_object, "empty mask"),
        (colours, "labels not integers"),
        (mask_away, "no mask"),
        (image_away, "no image"),
        (specks, "no object left"),
    ],
)
def test_a_bad_case_is_left_out_and_said(
    spoil: Callable[[Path], None], rule: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make.pictures(tmp_path / "us")
    spoil(data)
    with caplog.at_level(logging.WARNING, "promptseg"):
        logging.getLogger("promptseg").propagate = True
        collection = make.curated(data, output=tmp_path / "out")
    assert [s.case for s in collection.samples] == ["a"]
    assert rule in {e["rule"] for e in exclusions(tmp_path / "out") if e["case"] == "b"}
    assert collection.facts["excluded"][rule]["cases"] == 1
    assert f"1 cases left out: {rule} (us/b" in caplog.text


@pytest.mark.parametrize("voxels", ["nan", "all nan"])
def test_volumes_with_nan_are_incomplete(voxels: str, tmp_path: Path) -> None:
    data = make.volumes(tmp_path / "ct")
    bad = make.cloudy(3, (5, 48, 48)).astype(np.float32)
    bad[(0, 0, 0) if voxels == "nan" else ...] = np.nan
    dataset_makers.nifti(data / "b_image.nii.gz", bad)
    make.curated(data, output=tmp_path / "out")
    found = [e for e in exclusions(tmp_path / "out") if e["case"] == "b"]
    assert [e["rule"] for e in found] == ["incomplete image"]
    assert "NaN" in found[0]["detail"]


def test_masks_elsewhere_and_of_fractions_are_left_out(tmp_path: Path) -> None:
    data = make.volumes(tmp_path / "ct", ("a", "b", "c"))
    moved = dataset_makers.AFFINE.copy()
    moved[:3, 3] = 5
    dataset_makers.nifti(data / "b_label.nii.gz", make.two_objects((5, 48, 48)), moved)
    halves = make.two_objects((5, 48, 48)).astype(np.float32) / 2
    dataset_makers.nifti(data / "c_label.nii.gz", halves)
    make.curated(data, output=tmp_path / "out")
    assert {(e["case"], e["rule"]) for e in exclusions(tmp_path / "out")} == {
        ("b", "mask of another grid"),
        ("c", "labels not integers"),
    }


def test_only_open_licences(tmp_path: Path) -> None:
    licences = {"b": "CC BY-NC 4.0", "c": "CC0"}
    data = make.pictures(
        tmp_path / "us", tuple("abc"), licence="CC BY 4.0", image_licences=licences
    )
    collection = make.curated(data, output=tmp_path / "out", licence="open")
    assert {s.case: s.licence for s in collection.samples} == {"a": "CC BY 4.0", "c": "CC0"}
    assert [(e["case"], e["detail"]) for e in exclusions(tmp_path / "out")] == [
        ("b", "CC BY-NC 4.0")
    ]


def test_coco_pictures_may_have_licences_of_their_own(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "CC BY"}, {"id": 2, "name": "unknown"}]
    picture = {"id": 1, "file_name": "a.png", "height": 12, "width": 16, "license": 1}
    data = tmp_path / "coco"
    dataset_makers.coco(data, licenses=names, info={"url": "address"}, images=[picture])
    collection = make.curated(data, output=tmp_path / "out", min_pixels=1, min_pixels_256=0)
    assert [(s.licence, s.source) for s in collection.samples] == [("CC BY", "address")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_workers_change_nothing(tmp_path: Path) -> None:
    make.pictures(tmp_path / "data" / "us")
    make.volumes(tmp_path / "data" / "ct")
    make.curated(tmp_path / "data", output=tmp_path / "one")
    make.curated(tmp_path / "data", output=tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_goes_on_where_the_first_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for k, name in enumerate("abc"):
        make.pictures(data / name, seed=10 * k)
    do, done = Part.do, []

    def watched(part: Part, *_: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part.origin.dataset)
        do(part)

    monkeypatch.setattr(Part, "do", watched)
    with pytest.raises(KeyboardInterrupt):
        make.curated(data, output=out)
    assert not (out / "collection.json").exists()
    assert not list(out.rglob(".part-*"))
    done.clear()
    whole = make.curated(data, output=out)
    assert done == ["c"]
    done.clear()
    assert make.curated(data, output=out).sha256 == whole.sha256
    assert not done
    dataset_makers.png(data / "b" / "images" / "a.png", make.cloudy(99))
    changed = make.curated(data, output=out)
    assert done == ["b"]
    assert changed.facts["samples"] == 6
    (out / "shards" / "a-0000.zip").write_bytes(b"cut")
    done.clear()
    make.curated(data, output=out)
    assert done == ["a"]


def test_other_options_need_overwrite_and_keep_what_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    make.pictures(data / "us")
    make.pictures(data / "more", seed=10)
    make.curated(data / "us", data / "more", output=out)
    with pytest.raises(OutputError, match=r"made with seed 0 \(now 3\).*--overwrite"):
        make.curated(data / "us", data / "more", output=out, seed=3)
    assert len(Collection(out).samples) == 4
    do, done = Part.do, []
    monkeypatch.setattr(Part, "do", lambda part, *_: (done.append(part.name), do(part)))
    fewer = make.curated(data / "us", output=out, seed=3, overwrite=True)
    assert {s.dataset for s in fewer.samples} == {"us"}
    assert [p.name for p in (out / "shards").iterdir()] == ["us-0000.zip"]
    assert not done
    make.curated(data / "us", output=out, overwrite=True, min_pixels=50)
    assert done == ["us-0000"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "us")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="with other files"):
        make.curated(data, output=tmp_path / "out")
    make.curated(data, output=tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make.pictures(tmp_path / "us")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Shard, "add", full)
    with pytest.raises(OutputError, match="no space left on the disk"):
        make.curated(data, output=tmp_path / "out")
    assert not list((tmp_path / "out" / "shards").iterdir())


def test_a_disk_that_is_full_at_the_end_of_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make.pictures(tmp_path / "us")
    close = zipfile.ZipFile.close

    def full(archive: zipfile.ZipFile) -> None:
        close(archive)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "close", full)
    with pytest.raises(OutputError, match="no space left on the disk"):
        make.curated(data, output=tmp_path / "out")
    assert not list((tmp_path / "out" / "shards").iterdir())


def test_chains_of_look_alikes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make.pictures(tmp_path / "us", tuple(f"case{k:02d}" for k in range(14)))
    for k in range(12):
        dataset_makers.png(data / "images" / f"case{k:02d}.png", make.cloudy(0))
    with caplog.at_level(logging.WARNING, "promptseg"):
        logging.getLogger("promptseg").propagate = True
        collection = make.curated(data, output=tmp_path / "out")
    assert "12 of 14 patients are one group" in caplog.text
    assert collection.facts["largest_group"] == 12


def test_free_space_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make.pictures(tmp_path / "us")
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(curate_job.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="free disk, twice as much as the data takes"):
        make.curated(data, output=tmp_path / "out")


def test_the_manifest_finds_training_images_and_no_others(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "us", tuple(f"case{k}" for k in range(10)))
    collection = make.curated(data, output=tmp_path / "out")
    found = {leak.case for leak in leaks_in(tmp_path / "out" / "manifest.csv", open_datasets(data))}
    assert found == {s.case for s in collection.samples if s.split != "test"}


def test_what_all_rules_leave_nothing_of_is_an_error_with_a_list(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "us")
    with pytest.raises(InputError, match=r"none of 2 cases left: no object left \(2\), tiny \(4\)"):
        make.curated(data, output=tmp_path / "out", min_pixels=1000)
    assert len(exclusions(tmp_path / "out")) == 6
    assert not (tmp_path / "out" / "collection.json").exists()


def test_requests_are_plain(tmp_path: Path) -> None:
    data = make.pictures(tmp_path / "us")
    make.curated(data, output=tmp_path / "out", exclude_target=("cyst",))
    request = json.loads((tmp_path / "out" / "parts" / "request.json").read_text())
    assert request["exclude_target"] == ["cyst"]
    assert "output" not in request
