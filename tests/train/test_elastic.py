"""A training of two processes, of which one is killed: torchrun starts both anew, and it goes on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from train.tiny import build_tiny, made_data

pytest.importorskip("fsspec")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection, weights to start from, and a training that nobody kills."""
    folder = tmp_path_factory.mktemp("elastic")
    made_data(folder / "storage" / "data")
    save_file(build_tiny().state_dict(), folder / "start.safetensors")
    whole = torchrun(folder, "whole", 0, killed="9@0", more=("--quiet",))
    assert whole.returncode == 0, whole.stderr[-2000:]
    return folder


def torchrun(
    place: Path, out: str, restarts: int, killed: str, more: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    start = place / "start.safetensors"
    options = {
        "-i": "memory://bucket/data",
        "-o": place / out,
        "--model": f"tiny={start}",
        "--n-steps": 2,
        "--batch-size": 4,
        "--learning-rate": 1e-3,
        "--updates": 6,
        "--corrections": 1,
        "--validation-images": 3,
        "--report-images": 3,
        "--workers": 0,
        "--threads": 1,
        "--validate-every": 2,
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", "--max-restarts", str(restarts), "--monitor-interval", "0.2"),
        str(Path(__file__).with_name("run_elastic.py")),
        *(str(part) for option in options.items() for part in option),
        *more,
    ]
    env = {**os.environ, "KILLED": killed, "BUCKET": str(place / "storage")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env=env
    )


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "more"), [(0, ()), (1, ("--overwrite",))])
def test_it_goes_on_from_the_last_checkpoint(place: Path, rank: int, more: tuple[str, ...]) -> None:
    out = place / f"killed{rank}"
    done = torchrun(place, out.name, 1, killed=f"{rank}@3", more=(*more, "--quiet"))
    assert done.returncode == 0, done.stderr[-2000:]
    # the process that writes had kept two updates; where another dies, it keeps the three it has
    kept = 2 if rank == 0 else 3
    assert f"update {kept + 1} of start 2" in done.stderr
    assert f"update {kept} of start 2" not in done.stderr
    expected, losses = (
        [float(row["loss"]) for row in rows(folder / "train.csv")]
        for folder in (place / "whole", out)
    )
    assert len(losses) == 6, "every update once"
    assert losses == pytest.approx(expected, rel=1e-4)
    assert (out / "report.md").exists()


@pytest.mark.slow
def test_without_restarts_the_same_command_goes_on(place: Path) -> None:
    died = torchrun(place, "out", 0, killed="0@3")
    assert died.returncode != 0
    assert "torchrun --max-restarts gives it by itself" in died.stderr
    assert not (place / "out" / "report.md").exists()
    again = torchrun(place, "out", 0, killed="9@0")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "update 3 of start 1" in again.stderr
    assert "update 2 of start 1" not in again.stderr
    assert len(rows(place / "out" / "train.csv")) == 6
