"""Shares of an evaluation and of a curation: together what one run leaves, and nothing twice."""

from __future__ import annotations

import csv
import pickle
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest

from curate import curate_makers as make
from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.curate.options import CurateJob
from promptseg.curate.parts import Part
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.evaluate.options import EvaluateJob
from promptseg.inference.predictor import Predictor
from promptseg.jobs.curate import curate_share
from promptseg.jobs.evaluate import evaluate, evaluate_share
from promptseg.jobs.evaluation_setup import begin
from promptseg.jobs.results_table import read_results
from promptseg.work import Inline, memory

CASES = 7


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A table of seven scans with labels, and masks of a tool that misses a row of voxels."""
    folder = tmp_path / "scans"
    for place in (folder, tmp_path / "masks"):
        place.mkdir()
    rows = ["image,label,patient"]
    for k in range(CASES):
        labels = np.zeros((3, 24, 30), np.uint8)
        labels[:, 4 + k : 14 + k, 6:20] = 1
        values = np.random.default_rng(k).integers(0, 60, labels.shape) + 150 * labels
        found = labels.copy()
        found[:, 4 + k] = 0
        for path, voxels in (
            (folder / f"{k}.nii.gz", values.astype(np.int16)),
            (folder / f"{k}_truth.nii.gz", labels),
            (tmp_path / "masks" / f"{k}.nii.gz", found),
        ):
            nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), path)
        rows.append(f"{k}.nii.gz,{k}_truth.nii.gz,p{k}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def scoring(source: Path, out: Path, **more: Any) -> EvaluateJob:
    masks = source.parent.parent / "masks"
    given = {"predictions": masks, "quiet": True, "pictures": False, **more}
    return EvaluateJob(input=source, output=out, **given)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "rows.csv").open(newline="") as stream:
        return [{**row, "seconds": ""} for row in csv.DictReader(stream)]


def test_shares_of_an_evaluation_are_the_whole(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    for number in (2, 3, 1):
        listed = evaluate_share(scoring(labelled, out, shard=f"{number}/3"))
        assert (listed.tally.skipped, listed.tally.failed) == (0, 0)
        assert listed.table == out / f"results-{number}-of-3.csv"
        assert not (out / "rows.csv").exists(), "of all shares"
    lines = read_results(out)
    assert [line["row"] for line in lines] == [str(k) for k in range(1, CASES + 1)]
    assert sorted(line["case"] for line in lines) == [str(k) for k in range(CASES)]
    assert {(line["state"], line["rows"]) for line in lines} == {("done", "1")}
    assert "estimated end" not in (out / "progress-3-of-3.html").read_text()
    again = evaluate_share(scoring(labelled, out, shard="2/3")).tally
    assert (again.skipped, again.done) == (2, 0)

    whole = evaluate(scoring(labelled, out))
    assert (whole.skipped, whole.done) == (CASES, 0), "the shares have done it"
    alone = evaluate(scoring(labelled, tmp_path / "alone"))
    assert (alone.skipped, alone.done) == (0, CASES)
    assert rows_of(out) == rows_of(tmp_path / "alone")
    assert len(rows_of(out)) == CASES
    assert not (tmp_path / "alone" / "results.csv").exists()


def test_a_case_goes_to_one_share_with_all_that_is_done_to_it(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each share could get one model, and one of them the slow one."""
    predictor = BrightPredictor(card="mobile-sam")
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)
    out = tmp_path / "out"
    how = {"predictions": None, "model": ("mobile-sam",), "protocol": ("2d", "3d")}
    job = scoring(labelled, out, shard="1/4", max_slices=1, **how)
    evaluate_share(job)
    lines = read_results(out)
    assert [(line["case"], line["protocol"]) for line in lines] == [
        ("0", "2d"),
        ("0", "3d"),
        ("4", "2d"),
        ("4", "3d"),
    ]
    assert [line["row"] for line in lines] == ["1", "2", "9", "10"]


def test_a_case_that_fails_is_in_the_share_s_table_and_in_the_whole(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (labelled.parent / "2.nii.gz").write_bytes(b"no scan")
    out, masks = tmp_path / "out", str(tmp_path / "masks")
    command = ["evaluate", "-i", str(labelled), "-o", str(out), "--predictions", masks]
    command += ["--keep-going", "--no-pictures"]
    assert main([*command, "--shard", "1/2"]) == 2
    said = capsys.readouterr()
    assert "0 done already, 3 scored, 1 failed" in said.out
    assert "without --shard" in said.out
    assert "2.nii.gz" in said.err
    assert main([*command, "--shard", "2/2"]) == 0
    failed = [line for line in read_results(out) if line["state"] == "failed"]
    assert [line["case"] for line in failed] == ["2"]
    assert main(command) == 2
    assert {row["case"] for row in rows_of(out)} == {"0", "1", "3", "4", "5", "6"}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"overwrite": True}, "--overwrite"),
        ({"seeds": 3}, "one seed for --shard"),
        ({"protocol": ("3d", "interactive-3d")}, "interactive-3d"),
        ({"shard": "3/2"}, "3/8"),
    ],
)
def test_what_a_share_cannot_do_is_refused_before_any_work(
    labelled: Path, tmp_path: Path, how: dict[str, Any], said: str
) -> None:
    job = scoring(labelled, tmp_path / "out", **{"shard": "1/2", **how})
    with pytest.raises(InputError, match=said):
        evaluate_share(job)
    with pytest.raises(InputError, match="evaluate_share"):
        evaluate(job)
    assert not (tmp_path / "out").exists()


def test_shares_with_other_options_are_never_mixed_in(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate_share(scoring(labelled, out, shard="1/2"))
    with pytest.raises(OutputError, match="tolerance"):
        evaluate_share(scoring(labelled, out, shard="2/2", tolerance=5.0))
    (out / "run.json").unlink()
    with pytest.raises(OutputError, match=r"run\.json"):
        evaluate_share(scoring(labelled, out, shard="2/2"))


def test_beginning_anew_takes_the_tables_of_shares_away(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate_share(scoring(labelled, out, shard="1/2"))
    evaluate(scoring(labelled, out, tolerance=5.0, overwrite=True))
    assert not list(out.glob("results*")) + list(out.glob("progress*"))
    assert len(rows_of(out)) == CASES
    (out / "results-1-of-2.csv").write_text("mine\n")
    with pytest.raises(OutputError, match="others"):
        evaluate_share(scoring(labelled, out, shard="1/2", tolerance=5.0))


def test_a_case_too_large_for_the_memory_is_set_aside(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((3, 600, 600), np.int16)
    large[:, 5:30, 5:30] = 150
    nib.save(nib.Nifti1Image(large.T, np.eye(4)), labelled.parent / "3.nii.gz")
    nib.save(
        nib.Nifti1Image((large > 0).astype(np.uint8).T, np.eye(4)),
        labelled.parent / "3_truth.nii.gz",
    )
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000_000)
    listed = evaluate_share(scoring(labelled, tmp_path / "out", shard="1/1", keep_going=True))
    assert (listed.tally.done, listed.tally.failed) == (CASES - 1, 1)
    assert "GiB" in read_results(tmp_path / "out")[3]["error"]


def test_tasks_do_not_carry_all_cases_along(labelled: Path, tmp_path: Path) -> None:
    """They travel to other machines, one by one."""
    begun = begin(scoring(labelled, tmp_path / "out"), {})
    sizes = [len(pickle.dumps(task)) for task in begun.plan.tasks()]
    assert len(sizes) == CASES
    (alone,) = begin(scoring(labelled, tmp_path / "one", max_cases=1), {}).plan.tasks()
    assert max(sizes) < len(pickle.dumps(alone)) + 100


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    for k, name in enumerate("abcde"):
        make.pictures(tmp_path / "data" / name, seed=10 * k)
    make.volumes(tmp_path / "data" / "ct")
    return tmp_path / "data"


def curating(source: Path, out: Path, **more: Any) -> CurateJob:
    return CurateJob(input=(source,), output=out, quiet=True, **more)


def test_shares_of_a_curation_are_the_whole_byte_for_byte(datasets: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    for number in (2, 1):
        listed = curate_share(curating(datasets, out, shard=f"{number}/2"))
        assert (listed.tally.done, listed.tally.failed) == (3, 0)
        assert not (out / "collection.json").exists()
    lines = read_results(out)
    assert [line["row"] for line in lines] == list("123456")
    assert {line["state"] for line in lines} == {"done"}
    assert [int(line["samples"]) for line in lines] == [2, 2, 2, 8, 2, 2]
    again = curate_share(curating(datasets, out, shard="1/2")).tally
    assert (again.skipped, again.done) == (3, 0)
    make.curated(datasets, output=out)
    make.curated(datasets, output=tmp_path / "alone")
    assert contents(out) == contents(tmp_path / "alone"), "the tables of the shares are gone"


def test_what_a_share_of_a_curation_cannot_do(datasets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="--overwrite; name another folder"):
        curate_share(curating(datasets, out, shard="1/2", overwrite=True))
    assert not out.exists()
    curate_share(curating(datasets, out, shard="1/2"))
    with pytest.raises(OutputError, match="min_pixels"):
        curate_share(curating(datasets, out, shard="2/2", min_pixels=50))
    with pytest.raises(InputError, match="curate_share"):
        make.curated(datasets, output=out, shard="1/2")


def test_the_command_curates_a_share(
    datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["curate", "-i", str(datasets), "-o", str(out)]
    assert main([*command, "--shard", "1/2"]) == 0
    assert "3 parts converted, 0 failed" in capsys.readouterr().out
    assert main([*command, "--shard", "1/2", "--json"]) == 0
    assert '"skipped": 3' in capsys.readouterr().out
    shutil.rmtree(datasets / "ct")
    shutil.rmtree(datasets / "e")
    assert main(command) == 0, "other data: parts that are gone are no longer in it"
    assert "8 samples" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["evaluate", "curate"])
def test_without_ray_it_says_what_to_install(
    labelled: Path,
    tmp_path: Path,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    more = ["--predictions", str(tmp_path / "masks")] if verb == "evaluate" else []
    command = [verb, "-i", str(labelled), "-o", str(tmp_path / "out"), "--quiet", *more]
    assert main([*command, "--cluster", "auto"]) == 2
    assert "promptseg[ray]" in capsys.readouterr().err


class Elsewhere(Inline):
    """In place of a cluster: all that it is given travels first."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, address: str, make: Any, make_hand: Any = None, **how: Any) -> None:
        assert address == "head:1"
        self.asked.append(how)
        look = pickle.loads(pickle.dumps(how["look"]))
        assert look is None or look() == look()
        super().__init__(lambda: pickle.loads(pickle.dumps(make))(1))

    def each(self, tasks: Iterable[Any]) -> Iterator[Any]:
        known = list(tasks)
        came = super().each(pickle.loads(pickle.dumps(task)) for task in known)
        for task, (_, result, error) in zip(known, came, strict=True):
            yield task, pickle.loads(pickle.dumps(result)), pickle.loads(pickle.dumps(error))


def test_machines_of_a_cluster_leave_what_one_process_does(
    labelled: Path, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but Ray itself, which tests/jobs/test_cluster_verbs.py starts."""
    monkeypatch.setattr("promptseg.work.cluster.OnCluster", Elsewhere)
    (labelled.parent / "2.nii.gz").write_bytes(b"no scan")
    there = {"cluster": "head:1", "workers": 3}
    out, alone = tmp_path / "out", tmp_path / "alone"
    done = evaluate(scoring(labelled, out, keep_going=True, threads=1, **there))
    assert (done.done, len(done.failed)) == (CASES - 1, 1)
    assert Elsewhere.asked[-1]["workers"] == 3
    evaluate(scoring(labelled, alone, keep_going=True, threads=1))
    assert rows_of(out) == rows_of(alone)
    lines = read_results(out)
    assert [line["state"] for line in lines].count("failed") == 1
    assert len(lines) == CASES
    make.curated(datasets, output=tmp_path / "collected", **there)
    make.curated(datasets, output=tmp_path / "here")
    assert contents(tmp_path / "collected") == contents(tmp_path / "here")


def test_a_part_that_a_cluster_could_not_do_is_said_and_the_others_stay(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptseg.work.cluster.OnCluster", Elsewhere)
    do = Part.do

    def failing(part: Part, context: None = None) -> dict[str, Any]:
        if part.name.startswith("c-"):
            raise PromptsegError("a worker process that stays alive", "one that died twice")
        return do(part)

    monkeypatch.setattr(Part, "do", failing)
    out = tmp_path / "out"
    with pytest.raises(PromptsegError, match="died twice"):
        make.curated(datasets, output=out, cluster="head:1")
    assert [line["state"] for line in read_results(out)].count("done") == 5
    assert not (out / "collection.json").exists()
    monkeypatch.setattr(Part, "do", do)
    make.curated(datasets, output=out, cluster="head:1")
    make.curated(datasets, output=tmp_path / "here")
    assert contents(out) == contents(tmp_path / "here")
