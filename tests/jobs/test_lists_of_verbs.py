"""Lists for embed, convert, evaluate and curate; images in storage and on DICOMweb servers."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PilImage

from dicomweb_servers import Reply, stub
from fakes import BrightPredictor
from promptseg import Segmenter, read
from promptseg.cli.main import main
from promptseg.datasets import open_datasets
from promptseg.datasets.case_list import SEGMENTING
from promptseg.datasets.case_sources import is_many, open_cases
from promptseg.errors import InputError, OutputError
from promptseg.formats import storage
from promptseg.formats.dicomweb.query import series_matching
from promptseg.formats.location import require_local, storage_in
from promptseg.formats.masks import read_masks
from promptseg.inference.predictor import Predictor
from promptseg.jobs import convert_list, embed, image_task
from promptseg.jobs.results_table import read_results
from promptseg.work import Inline

COUNTS = ((0, 1, 0), (1, 0, 0), (0, 0, 1))


def scan(k: int) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(k).integers(0, 60, (3, 24, 30)).astype(np.int16)
    values[:, 4 + k : 14 + k, 6:20] += 150
    return values


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four scans with their labels, in two folders."""
    for k in range(4):
        place = tmp_path / "in" / f"site{k % 2}"
        place.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(scan(k).T, np.eye(4)), place / f"{k}.nii.gz")
        labels = (scan(k) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels.T, np.eye(4)), place / f"{k}_truth.nii.gz")
    return tmp_path / "in"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> BrightPredictor:
    predictor = BrightPredictor()
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(predictor))
    return predictor


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Storage that is this process's memory; what fails there is tried again at once."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(storage, "_WAITS", (0.0,))
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


def test_embed_takes_a_list(
    fake: BrightPredictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"site{k % 2}/{k}.nii.gz,{'0:1' if k == 1 else ''}" for k in range(4)]
    source = table(
        scans / "list.csv", "image,slices", *rows, "site0/none.nii.gz,", "site0/0.nii.gz,x"
    )
    command = ["embed", "-i", str(source), "-o", str(tmp_path / "kept")]
    assert main(command) == 2
    assert "4 encoded, 2 failed" in capsys.readouterr().out
    lines = read_results(tmp_path / "kept")
    assert [(line["state"], line["slices"], line["encoded"]) for line in lines] == [
        *(("done", "3", "3"), ("done", "2", "2"), ("done", "3", "3"), ("done", "3", "3")),
        *(("failed", "", ""), ("failed", "", "")),
    ]
    assert main([*command, "--shard", "1/3"]) == 0
    with (tmp_path / "kept" / "results-1-of-3.csv").open() as stream:
        assert [(line["row"], line["encoded"]) for line in csv.DictReader(stream)] == [
            ("1", "0"),
            ("4", "0"),
        ]


def test_embed_ends_where_images_push_each_other_out(
    fake: BrightPredictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image alone has room; all of them have not."""
    rows = [f"site{k % 2}/{k}.nii.gz" for k in range(4)]
    source = table(scans / "list.csv", "image", *rows)
    for path in scans.rglob("*_truth.nii.gz"):
        path.unlink()
    (scans / "site1" / "1.nii.gz").rename(scans / "site0" / "1.nii.gz")
    source.write_text(source.read_text().replace("site1/1", "site0/1"))
    size = 3 * 2000
    for given in (source, scans / "site0"):
        out = tmp_path / given.stem
        command = ["embed", "-i", str(given), "-o", str(out), "--quiet", "--embeddings-limit"]
        for _ in "again", "and again":
            assert main([*command, str(size / 2**30)]) == 2
            said = capsys.readouterr().err
            assert said.count("raise --embeddings-limit") == 1
        assert main([*command, str(8 * size / 2**30)]) == 0
        encoded = len(fake.encoded)
        assert main([*command, str(8 * size / 2**30)]) == 0
        assert len(fake.encoded) == encoded


def test_embed_by_several_processes_ends_where_they_push_each_other_out(
    fake: BrightPredictor, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executors in turn, as processes have them: each has a store of its own."""

    class Apart:
        def __init__(self, make: Any) -> None:
            self.make = make

        def each(self, tasks: Any) -> Any:
            for task in tasks:
                yield from Inline(self.make).each([task])

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(embed, "executor_of", lambda _, make, **__: Apart(make))
    rows = [f"site{k % 2}/{k}.nii.gz" for k in range(4)]
    source = table(scans / "list.csv", "image", *rows)
    command = ["embed", "-i", str(source), "-o", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--embeddings-limit", str(6000 / 2**30)]) == 2
    assert main([*command, "--embeddings-limit", str(60_000 / 2**30)]) == 0


@pytest.mark.parametrize("verb", ["segment", "embed"])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("axis", "Z", "axis to be z, y or x, got 'Z'"),
        ("axis", "0", "axis to be z, y or x, got '0'"),
        ("modality", "PETCT", "PETCT"),
        ("window", "bright", "bright"),
        ("slices", "last", "slices FIRST:LAST"),
    ],
)
def test_an_option_that_a_row_gets_wrong_is_the_failure_of_that_row(
    fake: BrightPredictor,
    scans: Path,
    tmp_path: Path,
    *,
    verb: str,
    column: str,
    value: str,
    said: str,
) -> None:
    rows = [f"site{k % 2}/{k}.nii.gz,{value if k == 1 else ''}" for k in range(3)]
    source, out = table(scans / "list.csv", f"image,{column}", *rows), tmp_path / "out"
    command = [verb, "-i", str(source), "-o", str(out), "--quiet"]
    if verb == "segment":
        command += ["--box", "5,3,21,18@1", "--no-overlay"]
    assert main(command) == 2
    lines = read_results(out)
    assert [line["state"] for line in lines] == ["done", "failed", "done"]
    assert said in lines[1]["error"]


def test_convert_takes_a_list_and_a_folder(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = table(
        scans / "list.csv",
        "mask,output,segments",
        "site0/0_truth.nii.gz,a/first.seg.nrrd,1=block",
        "site1/1_truth.nii.gz,,",
        "site1/3.nii.gz,,999=none",
    )
    out = tmp_path / "out"
    command = ["convert", "-i", str(source), "-o", str(out), "--suffix", ".mha"]
    assert main(command) == 2
    assert "0 done already, 2 converted, 1 failed" in capsys.readouterr().out
    (first,) = read_masks(out / "a" / "first.seg.nrrd").segments
    assert first.name == "block"
    (second,) = read_masks(out / "site1" / "1_truth.mha").segments
    assert int(second.crop.sum()) == int((scan(1) > 100).sum())
    assert [line["state"] for line in read_results(out)] == ["done", "done", "failed"]
    assert main(command) == 2
    assert "2 done already, 0 converted, 1 failed" in capsys.readouterr().out
    for path in scans.rglob("*_truth.nii.gz"):
        path.rename(tmp_path / "in" / path.name)
    masks = tmp_path / "in" / "masks"
    masks.mkdir()
    for path in (tmp_path / "in").glob("*_truth.nii.gz"):
        path.rename(masks / path.name)
    folder = ["convert", "-i", str(masks), "-o", str(tmp_path / "b"), "--suffix", "nrrd"]
    assert main(folder) == 0
    assert len(list((tmp_path / "b").glob("*.nrrd"))) == 4
    assert main([*folder[:-1], "jpeg"]) == 2
    assert main(folder[:-2]) == 2
    assert "--suffix" in capsys.readouterr().err


def test_another_reference_or_table_under_the_same_name_is_another_conversion(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(scans / "site0" / "0.nii.gz", scans / "ct.nii.gz")
    names = scans / "names.tsv"
    names.write_text("index\tname\n1\tliver\n")
    row = "site0/0_truth.nii.gz,ct.nii.gz"
    source, out = table(scans / "list.csv", "mask,reference", row), tmp_path / "out"
    command = ["convert", "-i", str(source), "-o", str(out), "--suffix", ".seg.nrrd"]
    command += ["--table", str(names)]

    def counts(*more: str) -> str:
        main([*command, *more])
        return capsys.readouterr().out.splitlines()[0]

    done, there, refused = (f"{a} done already, {b} converted, {c} failed" for a, b, c in COUNTS)
    assert (counts(), counts()) == (done, there)
    names.write_text("index\tname\n1\tspleen\n")
    assert counts() == refused, "it exists, with other names"
    assert counts("--overwrite") == done
    (segment,) = read_masks(next(out.rglob("*.seg.nrrd"))).segments
    assert segment.name == "spleen"
    os.utime(scans / "ct.nii.gz", (1000, 1000))
    assert counts() == refused
    (scans / "ct.nii.gz").unlink()
    (scans / "ct.nii.gz").symlink_to(scans / "site0" / "0.nii.gz")
    assert counts("--overwrite") == done
    assert counts() == there


def test_voxels_in_a_file_of_their_own_are_looked_at(
    fake: BrightPredictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    head = ["ObjectType = Image", "NDims = 3", "DimSize = 30 24 3", "ElementType = MET_SHORT"]
    (source / "a.mhd").write_text("\n".join([*head, "ElementDataFile = a.raw", ""]))
    (source / "a.raw").write_bytes(scan(0).tobytes())
    list_ = table(source / "list.csv", "image,box", '"a.mhd","2,2,24,20@1=block"')
    command = ["segment", "-i", str(list_), "-o", str(out), "--window", "255/128"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "1 done already" in capsys.readouterr().out
    (source / "a.raw").write_bytes(scan(2).tobytes())
    assert main(command) == 2
    assert "0 done already" in capsys.readouterr().out
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize("beside", ["table", "provenance"])
def test_names_beside_a_mask_are_looked_at(
    beside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks in BIDS have their names in a table, ours in the provenance."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    name = "sub-1_dseg.nii.gz" if beside == "table" else "mask.nii.gz"
    labels = (scan(0) > 100).astype(np.uint8)
    nib.save(nib.Nifti1Image(labels.T, np.eye(4)), source / name)

    def call(it: str) -> None:
        if beside == "table":
            (source / "sub-1_dseg.tsv").write_text(f"index\tname\n1\t{it}\n")
        else:
            told = {"output": name, "objects": [{"label": 1, "name": it}]}
            (source / f"{name}.json").write_text(json.dumps(told))

    command = ["convert", "-i", str(source), "-o", str(out), "--suffix", ".seg.nrrd"]
    call("livr")
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "1 done already" in capsys.readouterr().out
    call("liver")
    assert main(command) == 2
    assert "0 done already" in capsys.readouterr().out
    assert main([*command, "--overwrite"]) == 0
    (segment,) = read_masks(next(out.rglob("*.seg.nrrd"))).segments
    assert segment.name == "liver"


def test_a_series_as_reference_is_known_by_its_slices(tmp_path: Path) -> None:
    series = tmp_path / "series"
    (series / "below").mkdir(parents=True)
    for name in ("a.dcm", "b.dcm", "below/c.dcm"):
        (series / name).write_bytes(b"slice")
    first = convert_list._stamps(series, None)
    assert first == convert_list._stamps(series, None)
    os.utime(series / "below" / "c.dcm", (1000, 1000))
    assert convert_list._stamps(series, None) != first
    assert convert_list._stamps(tmp_path / "none", tmp_path / "none.tsv") == {}
    assert convert_list._stamps(Path("dicomweb://host/studies/1"), None) == {}


def test_a_folder_with_the_table_of_another_verb_is_refused(
    fake: BrightPredictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    images = table(scans / "images.csv", "image", "site0/0.nii.gz")
    masks = table(scans / "masks.csv", "mask", "site0/0_truth.nii.gz")
    segment = ["segment", "-i", str(images), "-o", str(out), "--box", "5,3,21,18@1", "--quiet"]
    assert main(segment) == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for verb, more in (("convert", [str(masks), "--suffix", ".nrrd"]), ("embed", [str(images)])):
        assert main([verb, "-o", str(out), "--quiet", "-i", *more]) == 2
        said = capsys.readouterr().err
        assert "with row, image, output, state, objects, low_confidence, seconds" in said
        assert "another verb" in said
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert main(segment) == 0
    assert [line["low_confidence"] for line in read_results(out)] in (["0"], ["1"])


def test_convert_into_a_folder_in_the_folder_of_masks(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in scans.rglob("?.nii.gz"):
        path.unlink()
    monkeypatch.chdir(scans)
    command = ["convert", "-i", ".", "-o", "zz/new", "--suffix", ".seg.nrrd"]
    made = [f"site{k % 2}/{k}_truth.seg.nrrd" for k in (0, 2, 1, 3)]
    assert main(command) == 0
    assert "4 converted, 0 failed" in capsys.readouterr().out
    out = scans / "zz" / "new"
    assert [p.relative_to(out).as_posix() for p in sorted(out.rglob("*.nrrd"))] == made
    assert len(list(scans.rglob("*.nrrd"))) == 4, "no result is converted again"
    for path in (out / "site0").glob("2_*"):
        path.unlink()
    assert main(command) == 0, "as after a kill"
    assert "3 done already, 1 converted, 0 failed" in capsys.readouterr().out
    assert [p.relative_to(out).as_posix() for p in sorted(out.rglob("*.nrrd"))] == made
    assert len(list(scans.rglob("*.nrrd"))) == 4
    capsys.readouterr()
    before = sorted(scans.rglob("*"))
    assert main(["convert", "-i", ".", "-o", str(scans), "--suffix", ".seg.nrrd"]) == 2
    assert "other than the input folder" in capsys.readouterr().err
    assert sorted(scans.rglob("*")) == before


def test_convert_by_several_processes(scans: Path, tmp_path: Path) -> None:
    rows = [f"site{k % 2}/{k}_truth.nii.gz" for k in range(4)]
    source = table(scans / "list.csv", "mask", *rows, "site0/none.nii.gz")
    out = tmp_path / "out"
    command = ["convert", "-i", str(source), "-o", str(out), "--suffix", ".nrrd", "--quiet"]
    assert main([*command, "--workers", "2"]) == 2
    assert [line["state"] for line in read_results(out)] == ["done"] * 4 + ["failed"]
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.nrrd")}
    assert len(stamps) == 4
    assert main(command) == 2, "by one process: the same request"
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.mark.slow
def test_embed_by_several_processes_leaves_what_one_does(scans: Path, tmp_path: Path) -> None:
    rows = [f"site{k % 2}/{k}.nii.gz" for k in range(4)]
    source = table(scans / "list.csv", "image,slices", *(f"{row},1:1" for row in rows))
    how = ["--model", "promptseg-lite", "--engine", "eager", "--threads", "2", "--quiet"]
    command = ["embed", "-i", str(source), *how]
    assert main([*command, "-o", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert [line["encoded"] for line in read_results(tmp_path / "two")] == ["1"] * 4
    assert main([*command, "-o", str(tmp_path / "two")]) == 0, "found by content"
    assert [line["encoded"] for line in read_results(tmp_path / "two")] == ["0"] * 4
    flat = tmp_path / "flat"
    flat.mkdir()
    for row in rows:
        (scans / row).rename(flat / Path(row).name)
    folder = ["embed", "-i", str(flat), "--slices", "1:1", *how[:-1]]
    kept = ["-o", str(tmp_path / "two")]
    assert main([*folder, *kept, "--workers", "2"]) == 0
    assert len(list((tmp_path / "two").glob("*.safetensors"))) == 4


def test_embed_takes_a_share_of_a_folder(
    fake: BrightPredictor, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["embed", "-i", str(scans / "site0"), "-o", str(tmp_path / "kept")]
    assert main([*command, "--shard", "1/2"]) == 0
    assert "images: 2 done" in capsys.readouterr().out
    assert main([*command, "--shard", "5/5"]) == 0
    assert "images: 0 done" in capsys.readouterr().out
    assert main(command) == 0
    assert "images: 4 done" in capsys.readouterr().out


def test_embed_lets_several_images_share_batches(
    fake: BrightPredictor, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    once = fake.encode

    def encode(slices: Any, *given: Any, **more: Any) -> Any:
        batches.append(len(slices))
        return once(slices, *given, **more)

    monkeypatch.setattr(fake, "encode", encode)
    together = threading.Barrier(4)

    def read_together(*given: Any, **more: Any) -> Any:
        together.wait(60)
        return read(*given, **more)

    monkeypatch.setattr(embed, "read", read_together)
    rows = [f"site{k % 2}/{k}.nii.gz" for k in range(4)]
    source = table(scans / "list.csv", "image,slices", *(f"{row},1:1" for row in rows))
    out = tmp_path / "kept"
    command = ["embed", "-i", str(source), "-o", str(out), "--quiet"]
    assert main([*command, "--batch", "4"]) == 0
    assert [line["encoded"] for line in read_results(out)] == ["1"] * 4
    assert sum(batches) == 4
    assert len(batches) < 4, "of several images"
    batches.clear()
    monkeypatch.setattr(embed, "read", read)
    assert main(["embed", "-i", str(source), "-o", str(tmp_path / "alone"), "--quiet"]) == 0
    assert batches == [1, 1, 1, 1], "not where it does not pay"
    assert {p.name for p in out.glob("*.safetensors")} == {
        p.name for p in (tmp_path / "alone").glob("*.safetensors")
    }


@pytest.mark.parametrize("verb", ["embed", "convert"])
def test_one_input_needs_no_cluster(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    one = ["-i", str(scans / "site0" / "0.nii.gz"), "-o", str(tmp_path / "x.nrrd")]
    assert main([verb, *one, "--cluster", "auto"]) == 2
    assert "for --cluster" in capsys.readouterr().err
    assert not (tmp_path / "x.nrrd").exists()


def labelled(scans: Path, *more: str) -> Path:
    rows = [f"site{k % 2}/{k}.nii.gz,site{k % 2}/{k}_truth.nii.gz,p{k // 2}" for k in range(4)]
    return table(scans / "labelled.csv", "image,label,patient", *rows, *more)


def test_a_table_is_a_dataset(scans: Path) -> None:
    (scans / "dataset.json").write_text(json.dumps({"modality": "CT", "targets": {"1": "block"}}))
    (dataset,) = open_datasets(labelled(scans))
    assert [case.name for case in dataset.cases] == [f"site{k % 2}_{k}" for k in (0, 2, 1, 3)]
    assert [case.patient for case in dataset.cases] == ["p0", "p1", "p0", "p1"]
    image, truth = dataset.cases[0].load()
    assert image.modality == "CT"
    assert truth.segments[0].name == "block"
    source = labelled(scans, "site0/9.nii.gz,site0/0_truth.nii.gz,p9")
    with pytest.raises(InputError, match=r"row 5: no 9.nii.gz"):
        open_datasets(source)
    with pytest.raises(InputError, match="column `label`"):
        open_datasets(table(scans / "few.csv", "image", "site0/0.nii.gz"))
    with pytest.raises(InputError, match=r"'colour'"):
        open_datasets(table(scans / "odd.csv", "image,label,colour", "a.nii,b.nii,red"))
    with pytest.raises(InputError, match="site0_0"):
        open_datasets(labelled(scans, "site0/0.nii.gz,site0/0_truth.nii.gz,p9"))
    with pytest.raises(InputError, match=r"s3://bucket/a\.nii in row 1; copy them"):
        open_datasets(table(scans / "far.csv", "image,label", "s3://bucket/a.nii,site0/0.nii.gz"))


def test_evaluate_and_curate_take_a_table(
    fake: BrightPredictor, scans: Path, tmp_path: Path
) -> None:
    source, out = labelled(scans), tmp_path / "results"
    predictions = tmp_path / "predicted"
    predictions.mkdir()
    for k in range(4):
        mask = scans / f"site{k % 2}" / f"{k}_truth.nii.gz"
        (predictions / f"site{k % 2}_{k}.nii.gz").write_bytes(mask.read_bytes())
    command = ["evaluate", "-i", str(source), "-o", str(out), "--predictions", str(predictions)]
    assert main([*command, "--quiet"]) == 0
    lines = (out / "rows.csv").read_text().splitlines()
    assert len(lines) == 5
    assert {"site0_0", "site1_3"} <= {cell for line in lines for cell in line.split(",")}
    collection = tmp_path / "collection"
    assert main(["curate", "-i", str(source), "-o", str(collection), "--quiet"]) == 0
    manifest = (collection / "manifest.csv").read_text()
    assert "site0_2" in manifest or "site1_1" in manifest


def test_images_in_storage_are_read_as_files_are(
    fake: BrightPredictor, scans: Path, tmp_path: Path, memory: Any
) -> None:
    for k in range(4):
        memory.pipe(
            f"/bucket/s{k % 2}/{k}.nii.gz", (scans / f"site{k % 2}/{k}.nii.gz").read_bytes()
        )
    memory.pipe("/bucket/readme.txt", b"no image")
    address = Path("memory://bucket/s1/1.nii.gz")
    image = read(address)
    assert (image.voxels == read(scans / "site1/1.nii.gz").voxels).all()
    assert image.source.path == address
    out = tmp_path / "out"
    usual = ["-o", str(out), "--box", "5,3,21,18@1=block", "--no-overlay", "--quiet"]
    assert main(["segment", "-i", "memory://bucket", *usual]) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.nii.gz")) == [
        f"s{k % 2}/{k}.nii.gz" for k in (0, 2, 1, 3)
    ]
    facts = json.loads((out / "s1/1.nii.gz.json").read_text())
    assert facts["input"]["path"] == facts["command"]["input"] == "memory://bucket/s1/1.nii.gz"
    rows = ["image,box,output", 'memory://bucket/s0/0.nii.gz,"5,3,21,18@1",x.nii.gz']
    memory.pipe("/bucket/lists/cases.csv", "\n".join(rows).encode())
    listed = ["segment", "-i", "memory://bucket/lists/cases.csv", *usual]
    assert main(listed) == 0
    stamp = (out / "x.nii.gz").stat().st_mtime_ns
    assert main(listed) == 0
    assert (out / "x.nii.gz").stat().st_mtime_ns == stamp, "found done again"


def test_storage_that_fails_is_said(memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="not there"):
        read(Path("memory://bucket/none.nii.gz"))
    with pytest.raises(InputError, match="a folder in storage"):
        list(open_cases(Path("memory://nowhere"), SEGMENTING))
    memory.pipe("/bucket/a.mhd", b"")
    with pytest.raises(InputError, match="of one file in storage"):
        read(Path("memory://bucket/a.mhd"))
    with pytest.raises(OutputError, match="of this machine"):
        require_local(Path("s3://bucket/out"))
    assert storage_in("S3://bucket/a b.nii") == "s3://bucket/a b.nii"
    assert storage_in("C:/folder") is None
    assert main(["segment", "-i", "memory://bucket/a.mhd", "-o", "x.png", "--box", "1,1,5,5"]) == 2
    assert "convert it first" in capsys.readouterr().err


def dicom_json(*entries: dict[str, str]) -> Reply:
    listed = [{tag: {"Value": [value]} for tag, value in one.items()} for one in entries]
    kind = {"Content-Type": "application/dicom+json"}
    return Reply(headers=kind, body=json.dumps(listed).encode())


def test_what_a_server_finds_is_a_list() -> None:
    pytest.importorskip("requests")
    study, series, modality = "0020000D", "0020000E", "00080060"
    with stub() as server:
        server.replies["GET /studies"] = dicom_json({study: "1.2.1"}, {study: "1.2.2"})
        for number in "12":
            server.replies[f"GET /studies/1.2.{number}/series"] = dicom_json(
                {series: f"1.2.{number}.7", modality: "CT"},
                {series: f"1.2.{number}.8", modality: "SEG"},
            )
        address = Path(f"{server.address}/studies?ModalitiesInStudy=CT&PatientID=4*")
        assert is_many(address)
        cases = list(open_cases(address, SEGMENTING))
        assert [case.output for case in cases] == ["1.2.1/1.2.1.7.nii.gz", "1.2.2/1.2.2.7.nii.gz"]
        assert read_path(cases[1].image) == f"{server.address}/studies/1.2.2/series/1.2.2.7"
        assert "ModalitiesInStudy=CT&PatientID=4%2A" in server.asked[0][1]
        server.replies["GET /series"] = dicom_json(
            {study: "1.2.3", series: "1.2.3.4", modality: "MR"}
        )
        found = list(series_matching(f"{server.address}/series?Modality=MR"))
        assert [where.rpartition("/")[2] for where, _ in found] == ["1.2.3.4"]
        assert not is_many(Path(f"{server.address}/studies/1.2.3"))
        with pytest.raises(InputError, match="without limit"):
            list(series_matching(f"{server.address}/series?limit=3"))


def read_path(path: Path) -> str:
    from promptseg.formats.location import address_in

    return str(address_in(path))


def test_a_picture_in_storage(memory: Any) -> None:
    content = io.BytesIO()
    PilImage.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)).save(content, "png")
    memory.pipe("/pictures/a.png", content.getvalue())
    assert read(Path("memory://pictures/a.png")).kind == "picture"
