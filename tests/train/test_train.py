"""A training from beginning to end, with a tiny model on synthetic images."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from promptseg.errors import InputError, OutputError
from promptseg.jobs.train import train
from promptseg.models.families.sam import Sam
from promptseg.train.loop import Loop, TrainingError
from promptseg.train.validate import Validation
from train.tiny import build_tiny
from verb_folders import assert_leaves_others


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def same(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["modules"]["sam"]


def test_a_training_leaves_weights_logs_and_a_baseline(options):
    chosen = options(validate_every=2)
    assert not train(chosen).interrupted
    folder = chosen.output
    log = rows(folder / "train.csv")
    assert [int(r["update"]) for r in log] == [1, 2, 3, 4]
    assert {"loss", "mask_loss", "iou_loss", "learning_rate", "iou_first"} <= set(log[0])
    assert [int(r["update"]) for r in rows(folder / "validation.csv")] == [0, 2, 4]
    assert list((folder / "tensorboard").iterdir())
    assert (folder / "baseline.npz").exists()
    best, before = load_file(folder / "best.safetensors"), build_tiny().state_dict()
    assert best.keys() == before.keys()
    assert any(not torch.equal(best[name], before[name]) for name in best)


@pytest.mark.slow
def test_the_loss_falls_on_a_few_images(options):
    chosen = options(preset="medsam", updates=60, validate_every=60, epochs=99, batch_size=4)
    train(chosen)
    losses = [float(r["loss"]) for r in rows(chosen.output / "train.csv")]
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_training_ends_with_the_same_weights_bit_for_bit(options, monkeypatch, ema):
    whole = options(output=options().output.with_name("whole"), updates=6, ema=ema)
    assert not train(whole).interrupted

    def interrupted(self, *arguments):
        if self.progress.updates == 3 and not (halves.output / "went_on").exists():
            (halves.output / "went_on").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    halves = options(updates=6, ema=ema)
    once = Loop._update
    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted
    assert len(rows(halves.output / "train.csv")) == 4
    assert not train(halves).interrupted
    assert same(whole.output / "best.safetensors", halves.output / "best.safetensors")
    one, other = state(whole.output), state(halves.output)
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[r["loss"] for r in rows(o.output / "train.csv")] for o in (whole, halves)]
    assert losses[0] == losses[1]


def test_a_killed_training_goes_on_from_its_last_validation(options, monkeypatch):
    whole = options(output=options().output.with_name("whole"), updates=6, validate_every=2)
    assert not train(whole).interrupted
    once = Loop._update

    def killed(self, update, *arguments):
        if update == 5:
            raise KeyboardInterrupt  # nothing of ours runs after it
        return once(self, update, *arguments)

    chosen = options(updates=6, validate_every=2)
    monkeypatch.setattr(Loop, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(chosen)
    monkeypatch.setattr(Loop, "_update", once)
    assert not train(chosen).interrupted
    assert same(whole.output / "best.safetensors", chosen.output / "best.safetensors")
    losses = [[r["loss"] for r in rows(o.output / "train.csv")] for o in (whole, chosen)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_two_processes_see_the_losses_of_one(options, data, start, tmp_path):
    # The second update has one image. A third would compare answers whose rounding has gone through two
    # updates of AdamW: on some processors a pixel falls on the other side, and with it a click.
    one = options(updates=2, validate_every=2, batch_size=7)
    assert not train(one).interrupted
    script = Path(__file__).with_name("run_tiny.py")
    told = {
        "-i": data,
        "-o": tmp_path / "two",
        "--model": f"tiny={start}",
        "--n-steps": 2,
        "--batch-size": 7,
        "--learning-rate": 1e-3,
        "--updates": 2,
        "--corrections": 1,
        "--validation-images": 3,
        "--report-images": 3,
        "--workers": 0,
        "--threads": 1,
        "--validate-every": 2,
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        "--standalone",
        str(script),
        *(str(part) for option in told.items() for part in option),
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for ours, theirs in zip(
        rows(one.output / "train.csv"), rows(tmp_path / "two" / "train.csv"), strict=True
    ):
        for name in ("loss", "mask_loss", "iou_loss", "gradient_norm", "learning_rate"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-5)
    best, other = (load_file(f / "best.safetensors") for f in (one.output, tmp_path / "two"))
    for name in best:
        torch.testing.assert_close(best[name], other[name], rtol=1e-3, atol=2e-5)
    validated = [rows(f / "validation.csv")[1] for f in (one.output, tmp_path / "two")]
    assert float(validated[0]["box"]) == pytest.approx(float(validated[1]["box"]), abs=0.02)


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"preset": "medsam"}, {"image_encoder", "mask_decoder"}),
        ({"preset": "ft-sam"}, {"mask_decoder"}),
        ({"preset": "medicosam"}, {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ({"preset": "sam-med2d"}, {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ({"trains": "encoder"}, {"image_encoder"}),
        ({"trains": "lora", "lora_rank": 2}, {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ({"freeze": ("image_encoder", "prompt_encoder")}, {"mask_decoder"}),
    ],
)
def test_a_strategy_trains_its_parts_and_no_other(options, changes, moves):
    chosen = options(updates=1, **changes)
    train(chosen)
    best, before = load_file(chosen.output / "best.safetensors"), build_tiny().state_dict()
    moved = {name.split(".")[0] for name in best if not torch.equal(best[name], before[name])}
    assert moved == moves


def test_low_rank_updates_merge_into_the_attention_alone(options):
    chosen = options(updates=2, trains="lora", lora_rank=2)
    train(chosen)
    best, before = load_file(chosen.output / "best.safetensors"), build_tiny().state_dict()
    moved = {
        name
        for name in best
        if name.startswith("image_encoder") and not torch.equal(best[name], before[name])
    }
    assert moved == {f"image_encoder.blocks.0.attn.{n}.weight" for n in ("qkv", "proj")}
    for name in moved:
        assert torch.linalg.matrix_rank(best[name] - before[name], rtol=1e-3) <= 2


def test_options_that_change_nothing_are_named(options, caplog, tmp_path):
    train(options(updates=1, trains="decoder", activation_checkpointing=True))
    assert "--activation-checkpointing changes nothing" in caplog.text
    train(options(output=tmp_path / "other", updates=1, embeddings=tmp_path / "kept"))
    assert "--embeddings changes nothing" in caplog.text


def test_embeddings_of_a_frozen_encoder_are_made_once(options, monkeypatch):
    encoded = []
    real = Sam.encode
    monkeypatch.setattr(Sam, "encode", lambda self, x: encoded.append(1) or real(self, x))
    kept = options(trains="decoder", updates=3)
    train(kept)
    assert not encoded
    made = list((kept.output / "embeddings").glob("*.safetensors"))
    assert len(made) == 12  # 8 to learn from, 4 to watch it by
    plain = options(
        output=kept.output.with_name("plain"), trains="decoder", updates=3, keep_embeddings=False
    )
    train(plain)
    assert encoded
    losses = [[float(r["loss"]) for r in rows(o.output / "train.csv")] for o in (kept, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_activation_checkpointing_changes_nothing_but_the_memory(options, monkeypatch):
    from promptseg.train import parts

    calls = []
    real = parts.checkpoint
    monkeypatch.setattr(parts, "checkpoint", lambda *a, **k: calls.append(1) or real(*a, **k))
    one = options(updates=2)
    other = options(output=one.output.with_name("again"), updates=2, activation_checkpointing=True)
    train(one)
    assert not calls
    train(other)
    assert calls
    a, b = state(one.output), state(other.output)
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_the_joint_decoder_is_trained_and_kept_beside(options):
    chosen = options(updates=2, joint_decoder=True)
    train(chosen)
    semantic = load_file(chosen.output / "semantic.safetensors")
    assert semantic["out.weight"].shape[0] == 1
    assert float(rows(chosen.output / "train.csv")[0]["semantic_loss"]) > 0
    assert load_file(chosen.output / "best.safetensors").keys() == build_tiny().state_dict().keys()


def test_operations_that_add_in_chance_order_are_replaced(options, monkeypatch):
    found = []
    once = Loop._update

    def looked(self, *arguments):
        found.append(torch.are_deterministic_algorithms_enabled())
        return once(self, *arguments)

    monkeypatch.setattr(Loop, "_update", looked)
    train(options(updates=1))
    assert found == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_reduced_precision_trains_too(options):
    chosen = options(updates=2, precision="bf16")
    assert not train(chosen).interrupted
    plain = options(output=chosen.output.with_name("plain"), updates=2)
    train(plain)
    losses = [float(rows(o.output / "train.csv")[0]["loss"]) for o in (chosen, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_augmentation_is_reproducible_and_changes_the_images(options):
    chosen = [
        options(output=options().output.with_name(f"run{k}"), updates=1, augment=k > 0)
        for k in range(3)
    ]
    for each in chosen:
        train(each)
    losses = [rows(o.output / "train.csv")[0]["loss"] for o in chosen]
    assert losses[1] == losses[2] != losses[0]


def test_a_loss_that_is_not_finite_stops_with_the_batch_and_the_weights_before(
    options, monkeypatch
):
    from promptseg.train.objectives import algorithm

    calls = []
    real = algorithm.mask_loss

    def spoiled(*arguments):
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) > 30 else 1)

    monkeypatch.setattr(algorithm, "mask_loss", spoiled)
    chosen = options(updates=20, validate_every=50)
    with pytest.raises(TrainingError, match="finite loss"):
        train(chosen)
    assert torch.load(chosen.output / "bad_batch.pt", weights_only=True)["masks"].any()
    last = torch.load(chosen.output / "last.pt", weights_only=True)
    assert last["progress"]["updates"] == len(rows(chosen.output / "train.csv")) > 0
    assert all(v.isfinite().all() for v in last["modules"]["sam"].values())


def test_too_little_memory_says_what_to_lower(options, monkeypatch):
    def full(self, slices):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("promptseg.models.families.sam.build.Sam.encode", full)
    monkeypatch.setattr("promptseg.jobs.train._measured", lambda *a, **k: None)
    with pytest.raises(InputError, match="micro-batch"):
        train(options(micro_batch=2))


def test_a_full_disk_leaves_what_was_there(options, monkeypatch):
    chosen = options(updates=2, validate_every=1)
    train(chosen)
    before = (chosen.output / "last.pt").read_bytes()

    def full(content, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="no space left"):
        train(options(updates=3, validate_every=1))
    assert (chosen.output / "last.pt").read_bytes() == before
    assert not list(chosen.output.glob(".part*"))


def test_other_options_do_not_go_on_with_a_training(options, caplog):
    train(options(updates=1))
    before = (options().output / "options.json").read_text()
    with pytest.raises(InputError, match=r"p_box None and now 0\.25"):
        train(options(updates=2, p_box=0.25))
    assert (options().output / "options.json").read_text() == before
    assert not train(options(updates=2, learning_rate=2e-3, clip=1.0)).interrupted
    assert "clip 0.0 and now 1.0" in caplog.text
    assert not train(options(updates=1, p_box=0.25, overwrite=True)).interrupted


def test_a_baseline_of_another_measurement_is_not_used(options, monkeypatch):
    def broken(self, *arguments):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_back", broken)
        with pytest.raises(ZeroDivisionError):
            train(options())
    (options().output / "last.pt").unlink()
    first = Validation.read(options().output / "baseline.npz")
    assert not train(options(corrections=2, updates=1)).interrupted
    assert first.corrections == 1
    assert Validation.read(options().output / "baseline.npz").corrections == 2


def test_a_folder_of_other_files_is_left_alone(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            train(options(overwrite=overwrite))
    assert (tmp_path / "run" / "train.csv").read_text() == "mine"
    with pytest.raises(OutputError, match="a file"):
        train(options(output=tmp_path / "run" / "train.csv", overwrite=True))


def test_starting_anew_leaves_nothing_of_the_old_training(options):
    train(options(updates=1, joint_decoder=True))
    assert (options().output / "semantic.safetensors").exists()
    train(options(updates=1, overwrite=True))
    assert not (options().output / "semantic.safetensors").exists()
    assert len(rows(options().output / "train.csv")) == 1


def test_an_image_that_cannot_be_read_is_named(options, data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    (copy / "shards" / "00000.zip").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="expected the shards that promptseg curate wrote"):
        train(options(input=copy, workers=1, validate_every=9))


def test_two_images_at_a_time_give_the_losses_of_one(options):
    one = options(updates=2)
    other = options(output=one.output.with_name("two"), updates=2, micro_batch=2)
    for each in (one, other):
        train(each)
    losses = [[float(r["loss"]) for r in rows(o.output / "train.csv")] for o in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"trains": "lora", "lora_rank": 2},
        {"joint_decoder": True},
        {"trains": "decoder"},
    ],
)
def test_every_kind_of_training_goes_on_exactly(options, changes):
    whole = options(output=options().output.with_name("whole"), updates=4, **changes)
    train(whole)
    train(options(updates=2, **changes))
    train(options(updates=4, **changes))
    one, other = state(whole.output), state(options().output)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_log_on_a_full_disk_is_an_error_of_the_output(options, monkeypatch):
    real = Path.open

    def full(self, mode="r", *arguments, **more):
        if self.name == "train.csv" and "a" in mode:
            raise OSError(28, "No space left on device")
        return real(self, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match="No space left"):
        train(options())


def test_trackers_get_the_numbers_under_names_they_take(options, monkeypatch):
    import re
    import types

    said = []

    class Run:
        info = types.SimpleNamespace(run_id="one")

    fake = types.ModuleType("mlflow")
    fake.__spec__ = types.SimpleNamespace()
    fake.start_run = lambda **k: said.append(k) or Run()
    fake.log_params = lambda params: None
    fake.log_metrics = lambda metrics, step: said.append((step, metrics))
    fake.end_run = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    assert not train(options(updates=1, log=("mlflow",))).interrupted
    names = {name for each in said if isinstance(each, tuple) for name in each[1]}
    assert "validation/box_plus_1" in names
    assert all(re.fullmatch(r"[/\w.\- ]*", name) for name in names)
    train(options(updates=2, log=("mlflow",)))
    assert {"run_id": "one"} in said
    monkeypatch.delitem(sys.modules, "mlflow")
    with pytest.raises(InputError, match="pip install wandb"):
        train(options(updates=3, log=("wandb",)))


def test_the_starting_weights_stand_first_in_the_validations(options):
    train(options(updates=2, validate_every=1))
    found = rows(options().output / "validation.csv")
    assert [int(r["update"]) for r in found] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"freeze": ("image_encoder", "prompt_encoder", "mask_decoder")}, "trains something"),
        ({"freeze": ("nothing_of_the_kind",)}, "nothing_of_the_kind"),
        ({"trains": "lora"}, "rank"),
        ({"lora_rank": 4}, "rank"),
        ({"p_box": 2.0}, "p_box"),
        ({"batch_size": 0}, "batch-size"),
        ({"epochs": -1}, "epochs"),
        ({"ema": 1.0}, "moving average"),
        ({"input": Path("/nowhere")}, "promptseg curate"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, changes, said):
    with pytest.raises(InputError, match=said):
        train(options(**changes))


def test_a_strategy_whose_objective_does_not_reach_what_it_trains_is_refused(options):
    frozen = ("image_encoder", "prompt_encoder", "mask_decoder.transformer")
    others = ("mask_decoder.mask", "mask_decoder.output", "mask_decoder.iou_token")
    with pytest.raises(TrainingError, match="no gradient"):
        train(options(preset="medsam", trains="all", freeze=(*frozen, *others)))


def test_a_warm_restart_goes_on_from_float16_weights_and_their_updates(options, tmp_path, caplog):
    """What never learnt stays exact; order and chance go on, the optimizer is new."""
    first = options(trains="prompts+decoder", updates=3, decay=1.0)
    train(first)
    with caplog.at_level("INFO", logger="promptseg"):
        train(
            options(
                trains="prompts+decoder",
                updates=6,
                output=tmp_path / "elsewhere",
                warm_start=first.output / "warm.safetensors",
                warmup=2,
                decay=1.0,
            )
        )
    assert "warm restart after update 3" in caplog.text
    log = rows(tmp_path / "elsewhere" / "train.csv")
    assert [int(r["update"]) for r in log] == [4, 5, 6]
    rates = [float(r["learning_rate"]) for r in log]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert int(rows(tmp_path / "elsewhere" / "validation.csv")[0]["update"]) == 3
    start, best = build_tiny().state_dict(), load_file(tmp_path / "elsewhere" / "best.safetensors")
    encoder = [name for name in start if name.startswith("image_encoder.")]
    assert all(torch.equal(best[name], start[name]) for name in encoder)


def test_a_warm_restart_refuses_other_files(options, tmp_path):
    with pytest.raises(InputError, match="warm restart"):
        train(options(warm_start=tmp_path / "start.pth"))
    assert not (options().output / "last.pt").exists()


def test_what_others_put_into_the_folder_of_a_training_stays(options, start, tmp_path):
    assert not train(options(updates=1)).interrupted
    folder = options().output
    mine = folder / "tensorboard" / "events.out.tfevents.1.mine"
    mine.write_text("mine")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"tensorboard/events\.out\.tfevents\.1\.mine"):
        train(options(updates=1, overwrite=True))
    assert (folder / "last.pt").exists()
    mine.rename(tmp_path / "mine")
    assert not train(options(updates=1, overwrite=True)).interrupted
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to(tmp_path / "mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"card\.md"):
            train(options(updates=1, overwrite=overwrite))
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_training_of_an_earlier_version_goes_on_and_its_own_weights_stay(options, start):
    assert not train(options(updates=1)).interrupted
    folder = options().output
    (folder / ".promptseg-files").unlink()
    assert not train(options(updates=2)).interrupted
    assert len(rows(folder / "train.csv")) == 2
    again = options(updates=1, model=f"tiny={folder / 'best.safetensors'}", overwrite=True)
    with pytest.raises(OutputError, match="which is read"):
        train(again)
    assert (folder / "best.safetensors").exists()


def test_the_folders_of_other_verbs_are_left_alone(options, tmp_path):
    def act(folder, overwrite):
        train(options(output=folder, overwrite=overwrite))

    assert_leaves_others(tmp_path / "others", "train", act)
