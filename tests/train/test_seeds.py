"""Trainings that differ in their seed: folders, what they came to, how far apart, going on."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.jobs import train as job
from promptseg.jobs.train import train
from promptseg.metrics.statistics import spread
from promptseg.train.outcome import Trained
from promptseg.train.seeds import write_seeds


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def after(folder: Path) -> dict[str, float]:
    said = json.loads((folder / "report.json").read_text())
    return {c["prompt"]: c["after"] for c in said["verdict"]["comparisons"]}


def test_every_seed_is_a_training_of_its_own_and_their_spread_is_written(options, tmp_path):
    chosen = options(seeds=2, seed=4, updates=2)
    trained = train(chosen)
    folders = [chosen.output / f"seed-{k}" for k in (4, 5)]
    first, second = (load_file(f / "model.safetensors") for f in folders)
    assert any(not torch.equal(value, second[name]) for name, value in first.items())
    train(options(seed=5, updates=2, output=tmp_path / "alone"))
    for name, value in load_file(tmp_path / "alone" / "model.safetensors").items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
    table = rows(chosen.output / "seeds.csv")
    assert {r["seed"] for r in table} == {"4", "5"}
    for name, expected in after(folders[1]).items():
        (row,) = [r for r in table if r["seed"] == "5" and r["name"] == name]
        assert float(row["after"]) == pytest.approx(expected, abs=1e-5)
    values = [after(f)["box"] for f in folders]
    said = f"box: DSC {np.mean(values):.3f} ± {statistics.stdev(values):.3f} over 2 seeds"
    assert trained.seeds[0].startswith(said)
    page = (chosen.output / "seeds.md").read_text()
    assert f"{np.mean(values):.3f} ± {statistics.stdev(values):.3f}" in page
    assert "seed-5/report.md" in page


def test_classes_are_named_and_a_frozen_encoder_encodes_once(options):
    chosen = options(preset="semantic-2d", n_steps=None, features=4, trains="decoder", seeds=2)
    trained = train(chosen)
    assert (chosen.output / "seed-0" / "embeddings").is_dir()
    assert not (chosen.output / "seed-1" / "embeddings").exists()
    of = {r["of"] for r in rows(chosen.output / "seeds.csv")}
    assert of == {"class", "all classes"}
    assert any(line.startswith("classes: DSC ") for line in trained.seeds)


def test_what_is_done_stays_and_an_interruption_is_told(options, monkeypatch):
    chosen = options(seeds=2, updates=50, cpu_minutes=1e-6)
    train(chosen)
    log = (chosen.output / "seed-1" / "train.csv").read_text()
    assert len(rows(chosen.output / "seed-1" / "train.csv")) == 1
    train(chosen)
    assert (chosen.output / "seed-1" / "train.csv").read_text() == log, "its time was up"
    longer = options(seeds=2, updates=50, cpu_minutes=2e-6)
    train(longer)
    assert len(rows(chosen.output / "seed-1" / "train.csv")) == 2, "it goes on with more time"
    monkeypatch.setattr(job, "_train", lambda *args, **named: "interrupted")
    cut = train(options(seeds=2, updates=50, overwrite=True))
    assert cut == Trained(chosen.output, interrupted=True)


def test_what_does_not_go_with_seeds_is_refused(options, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="--seeds above 0"):
        train(options(seeds=0))
    with pytest.raises(InputError, match="--json"):
        train(options(seeds=2, json=True))
    train(options())
    with pytest.raises(OutputError, match="one of several seeds"):
        train(options(seeds=2))
    other = tmp_path / "mine"
    other.mkdir()
    (other / "seeds.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"others: seeds\.csv"):
        train(options(seeds=2, output=other))
    assert (other / "seeds.csv").read_text() == "mine"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun"):
        train(options(seeds=2, output=tmp_path / "new"))


def test_the_command_says_the_spread(options, data, start, tmp_path, capsys):
    words = ["train", "-i", str(data), "-o", str(tmp_path / "out"), "--model", f"tiny={start}"]
    words += ["--seeds", "2", "--updates", "2", "--workers", "0", "--corrections", "1"]
    words += ["--batch-size", "4", "--validation-images", "3", "--report-images", "3"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "over 2 seeds" in said
    assert "seeds.md" in said


def test_a_report_that_is_none_is_refused(tmp_path):
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "report.json").write_text("[]")
    with pytest.raises(InputError, match="the report of a training"):
        write_seeds(tmp_path, {0: tmp_path / "seed-0"})


def test_a_spread_is_that_of_a_sample():
    values = [0.5, 0.75, 0.25, 0.5]
    found = spread(np.array([*values, np.nan]))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    assert (found.n, found.mean, found.low, found.high) == (4, 0.5, 0.25, 0.75)
    assert str(spread(np.array([0.5]))) == "0.500"
    assert str(spread(np.array([np.nan]))) == "-"
    assert str(spread(np.array([1, np.inf]))) == "inf"
