"""Lists of cases: the same masks as one by one, shares of a list, failures, kills, clashes."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from fakes import BrightPredictor
from promptseg import Segmenter
from promptseg.cli.main import main
from promptseg.datasets.case_list import CaseList
from promptseg.errors import InputError, ModelError, OutputError
from promptseg.formats import image_2d as picture
from promptseg.formats.masks import read_masks
from promptseg.formats.options import ReadOptions
from promptseg.jobs import image_task, listed
from promptseg.jobs.batch import segment_folder
from promptseg.jobs.listed import segment_list
from promptseg.jobs.results_table import read_results
from promptseg.segment.options import SegmentJob
from promptseg.work import Inline, Shard, memory
from promptseg.work.footprint import segmenting_bytes

Row = Mapping[str, str]


@pytest.fixture(autouse=True)
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(BrightPredictor()))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for k in range(6):
        pixels = np.full((30, 40), 20, np.uint8)
        pixels[5 + k : 15 + k, 10:25] = 220
        (folder / f"site{k % 2}").mkdir(parents=True, exist_ok=True)
        PilImage.fromarray(pixels).save(folder / f"site{k % 2}" / f"{k}.png")
    return folder


def write_list(path: Path, rows: Sequence[Row], between: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=between)
        writer.writeheader()
        writer.writerows(rows)
    return path


def usual(images: Path, **more: str) -> list[dict[str, str]]:
    return [
        {"image": f"site{k % 2}/{k}.png", "box": f"9,{4 + k},26,{16 + k}=lesion", **more}
        for k in range(6)
    ]


def job(source: Path, out: Path, **options: Any) -> SegmentJob:
    return SegmentJob(input=source, output=out, quiet=True, overlay=False, **options)


def area(path: Path) -> int:
    return sum(int(segment.crop.sum()) for segment in read_masks(path).segments)


def test_every_row_is_done_as_the_image_alone_would_be(images: Path, tmp_path: Path) -> None:
    rows = usual(images, **{"#patient": "A", "output": ""})
    rows[2]["output"] = "named/third.nii.gz"
    rows[3]["box"] = "9,4,26,16=first; 9,20,26,29=second"
    source = write_list(images / "cases.csv", rows)
    out = tmp_path / "out"
    outcome = segment_list(job(source, out))
    assert (outcome.tally.done, outcome.tally.failed) == (6, 0)
    places = {p.relative_to(out).as_posix() for p in out.rglob("*.png")}
    assert places == {f"site{k % 2}/{k}.png" for k in (0, 1, 3, 4, 5)}
    assert area(out / "site0/0.png") == area(out / "named/third.nii.gz") == 150
    assert [s.name for s in read_masks(out / "site1/3.png").segments] == ["first", "second"]
    lines = read_results(out)
    assert [line["row"] for line in lines] == list("123456")
    assert lines[3]["objects"] == "2"


def test_a_second_run_does_nothing_and_a_changed_row_is_done_anew(
    images: Path, tmp_path: Path
) -> None:
    rows, out = usual(images), tmp_path / "out"
    source = write_list(images / "cases.csv", rows)
    segment_list(job(source, out))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    table = (out / "results.csv").read_bytes()
    again = segment_list(job(source, out)).tally
    assert (again.skipped, again.done) == (6, 0)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == before
    assert (out / "results.csv").read_bytes() == table
    rows[4]["box"] = "0,0,39,29"
    write_list(source, rows)
    changed = segment_list(job(source, out, overwrite=False))
    assert (changed.tally.skipped, changed.tally.failed) == (5, 1), "it exists, from other prompts"
    assert "exists" in str(changed.failures[0][1])


@pytest.mark.parametrize("option", ["model", "start_model"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_weights_that_are_trained_again_into_the_same_file_are_other_ones(
    images: Path, tmp_path: Path, option: str, in_folder: bool
) -> None:
    source, out = write_list(images / "cases.csv", usual(images)[::2]), tmp_path / "out"
    weights = tmp_path / "run" / "model.safetensors"
    weights.parent.mkdir()
    (weights.parent / "card.json").write_text("{}")
    weights.write_bytes(b"first")
    chosen = {option: str(weights.parent if in_folder else weights)}

    def counts(**more: Any) -> tuple[int, int, int]:
        tally = segment_list(job(source, out, **chosen, **more)).tally
        return tally.skipped, tally.done, tally.failed

    def of_folder(**more: Any) -> tuple[int, int, int]:
        shared = job(images / "site0", tmp_path / "flat", box=("9,4,26,16",), **chosen, **more)
        found = segment_folder(shared)
        return found.skipped, len(found.provenance), len(found.failures)

    for count in (counts, of_folder):
        weights.write_bytes(b"first")
        assert count() == (0, 3, 0)
        weights.write_bytes(b"first")  # the same content, written anew
        assert count() == (3, 0, 0)
        weights.write_bytes(b"again")
        assert count() == (0, 0, 3), "they exist, by other weights"
        assert count(overwrite=True) == (0, 3, 0)
        assert count() == (3, 0, 0)


def test_a_model_by_its_name_is_asked_for_as_it_always_was(images: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"content")
    named = job(images, tmp_path / "out", model="promptseg-lite", start_model="mobile-sam")
    assert image_task.given_weights(named) == {}
    own = replace(named, refine=f"mobile-sam={weights}", model=str(tmp_path / "absent.pth"))
    assert image_task.given_weights(own) == {"refine": hashlib.sha256(b"content").hexdigest()}
    picture = images / "site0" / "0.png"
    for asked, more in ((named, set()), (own, {"weights_sha256"})):
        one = replace(asked, input=picture)
        with_hash = image_task.ImageTask(one, [], weights=image_task.given_weights(asked))
        assert set(with_hash.request()) - set(image_task.ImageTask(one, []).request()) == more


def test_shards_are_the_whole_and_do_not_overlap(images: Path, tmp_path: Path) -> None:
    source, out = write_list(images / "cases.csv", usual(images)), tmp_path / "out"
    for number in (1, 2, 3, 4):
        segment_list(job(source, out, shard=f"{number}/4"))
    assert sorted(p.name for p in out.glob("results*.csv")) == [
        f"results-{k}-of-4.csv" for k in (1, 2, 3, 4)
    ]
    assert [line["state"] for line in read_results(out)] == ["done"] * 6
    assert segment_list(job(source, out)).tally.skipped == 6
    counts = [sum(1 for _ in csv.reader(p.open())) - 1 for p in sorted(out.glob("results-*.csv"))]
    assert counts == [2, 2, 1, 1]


def test_sizes_of_all_objects_are_in_a_table(images: Path, tmp_path: Path) -> None:
    rows, out = usual(images), tmp_path / "out"
    rows[1]["box"] = "9,4,26,16=first; 9,20,26,29=second"
    rows[2]["output"] = ""
    for row in rows:
        row.setdefault("output", "")
    rows[3]["output"] = "named/fourth.png"
    (images / "site0" / "4.png").write_bytes(b"\x89PNG broken")
    source = write_list(images / "cases.csv", rows)

    def sizes(name: str = "measurements.csv") -> list[tuple[str, str, int]]:
        with (out / name).open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        return [(line["mask"], line["object"], int(line["voxels"])) for line in lines]

    segment_list(job(source, out))
    expected = [
        (place, segment.name, int(segment.crop.sum()))
        for place in (
            "site0/0.png",
            "site1/1.png",
            "site0/2.png",
            "named/fourth.png",
            "site1/5.png",
        )
        for segment in read_masks(out / place).segments
    ]
    assert sizes() == expected
    assert len(expected) == 6
    shutil.copy(images / "site0" / "2.png", images / "site0" / "4.png")
    segment_list(job(source, out))
    assert [mask for mask, _, _ in sizes()][-2:] == ["site0/4.png", "site1/5.png"]
    for number in (1, 2):
        segment_list(job(source, out, shard=f"{number}/2"))
    shares = sizes("measurements-1-of-2.csv") + sizes("measurements-2-of-2.csv")
    assert sorted(shares) == sorted(sizes())


def test_the_table_of_sizes_is_of_the_list_as_it_is_whatever_an_earlier_run_left(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, out = usual(images), tmp_path / "out"
    source = write_list(images / "cases.csv", rows)
    (images / "site0" / "4.png").rename(images / "away.png")
    assert segment_list(job(source, out)).tally.failed == 1
    (images / "away.png").rename(images / "site0" / "4.png")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    def names() -> list[str]:
        with (out / "measurements.csv").open(encoding="utf-8", newline="") as stream:
            return [line["mask"] for line in csv.DictReader(stream)]

    with monkeypatch.context() as patched:
        patched.setattr(listed, "write_measurements", killed)
        with pytest.raises(KeyboardInterrupt):
            segment_list(job(source, out))
    assert segment_list(job(source, out)).tally.skipped == 6
    assert names() == [f"site{k % 2}/{k}.png" for k in range(6)]
    write_list(source, rows[:2] + rows[3:])
    assert segment_list(job(source, out)).tally.skipped == 5
    assert names() == [f"site{k % 2}/{k}.png" for k in (0, 1, 3, 4, 5)]


def test_a_table_of_sizes_of_somebody_else_stays(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "measurements.csv").write_text("patient,volume\n1,2\n")
    with pytest.raises(OutputError, match=r"measurements\.csv of others"):
        segment_list(job(write_list(images / "cases.csv", usual(images)), out))
    assert [p.name for p in out.iterdir()] == ["measurements.csv"]


def test_a_folder_has_shards_too(images: Path, tmp_path: Path) -> None:
    folder, out = images / "site0", tmp_path / "out"
    words = ["segment", "-i", str(folder), "-o", str(out), "--box", "9,4,26,16", "--quiet"]
    assert main([*words, "--shard", "2/2", "--no-overlay"]) == 0
    assert [p.name for p in out.glob("*.png")] == ["2.png"]
    assert [p.name for p in out.glob("*.csv")] == ["measurements-2-of-2.csv"]
    assert main([*words, "--shard", "3/2"]) == 2


def test_what_fails_is_listed_and_the_rest_is_done(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, out = usual(images), tmp_path / "out"
    (images / "site0" / "2.png").write_bytes(b"\x89PNG broken")
    rows[3]["box"] = "1,2,three"
    rows[5]["image"] = "site1/gone.png"
    outcome = segment_list(job(write_list(images / "cases.csv", rows), out))
    assert (outcome.tally.done, outcome.tally.failed) == (3, 3)
    assert "1 of the 6 images are not there" in caplog.text, "before any work"
    failed = {line["row"]: line["error"] for line in read_results(out) if line["state"] == "failed"}
    assert set(failed) == {"3", "4", "6"}
    assert "three" in failed["4"]
    (images / "site0" / "2.png").unlink()
    shutil.copy(images / "site0" / "4.png", images / "site0" / "2.png")
    assert segment_list(job(images / "cases.csv", out)).tally.skipped == 3
    states = {line["row"]: line["state"] for line in read_results(out)}
    assert states == {
        "1": "done",
        "2": "done",
        "3": "done",
        "4": "failed",
        "5": "done",
        "6": "failed",
    }


@pytest.mark.parametrize("shards", [(None,), ("1/2", "2/2")])
def test_what_had_failed_and_left_the_list_is_no_failure(
    images: Path, tmp_path: Path, shards: tuple[str | None, ...]
) -> None:
    rows, out = usual(images), tmp_path / "out"
    broken = images / "site0" / "2.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"\x89PNG broken")

    def run(rows: list[dict[str, str]], *shards: str | None) -> dict[str, str]:
        source = write_list(images / "cases.csv", rows)
        for shard in shards:
            segment_list(job(source, out, shard=shard))
        return {Path(line["image"]).name: line["state"] for line in read_results(out)}

    every = {f"{k}.png": "failed" if k == 2 else "done" for k in range(6)}
    assert run(rows, *shards) == every
    assert run(rows, None) == every, "tried again"
    left = [row for row in rows if "2.png" not in row["image"]]
    assert run(left, None) == {name: "done" for name in every if name != "2.png"}
    size = (out / "results.csv").stat().st_size
    assert run(left, None) == {name: "done" for name in every if name != "2.png"}
    assert (out / "results.csv").stat().st_size == size, "told once"
    for path in (out / "site1").glob("3.png*"):  # which is row 3 now
        path.unlink()
    assert run(left, None) == {name: "done" for name in every if name != "2.png"}
    assert len(read_results(out)) == 5
    broken.write_bytes(whole)
    assert run(rows, None) == dict.fromkeys(every, "done")


def test_a_case_is_one_whether_its_paths_are_relative_or_not(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = usual(images)[:1]
    rows[0]["image"] = "gone.png"
    write_list(images / "cases.csv", rows)
    monkeypatch.chdir(tmp_path)
    segment_list(job(Path("in/cases.csv"), Path("out")))
    segment_list(job(images / "cases.csv", tmp_path / "out"))
    assert [line["row"] for line in read_results(Path("out"))] == ["1"]


def test_prompts_and_masks_from_columns(images: Path, tmp_path: Path) -> None:
    prompts = {"objects": [{"name": "a", "boxes": [{"xyxy": [9, 4, 26, 16]}]}]}
    (images / "p.json").write_text(json.dumps(prompts))
    label = np.zeros((30, 40), np.uint8)
    label[6:14, 11:24] = 1
    PilImage.fromarray(label).save(images / "label.png")
    rows = [
        {"image": "site0/0.png", "prompts": "p.json", "mask": "", "output": "a.png"},
        {"image": "site0/0.png", "prompts": "", "mask": "label.png", "output": "b.png"},
    ]
    out = tmp_path / "out"
    outcome = segment_list(job(write_list(images / "cases.tsv", rows, "\t"), out, force=True))
    assert outcome.tally.done == 2, outcome.failures
    assert area(out / "a.png") == 150
    assert area(out / "b.png") == 8 * 13, "the bright part of the label's own box"


def test_parquet_is_read_as_csv_is(images: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{**row, "#n": k} for k, row in enumerate(usual(images))]
    parquet.write_table(pyarrow.Table.from_pylist(rows), images / "cases.parquet")
    write_list(images / "cases.csv", [{**row, "#n": str(row["#n"])} for row in rows])
    assert list(CaseList(images / "cases.parquet")) == list(CaseList(images / "cases.csv"))
    (images / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="Parquet"):
        CaseList(images / "torn.parquet")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"image": "a.png", "boxes": "1,2,3,4"}], "did you mean box"),
        ([{"image": "a.png", "patient": "x"}], "#patient"),
        ([{"picture": "a.png"}], "picture"),
        ([{"image": "", "box": "1,2,3,4"}], "an image in every row"),
        ([{"image": "a.png"}, {"image": "a.png"}], "for rows 1 and 2"),
        ([{"image": "a.png"}, {"image": "b.png", "output": "A.PNG"}], "for rows 1 and 2"),
        ([{"image": "a.png", "output": "../a.png"}], "outputs below"),
        ([{"image": "out/a.png", "output": "a.png"}], "not inputs too"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_before_any_work(
    tmp_path: Path, rows: list[dict[str, str]], said: str
) -> None:
    head = dict.fromkeys(name for row in rows for name in row)
    source = write_list(
        tmp_path / "cases.csv", [{**dict.fromkeys(head, ""), **row} for row in rows]
    )
    with pytest.raises((InputError, OutputError), match=said):
        segment_list(job(source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_images_beside_the_folder_of_the_list_have_their_masks_in_the_output(
    images: Path, tmp_path: Path
) -> None:
    rows = [{**row, "image": f"../{row['image']}"} for row in usual(images)]
    (images / "lists").mkdir()
    source, out = write_list(images / "lists" / "cases.csv", rows), tmp_path / "out"
    mine = [images / "site0" / "2.seg.nrrd", tmp_path / "site0" / "2.seg.nrrd"]
    mine[1].parent.mkdir()
    for path in mine:
        path.write_text("mine")
    before = sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(out))
    outcome = segment_list(job(source, out, suffix=".seg.nrrd", overwrite=True))
    assert outcome.tally.done == 6
    assert sorted(p.name for p in out.glob("*.nrrd")) == [f"{k}.seg.nrrd" for k in range(6)]
    assert sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(out)) == before
    assert {path.read_text() for path in mine} == {"mine"}


def test_a_column_that_is_there_twice_is_refused(images: Path, tmp_path: Path) -> None:
    source = images / "cases.csv"
    source.write_text('image,box,box\nsite0/0.png,"9,4,26,16","9,20,26,29"\n')
    with pytest.raises(InputError, match="`box` 2 times"):
        segment_list(job(source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    source.write_text("image,#by,#by\nsite0/0.png,a,b\n")
    assert [case.image.name for case in CaseList(source)] == ["0.png"], "left alone"
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = [pyarrow.array([text]) for text in ("site0/0.png", "9,4,26,16", "9,20,26,29")]
    twice = pyarrow.Table.from_arrays(columns, names=["image", "box", "box"])
    parquet.write_table(twice, images / "cases.parquet")
    with pytest.raises(InputError, match="`box` 2 times"):
        CaseList(images / "cases.parquet")


def test_rows_with_loose_commas_and_other_encodings_are_said(tmp_path: Path) -> None:
    source = tmp_path / "cases.csv"
    source.write_text("image,box\na.png,1,2,3,4\n")
    with pytest.raises(InputError, match="in quotes"):
        segment_list(job(source, tmp_path / "out"))
    source.write_text("\ufeffimage;box\na.png;1,2,3,4\n", encoding="utf-8")
    assert [case.options for case in CaseList(source)] == [{"box": "1,2,3,4"}]
    source.write_bytes(b"image\n\xff\xfe.png\n")
    with pytest.raises(InputError, match="UTF-8"):
        segment_list(job(source, tmp_path / "out"))
    source.write_text("image,box\n")
    with pytest.raises(InputError, match="without any"):
        segment_list(job(source, tmp_path / "out"))


def test_what_is_said_for_one_image_belongs_into_a_column(images: Path, tmp_path: Path) -> None:
    source = write_list(images / "cases.csv", usual(images))
    with pytest.raises(InputError, match="column"):
        segment_list(job(source, tmp_path / "out", mask=images / "label.png"))
    with pytest.raises(ModelError, match="by name"):
        segment_list(job(source, tmp_path / "out", model="auto"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.csv").write_text("mine\n")
    with pytest.raises(OutputError, match="of others"):
        segment_list(job(source, tmp_path / "out"))


def test_a_line_that_a_kill_has_torn_is_taken_away(images: Path, tmp_path: Path) -> None:
    source, out = write_list(images / "cases.csv", usual(images)), tmp_path / "out"
    segment_list(job(source, out, shard="1/1"))
    table = out / "results.csv"
    table.write_bytes(table.read_bytes()[:-9])
    for path in (out / "site1").glob("5.png*"):
        path.unlink()
    segment_list(job(source, out))
    assert [line["state"] for line in read_results(out)] == ["done"] * 6
    assert len(table.read_text().splitlines()) == 7


def test_a_long_list_is_read_as_it_is_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is ahead of the work stays on the disk."""
    source = tmp_path / "cases.csv"
    with source.open("w") as stream:
        stream.write("image,box\n")
        stream.writelines(f'{k}.png,"1,2,3,4"\n' for k in range(20_000))
    ahead: list[int] = []

    class Stopping(Inline):
        def each(self, tasks: Any) -> Any:
            ahead.append(next(iter(tasks)).row)
            return iter(())

    monkeypatch.setattr(listed.Segmenting, "executor", lambda _: Stopping(lambda: None))
    outcome = segment_list(job(source, tmp_path / "out"))
    assert ahead == [1]
    assert outcome.tally.done == 0


def test_the_command_says_how_it_went(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = usual(images)
    rows[0]["box"] = ""
    source, out = write_list(images / "cases.csv", rows), tmp_path / "out"
    assert main(["segment", "-i", str(source), "-o", str(out)]) == 2
    said = capsys.readouterr()
    assert "0 done already, 5 segmented, 1 failed" in said.out
    assert "prompts for the image" in said.err
    assert main(["segment", "-i", str(source), "-o", str(out), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["skipped"] == 5


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", ""])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="3/8"):
        Shard.parse(text)


def test_a_full_disk_ends_the_list_with_one_error_and_the_same_command_goes_on(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write_list(images / "cases.csv", usual(images)), tmp_path / "out"
    once, written = picture.write, []

    def full(segmentation: Any, path: Path, layers: bool) -> None:
        if len(written) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        once(segmentation, path, layers)

    monkeypatch.setattr(picture, "write", full)
    command = ["segment", "-i", str(source), "-o", str(out), "--no-overlay", "--quiet"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("no space left on the disk") == 1
    assert "the same command goes on" in said
    assert [line["state"] for line in read_results(out)] == ["done", "done"]
    monkeypatch.setattr(picture, "write", once)
    listed = segment_list(job(source, out))
    assert (listed.tally.skipped, listed.tally.done, listed.tally.failed) == (2, 4, 0)


def test_a_case_too_large_for_the_memory_is_set_aside_with_what_it_needs(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PilImage.fromarray(np.zeros((3000, 3000), np.uint8)).save(images / "site0" / "2.png")
    rows = usual(images)
    needs = [segmenting_bytes(images / row["image"], ReadOptions()) for row in rows]
    assert needs[2] > needs[0] + 2 * 9_000_000
    monkeypatch.setattr(memory, "available_bytes", lambda: (needs[0] + needs[2]) // 2)
    out = tmp_path / "out"
    listed = segment_list(job(write_list(images / "cases.csv", rows), out))
    assert (listed.tally.done, listed.tally.failed) == (5, 1)
    assert f"about {needs[2] / 2**30:.1f} GiB" in read_results(out)[2]["error"]
