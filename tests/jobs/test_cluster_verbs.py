"""Evaluation and curation on a Ray cluster: what one process leaves, whatever dies meanwhile."""

from __future__ import annotations

import csv
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from curate import curate_makers as make
from promptseg.curate.options import CurateJob
from promptseg.evaluate.options import EvaluateJob
from promptseg.jobs.curate import curate
from promptseg.jobs.evaluate import evaluate
from promptseg.jobs.results_table import read_results
from ray_clusters import kill_one, lose_a_node, two_nodes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CASES = 40


def pictures(folder: Path) -> Path:
    """Pictures with a bright block each, one of them damaged."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k in range(CASES):
        labels = np.zeros((48, 64), np.uint8)
        labels[5 + k % 20 : 20 + k % 20, 10:30] = 1
        values = np.random.default_rng(k).integers(0, 60, labels.shape) + 150 * labels
        PilImage.fromarray(values.astype(np.uint8)).save(folder / "images" / f"{k}.png")
        PilImage.fromarray(labels).save(folder / "masks" / f"{k}.png")
    (folder / "images" / "7.png").write_bytes(b"\x89PNG broken")
    return folder


def scoring(data: Path, out: Path, **more: Any) -> EvaluateJob:
    how: dict[str, Any] = {"model": ("promptseg-lite",), "device": "cpu", "threads": 1}
    return EvaluateJob(
        input=data, output=out, quiet=True, pictures=False, keep_going=True, **how, **more
    )


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "rows.csv").open(newline="") as stream:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(stream)]
    return sorted(rows, key=lambda row: (row["case"], row["protocol"], row["prompt"]))


def test_an_evaluation_survives_a_process_and_a_node_that_die(tmp_path: Path) -> None:
    data = pictures(tmp_path / "us")
    alone, out = tmp_path / "alone", tmp_path / "out"
    evaluate(scoring(data, alone))
    with two_nodes() as cluster:
        lost: list[str] = []

        def kill() -> None:
            for share, what in ((4, "process"), (2, "node")):
                while not out.exists() or len(read_results(out)) < CASES // share:
                    time.sleep(0.1)
                if what == "process":
                    assert kill_one("Holder", cluster)
                else:
                    lose_a_node(cluster)
                lost.append(what)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        asked = scoring(data, out, cluster=cluster.address, workers=4)
        done = evaluate(asked)
        killer.join(10)
        assert lost == ["process", "node"]
        assert (done.done, len(done.failed)) == (CASES - 1, 1)
        lines = read_results(out)
        assert [line["case"] for line in lines if line["state"] == "failed"] == ["7"]
        assert len(lines) == len((out / "results.csv").read_text().splitlines()) - 1 == CASES
        assert rows_of(out) == rows_of(alone)
        again = evaluate(asked)
        assert (again.skipped, again.done) == (CASES - 1, 0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_collection_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for k, name in enumerate("abcdefgh"):
        make.pictures(data / name, seed=10 * k)
    make.volumes(data / "ct")
    curate(CurateJob(input=(data,), output=tmp_path / "alone", quiet=True))
    with two_nodes() as cluster:
        asked = CurateJob(
            input=(data,),
            output=tmp_path / "out",
            quiet=True,
            cluster=cluster.address,
            workers=3,
        )
        curate(asked)
        assert contents(tmp_path / "out") == contents(tmp_path / "alone")
        curate(asked)
        assert contents(tmp_path / "out") == contents(tmp_path / "alone")
