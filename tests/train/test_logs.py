"""Logs of a training that was killed and goes on: no row twice, none missing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from promptseg.train.logs import BOARD, _events, open_logs

pytest.importorskip("tensorboardX")


def log_some(folder: Path, resumed: int, updates: range) -> None:
    logs = open_logs(folder, resumed, (), {})
    for update in updates:
        for each in logs:
            if update:
                each.write(update, "train", {"loss": 0.5, "rate": 0.1})
            if update % 2 == 0:
                each.write(update, "validation", {"dsc": 0.9})
    for each in logs:
        each.close()


def updates_of(path: Path) -> list[int]:
    with path.open(newline="") as stream:
        return [int(row["update"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("saved", [0, 2, 3, 4])
def test_no_row_comes_twice(tmp_path: Path, saved: int) -> None:
    log_some(tmp_path, 0, range(5))
    log_some(tmp_path, saved, range(saved, 7))  # the update itself is measured once more
    assert updates_of(tmp_path / "train.csv") == [1, 2, 3, 4, 5, 6]
    assert updates_of(tmp_path / "validation.csv") == [0, 2, 4, 6]
    board = sorted(n for kind, n in _events(tmp_path / BOARD) if kind == "validation")
    beyond = [n for n in (2, 4) if n > saved]  # which TensorBoard is told to leave out
    assert board == sorted([0, 2, 4, 6, *beyond])


@pytest.mark.parametrize("ending", ["3,0.", "3", "3,0.5,0.1", "3,0.5\n", "x\n", "3,0.5,0.1,7\n"])
def test_a_row_that_was_cut_short_is_written_anew(tmp_path: Path, ending: str) -> None:
    log_some(tmp_path, 0, range(3))
    with (tmp_path / "train.csv").open("a") as stream:
        stream.write(ending)
    log_some(tmp_path, 3, range(3, 5))
    assert updates_of(tmp_path / "train.csv") == [1, 2, 3, 4]
    assert (tmp_path / "train.csv").read_text().splitlines()[3].startswith("3,0.5,0.1")


def test_a_record_of_the_board_that_was_cut_short_is_no_record(tmp_path: Path) -> None:
    log_some(tmp_path, 0, range(5))
    file = next((tmp_path / BOARD).iterdir())
    whole = list(_events(tmp_path / BOARD))
    file.write_bytes(file.read_bytes()[:-7])
    assert list(_events(tmp_path / BOARD)) == whole[:-1]
