"""`promptseg train` as a user types it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import promptseg.jobs.train
from json_answers import answer
from promptseg.cli.main import main
from promptseg.models.checkpoint import identify, read_checkpoint
from promptseg.train.recipes import recipes


@pytest.fixture
def config(data: Path, start: Path, tmp_path: Path) -> Path:
    """A configuration of a short training."""
    path = tmp_path / "config.yaml"
    content = {
        "model": f"tiny={start}",
        "preset": "medicosam",
        "n_steps": 1,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "updates": 2,
        "corrections": 1,
        "validation_images": 2,
        "report_images": 2,
        "workers": 0,
        "log": [],
        "freeze": ["mask_decoder.iou_token"],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_configuration_and_options_train_and_leave_a_model_with_a_card(
    config, data, tmp_path, capsys
):
    run = tmp_path / "liver-model"
    code = main(["train", str(config), "-i", str(data), "-o", str(run), "--p-box", "0.7", "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert answer("train", said.out)["outcome"] == "too few to tell"
    options = json.loads((run / "options.json").read_text())
    assert (options["p_box"], options["n_steps"], options["learning_rate"]) == (0.7, 1, 1e-3)
    card = json.loads((run / "card.json").read_text())
    assert card["strategy"] == "medicosam"
    assert card["training"]["strategy"]["objective"]["p_box"] == 0.7
    assert card["data"]["collection_sha256"]
    for name in ("model.pth", "model.safetensors"):
        found = identify(read_checkpoint(run / name), run / name)
        assert found.name == "liver-model"
        assert found.prompts == {"box", "point", "mask"}
    assert (run / "report.md").read_text().startswith("# Fine-tuning report")
    for name in ("report.md", "report.json", "card.json", "card.md"):
        assert str(tmp_path) not in (run / name).read_text()


def test_what_is_given_replaces_what_the_file_says(config, data, tmp_path):
    more = yaml.safe_load(config.read_text())
    more |= {"points_per_step": [1, 3], "augment": True, "iou_loss": True, "updates": 1}
    config.write_text(yaml.safe_dump(more))
    run = tmp_path / "run"
    given = ["--points-per-step", "5", "--no-augment", "--iou-loss", "False", "--quiet"]
    assert main(["train", str(config), "-i", str(data), "-o", str(run), *given]) == 0
    said = json.loads((run / "options.json").read_text())
    assert (said["points_per_step"], said["augment"], said["iou_loss"]) == ([5], False, False)
    assert said["freeze"] == ["mask_decoder.iou_token"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--preset", "magic"], "magic"),
        (["--batch-size", "0"], "--batch-size from 1 to"),
        (["--model", "nobody"], "nobody"),
        (["--n-steps", "-1"], "--n-steps from 1 to"),
        (["--trains", "lora"], "lora"),
        (["--engine", "steam"], "steam"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(config, data, tmp_path, capsys, more, said):
    code = main(["train", str(config), "-i", str(data), "-o", str(tmp_path / "run"), *more])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in error


def test_data_that_cannot_be_trained_on_is_refused(config, data, tmp_path, capsys):
    assert main(["train", str(config), "-i", str(tmp_path), "-o", str(tmp_path / "run")]) == 2
    assert "promptseg curate" in capsys.readouterr().err
    index = tmp_path / "copy"
    index.mkdir()
    for name in ("collection.json", "samples.jsonl"):
        (index / name).write_bytes((data / name).read_bytes().replace(b"validation", b"train"))
    assert main(["train", str(config), "-i", str(index), "-o", str(tmp_path / "run")]) == 2
    assert "changed or cut off" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(config, data, tmp_path, capsys):
    other = tmp_path / "other.pth"
    torch.save({"some.weight": torch.zeros(3)}, other)
    arguments = ["train", str(config), "-i", str(data), "-o", str(tmp_path / "run")]
    assert main([*arguments, "--model", f"tiny={other}"]) == 2
    assert "other.pth" in capsys.readouterr().err


def test_a_misspelt_option_in_the_configuration_is_named(config, data, tmp_path, capsys):
    config.write_text(config.read_text() + "learning_rte: 3\n")
    assert main(["train", str(config), "-i", str(data), "-o", str(tmp_path / "run")]) == 2
    assert "learning_rte" in capsys.readouterr().err


def test_sigterm_before_the_first_update_is_an_interrupt_and_the_training_goes_on(
    config, data, tmp_path, monkeypatch
):
    real = promptseg.jobs.train.measure_file

    def terminated(*arguments, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **more)

    before = signal.getsignal(signal.SIGTERM)
    run = tmp_path / "run"
    command = ["train", str(config), "-i", str(data), "-o", str(run), "--quiet"]
    monkeypatch.setattr("promptseg.jobs.train.measure_file", terminated)
    assert main(command) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (run / "baseline.npz").exists()
    monkeypatch.setattr("promptseg.jobs.train.measure_file", real)
    assert main(command) == 0
    assert (run / "model.safetensors").exists()


def seen_by(seen):
    """In place of a training: it remembers its options and is one that follows another."""
    return lambda options: (
        seen.append(options) or SimpleNamespace(interrupted=False, verdict=None, seeds=())
    )


@pytest.mark.parametrize("name", recipes())
def test_recipes_come_along_by_name(name: str, tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("promptseg.jobs.train.train", seen_by(seen))
    where = ["-i", str(tmp_path), "-o", str(tmp_path / "run")]
    monkeypatch.chdir(tmp_path)  # no folder of the source in reach
    for way in (name, f"recipes/{name}.yaml"):
        assert main(["train", way, *where, "--batch-size", "3"]) == 0
    assert seen[0].model in ("mobile-sam", "lite-medsam", "sam3")
    assert seen[0].batch_size == 3
    assert {(o.model, o.preset, o.trains) for o in seen} == {
        (seen[0].model, seen[0].preset, seen[0].trains)
    }


def test_a_file_comes_before_a_recipe_and_neither_is_named(tmp_path, monkeypatch, capsys) -> None:
    seen = []
    monkeypatch.setattr("promptseg.jobs.train.train", seen_by(seen))
    monkeypatch.chdir(tmp_path)
    name = next(iter(recipes()))
    (tmp_path / name).write_text("model: mobile-sam\nepochs: 77\n")
    assert main(["train", name, "-i", ".", "-o", "run"]) == 0
    assert seen[0].epochs == 77
    assert main(["train", "smal", "-i", ".", "-o", "run"]) == 2
    assert f"a recipe out of {', '.join(recipes())}, got smal" in capsys.readouterr().err


def test_the_wheel_holds_the_recipes() -> None:
    import tomllib

    facts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert "train/recipes/*.yaml" in facts["tool"]["setuptools"]["package-data"]["promptseg"]
    assert len(recipes()) == 6
