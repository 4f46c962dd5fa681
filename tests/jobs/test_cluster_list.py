"""A list on a Ray cluster that loses a process and a node: the same bits as one process, each once.

`PROMPTSEG_CLUSTER_SCANS` says how many scans (300 if it is not set).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.formats.files import read_provenance_beside
from promptseg.jobs.doers import weights_here
from promptseg.jobs.listed import segment_list
from promptseg.jobs.results_table import read_results
from promptseg.segment.options import SegmentJob
from ray_clusters import kill_one, lose_a_node, two_nodes

SCANS = int(os.environ.get("PROMPTSEG_CLUSTER_SCANS", "300"))
BROKEN = (min(5, SCANS // 3), SCANS // 2, SCANS - 3)


def scans(folder: Path, count: int) -> Path:
    """Small volumes with a bright block each, and the list of them; the last two are alike."""
    folder.mkdir()
    rows = ["image,box,output"]
    for k in range(count):
        kind = min(k, count - 2)
        values = np.random.default_rng(kind).normal(50, 10, (1, 40, 48)).astype(np.int16)
        top = 5 + kind % 12
        values[:, top : top + 14, 10:28] += 120
        path = folder / f"{k}.nii.gz"
        nib.save(nib.Nifti1Image(values.T, np.eye(4)), path)
        if k in BROKEN:
            path.write_bytes(path.read_bytes()[:100])
        rows.append(f'{k}.nii.gz,"9,{top - 1},28,{top + 14}@0=block",{k % 7}/{k}.nii.gz')
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def job(source: Path, out: Path, **more: Any) -> SegmentJob:
    how: dict[str, Any] = {
        "model": "promptseg-lite",
        "engine": "eager",
        "device": "cpu",
        "threads": 1,
    }
    return SegmentJob(input=source, output=out, quiet=True, overlay=False, **how, **more)


def masks(out: Path) -> dict[str, str]:
    found = {}
    for path in sorted(out.rglob("*.nii.gz")):
        voxels = np.asarray(nib.load(path).dataobj)
        found[path.relative_to(out).as_posix()] = hashlib.sha256(voxels.tobytes()).hexdigest()
    return found


def opinions(out: Path) -> dict[str, Any]:
    """What the model thinks of its masks, to the last digit, and their sizes."""
    return {
        path.relative_to(out).as_posix(): read_provenance_beside(path)["objects"]
        for path in sorted(out.rglob("*.nii.gz"))
    }


@pytest.mark.cluster
@pytest.mark.slow
def test_a_list_survives_a_process_and_a_node_that_die(tmp_path: Path) -> None:
    source = scans(tmp_path / "in", SCANS)
    alone, out = tmp_path / "alone", tmp_path / "out"
    segment_list(job(source, alone))
    with two_nodes() as cluster:
        lost: list[str] = []

        def kill() -> None:
            for share, what in ((4, "process"), (2, "node")):
                while len(read_results(out)) < SCANS // share:
                    time.sleep(0.1)
                if what == "process":
                    assert kill_one("Holder", cluster)
                else:
                    lose_a_node(cluster)
                lost.append(what)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        asked = job(source, out, cluster=cluster.address, workers=4)
        listed = segment_list(asked)
        killer.join(10)
        assert lost == ["process", "node"]
        assert (listed.tally.done, listed.tally.failed) == (SCANS - 3, 3)
        lines = read_results(out)
        failed = {int(line["row"]) - 1 for line in lines if line["state"] == "failed"}
        assert failed == set(BROKEN)
        assert len((out / "results.csv").read_text().splitlines()) == SCANS + 1, "each once"
        assert masks(out) == masks(alone)
        assert opinions(out) == opinions(alone)
        assert len(masks(out)) == SCANS - 3
        assert (
            list(masks(out).values()).count(masks(out)[f"{(SCANS - 1) % 7}/{SCANS - 1}.nii.gz"])
            >= 2
        )

        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz*")}
        again = segment_list(asked)
        assert (again.tally.skipped, again.tally.done, again.tally.failed) == (SCANS - 3, 0, 3)
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz*")} == before
        page = (out / "progress.html").read_text()
        assert f"{BROKEN[0]}.nii.gz" in page
        assert "done before" in page


@pytest.mark.cluster
@pytest.mark.slow
def test_the_command_takes_a_list_and_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(tmp_path / "in", 8)
    monkeypatch.chdir(tmp_path)
    source, broken = Path("in/cases.csv"), len({k for k in BROKEN if k < 8})
    with two_nodes() as cluster:
        usual = ["--model", "promptseg-lite", "--engine", "eager", "--threads", "1", "--no-overlay"]
        on = ["--cluster", cluster.address, "--workers", "2", "--quiet", *usual]
        out = Path("out")
        assert main(["segment", "-i", str(source), "-o", str(out), *on]) == (2 if broken else 0)
        assert len(masks(out)) == 8 - broken
        folder = ["segment", "-i", "in", "-o", "of folder", *on]
        main([*folder, "--box", "9,8,28,20@0=block"])
        assert len(masks(Path("of folder"))) == len(masks(out))
        nowhere = ["--model", f"mobile-sam={tmp_path / 'none.pt'}"]
        assert main(["segment", "-i", str(source), "-o", str(tmp_path / "b"), *on, *nowhere]) == 2
        assert "copy the file there" in capsys.readouterr().err


def test_one_image_needs_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 2), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    given = [
        "-i",
        str(tmp_path / "a.nii.gz"),
        "-o",
        str(tmp_path / "b.nii.gz"),
        "--box",
        "1,1,2,2@0",
    ]
    assert main(["segment", *given, "--cluster", "auto"]) == 2
    assert "a folder or list for --cluster" in capsys.readouterr().err


def test_a_list_with_clashes_is_refused_before_a_cluster_is_looked_for(tmp_path: Path) -> None:
    source = tmp_path / "cases.csv"
    source.write_text('image,box,output\na.png,"1,2,3,4",o.png\nb.png,"1,2,3,4",o.png\n')
    with pytest.raises(OutputError, match="for rows 1 and 2"):
        segment_list(job(source, tmp_path / "out", cluster="nowhere:1"))


@pytest.mark.cluster
@pytest.mark.slow
def test_no_cluster_there_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    if not os.environ.get("PROMPTSEG_CLUSTER_TESTS"):
        pytest.skip("PROMPTSEG_CLUSTER_TESTS is not set")
    source = scans(tmp_path / "in", 2)
    with pytest.raises(InputError, match="ray start --head"):
        segment_list(job(source, tmp_path / "out", cluster="auto"))


def test_weights_of_machines_can_be_compared(tmp_path: Path) -> None:
    assert len(weights_here("promptseg-lite")) == 64
    (tmp_path / "model.pth").write_bytes(b"weights")
    assert (
        weights_here(f"mobile-sam={tmp_path / 'model.pth'}")
        == hashlib.sha256(b"weights").hexdigest()
    )
