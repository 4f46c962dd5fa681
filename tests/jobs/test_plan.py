"""What a long list will take, reckoned up from some of its cases."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from fakes import BrightPredictor
from json_answers import answer
from promptseg import Segmenter
from promptseg.cli.main import main
from promptseg.errors import InputError
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.jobs import image_task, plan
from promptseg.jobs.plan import drawn, estimated_total, plan_list
from promptseg.jobs.plan_options import PlanJob


class Slow(BrightPredictor):
    """Takes 30 ms more for each 2D image."""

    seconds = 0.03

    def encode(self, *given: Any, **more: Any) -> Any:
        time.sleep(self.seconds)
        return super().encode(*given, **more)


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """200 rows on two 2D images; the model takes 30 ms for each."""

    def loaded(job: PlanJob) -> Segmenter:
        kept = job.embeddings
        return Segmenter(Slow(), None if kept is None else EmbeddingStore(kept))

    monkeypatch.setattr(image_task, "load_for", loaded)
    pixels = np.random.default_rng(0).integers(0, 60, (40, 50)).astype(np.uint8)
    pixels[10:25, 10:30] += 150
    PilImage.fromarray(pixels).save(tmp_path / "a.png")
    rows = [f'a.png,"9,9,31,26",{k}.png' for k in range(200)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,box,output", *rows]) + "\n")
    return tmp_path / "cases.csv"


def job(source: Path, **more: Any) -> PlanJob:
    how: dict[str, Any] = {"sample": 8, "threads": 1, "node_cpus": 8, "node_memory": 64.0, **more}
    return PlanJob(input=source, output=source.parent / "out", overlay=False, **how)


def test_a_list_is_measured_by_some_of_it(cases: Path) -> None:
    found = plan_list(job(cases))
    assert (found.cases, found.measured, found.failed) == (200, 8, 0)
    assert found.seconds.low <= found.seconds.value <= found.seconds.high
    assert found.seconds.low > 200 * 0.03, "what the model takes at least"
    assert sum(found.stages) == pytest.approx(1)
    size = (cases.parent / "a.png").stat().st_size
    assert found.read_bytes.value == 200 * size
    assert found.written_bytes.value > 0
    assert (found.processes, found.limit) == (8, "CPUs")
    hours = found.seconds.value / 3600
    assert found.node_hours.value == pytest.approx(hours / 8)
    assert not (cases.parent / "out").exists(), "nothing is left"


def test_memory_limits_processes_of_a_node_too(cases: Path) -> None:
    found = plan_list(job(cases, node_cpus=1000, node_memory=2.0))
    assert found.limit == "memory"
    assert found.processes == max(1, int(0.9 * 2.0 * 2**30 // found.memory))


def test_shares_and_failures_count(cases: Path) -> None:
    assert plan_list(job(cases, shard="1/4")).cases == 50
    (cases.parent / "bad.png").write_bytes(b"\x89PNG")
    text = cases.read_text().splitlines()
    mixed = [row.replace("a.png", "bad.png") if k % 2 else row for k, row in enumerate(text[1:])]
    cases.write_text("\n".join([text[0], *mixed]) + "\n")
    found = plan_list(job(cases, sample=20))
    assert 0 < found.failed < 20
    cases.write_text(text[0] + '\nbad.png,"1,1,3,3",x.png\n')
    with pytest.raises(InputError, match="that can be measured"):
        plan_list(job(cases))


def test_embeddings_are_counted_and_what_a_second_prompt_costs(
    cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["image,box"]
    for k in range(6):
        pixels = np.random.default_rng(k).integers(0, 255, (40, 50)).astype(np.uint8)
        PilImage.fromarray(pixels).save(cases.parent / f"{k}.png")
        rows.append(f'{k}.png,"9,9,31,26"')
    cases.write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(Slow, "seconds", 0.5)
    found = plan_list(job(cases, embeddings=cases.parent / "kept"))
    assert found.embedding_bytes is not None
    assert found.embedding_bytes.value > 0
    assert found.decoding is not None
    assert found.decoding < 0.9, "the encoder is left out"
    assert not (cases.parent / "kept").exists()


def test_every_case_is_drawn_with_the_same_chance() -> None:
    counts = Counter(k for seed in range(3000) for k in drawn(range(10), 3, seed))
    assert all(800 < counts[k] < 1000 for k in range(10)), "900 expected, standard deviation 25"
    assert drawn(range(10), 3, 1) == drawn(range(10), 3, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        values = rng.gamma(4, 1, 500)
        found = estimated_total(drawn(values.tolist(), 40, seed), 500, seed)
        held += found.low <= values.sum() <= found.high
    assert 175 <= held <= 200
    assert estimated_total([1, 2, 3], 3).low == 6, "all were measured"


def test_the_command(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["--sample", "4", "--threads", "1", "--no-overlay"]
    assert main(["plan", str(cases), *usual]) == 0
    said = capsys.readouterr().out
    assert "200; 4 measured, 0 of them failed" in said
    assert "node hours" in said
    assert main(["plan", "-i", str(cases), *usual, "--json"]) == 0
    assert answer("plan", capsys.readouterr().out)["cases"] == 200
    assert main(["plan", "-i", str(cases.parent / "a.png"), *usual]) == 2
    assert "a list of cases" in capsys.readouterr().err
    assert main(["plan", "-i", str(cases), "--sample", "0"]) == 2


def test_a_full_disk_is_said(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_free", lambda _: 1000)
    assert any(line.startswith("warning") for line in plan_list(job(cases)).lines())
