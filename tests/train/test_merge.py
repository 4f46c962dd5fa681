"""Merged weights: arithmetic, the search where the best is known, and the verb from end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from json_answers import answer
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError, OutputError
from promptseg.jobs.merge import merge
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import identify, read_checkpoint
from promptseg.models.families.sam import build as builders
from promptseg.train.merge_options import MergeOptions
from promptseg.train.mixing import Mixture, mixed, search
from train.tiny import TINY, build_tiny, made_data
from verb_folders import assert_leaves_others

Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _tiny_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(CARDS, "tiny", TINY)
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_shares_are_what_they_say_and_equal_tensors_stay_bit_for_bit() -> None:
    first = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([1.0]), "n": torch.tensor(3)}
    second = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([5.0]), "n": torch.tensor(4)}
    third = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([9.0]), "n": torch.tensor(4)}
    out = mixed([first, second, third], (0.5, 0.25, 0.25))
    assert torch.equal(out["a"], first["a"])
    assert out["b"].item() == 0.5 * 1 + 0.25 * 5 + 0.25 * 9
    assert out["n"].item() == 3
    assert mixed([first, second, third], (0, 1, 0))["b"].item() == 5
    for shares in ((0.5, 0.5), (0.5, 0.5, 0.5)):
        with pytest.raises(ValueError, match="sum to 1"):
            mixed([first, second, third], shares)


def test_the_search_finds_a_mean_that_beats_its_parts() -> None:
    """Two that err in opposite ways, and one that is far off and must not join."""
    target = torch.tensor([1.0, 1.0])
    weights = [torch.zeros(2), target + 0.3, target - 0.3, torch.tensor([-4.0, 6.0])]

    def score(mixture: Mixture) -> float:
        mean = sum(share * w for share, w in zip(mixture, weights, strict=True))
        return -float((mean - target).norm())  # type: ignore[union-attr]

    found = search(4, score)
    assert found.best == (0, 0.5, 0.5, 0)
    assert len(found.tried) == 4 + 2 + 3


def test_the_search_goes_back_where_training_went_too_far() -> None:
    found = search(2, lambda mixture: -abs(mixture[1] - 0.5))
    assert found.best == (0.5, 0.5)
    assert search(2, lambda mixture: -mixture[1]).best == (1, 0), "the start was best"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_data(tmp_path_factory.mktemp("merge") / "collection")


@pytest.fixture
def tuned(tmp_path: Path) -> list[Path]:
    """The start, and two that were taken from it in opposite directions."""
    torch.manual_seed(1)
    start = build_tiny().state_dict()
    step = {k: 0.05 * torch.randn_like(v) for k, v in start.items() if v.is_floating_point()}
    files = [tmp_path / name for name in ("start.pth", "plus.pth", "minus.pth")]
    for file, sign in zip(files, (0, 1, -1), strict=True):
        torch.save({k: v + sign * step.get(k, 0) for k, v in start.items()}, file)
    return files


def options(data: Path, tuned: list[Path], output: Path) -> MergeOptions:
    return MergeOptions(
        input=data,
        output=output,
        model=f"tiny={tuned[0]}",
        weights=tuple(Path(f"tiny={file}") for file in tuned[1:]),
        share=(0.5,),
        validation_images=2,
        report_images=2,
        validation_objects=1,
        corrections=1,
        threads=1,
        quiet=True,
    )


def test_what_is_kept_is_the_best_mixture_that_was_measured(
    tmp_path: Path, data: Path, tuned: list[Path]
) -> None:
    merged = merge(options(data, tuned, tmp_path / "out"))
    with (tmp_path / "out" / "merge.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(merged.search.tried) >= 4
    best = max(rows, key=lambda row: float(row["score"]))
    shares = [float(best[f"share of {name}"]) for name in merged.names]
    assert tuple(shares) == pytest.approx(merged.search.best, abs=1e-3)
    expected = mixed([read_checkpoint(file) for file in tuned], merged.search.best)
    found = read_checkpoint(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["strategy"] == "merge"
    assert identify(found, tmp_path / "out" / "model.safetensors").base == "tiny"
    assert not (tmp_path / "out" / "candidate.safetensors").exists()


def test_the_same_command_measures_nothing_twice(
    tmp_path: Path, data: Path, tuned: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = merge(options(data, tuned, tmp_path / "out"))
    monkeypatch.setattr("promptseg.jobs.merge.validate", None)
    again = merge(options(data, tuned, tmp_path / "out"))
    assert again.search.tried == first.search.tried
    assert again.verdict.to_json() == first.verdict.to_json()


def test_what_does_not_fit_is_refused(tmp_path: Path, data: Path, tuned: list[Path]) -> None:
    other = tmp_path / "other.pth"
    wrong = torch.load(tuned[1], weights_only=True)
    wrong["mask_decoder.iou_token.weight"] = torch.zeros(1, 7)
    torch.save(wrong, other)
    job = options(data, tuned, tmp_path / "out")
    job.weights = (Path(f"tiny={other}"),)
    with pytest.raises(ModelError):
        merge(job)
    job.weights = ()
    with pytest.raises(InputError, match="at least one"):
        merge(job)
    job.weights = (tuned[1], tuned[1])
    with pytest.raises(InputError, match="once"):
        merge(job)
    assert not (tmp_path / "out").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "report.md").write_text("not yours")
    with pytest.raises(OutputError, match="other files"):
        merge(options(data, tuned, mine))
    assert (mine / "report.md").read_text() == "not yours"


def test_the_command(
    tmp_path: Path, data: Path, tuned: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "merge", "-i", str(data), "-o", str(tmp_path / "out")]
    words += ["--model", f"tiny={tuned[0]}", "--weights", f"tiny={tuned[1]}", "--share", "0.5"]
    words += ["--validation-images", "2", "--report-images", "2", "--corrections", "1"]
    assert main([*words, "--threads", "1", "--quiet", "--json"]) == 0
    said = answer("train merge", capsys.readouterr().out)
    assert set(said) == {"shares", "tried", "verdict"}
    assert main([*words, "--share", "1.5"]) == 2
    assert main(["train", "merge", "-i", str(data), "-o", str(tmp_path / "x")]) == 2


def test_the_folders_of_other_verbs_are_left_alone(
    tmp_path: Path, data: Path, tuned: list[Path]
) -> None:
    def act(folder: Path, overwrite: bool) -> None:
        job = options(data, tuned, folder)
        job.overwrite = overwrite
        merge(job)

    assert_leaves_others(tmp_path / "others", "train merge", act)
