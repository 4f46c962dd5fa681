"""Training of classes from beginning to end, with a tiny encoder on synthetic images."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from curate.made import Made, disc, make_collection, rectangle
from promptseg.datasets.collection import Collection, Split
from promptseg.errors import InputError, ModelError, PromptsegError
from promptseg.image import Image
from promptseg.jobs.train import train
from promptseg.models.heads.semantic.card import semantic_card
from promptseg.models.heads.semantic.decoder import Decoder2d
from promptseg.models.preprocess import InputTransform, Preprocessing
from promptseg.segment.classes.segmenter import load_classes
from promptseg.train.loop import Loop
from promptseg.train.objectives import PRESETS
from promptseg.train.raster import raster_classes
from promptseg.train.semantic.classes import (
    class_map,
    class_weights,
    classes_of,
    hidden,
    warn_of_hidden,
)
from promptseg.train.semantic.losses import class_loss
from promptseg.train.semantic.samples import Setting, TrainingStacks
from promptseg.train.sequences import Run
from train.tiny import build_tiny


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def classes(options):
    """Options of a short training of classes."""

    def make(**changes):
        usual = {"preset": "semantic-2d", "n_steps": None, "features": 4, "learning_rate": 1e-2}
        return options(**{**usual, **changes})

    return make


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Stacks of five slices of six patients, and one of two, with a ball and a bar."""
    made = []
    splits: list[Split] = ["train", "train", "train", "validation", "test", "train"]
    for k, split in enumerate(splits):
        for z in range(5 if k < 5 else 2):
            masks = {"ball": disc((48, 40), 20 + k, 18, 4.0 + 2 * min(z, 4 - z))}
            if z > 1:
                masks["bar"] = rectangle((48, 40), (30, 30, 37, 40))
            made.append(Made(f"ct/case{k}/{z}", masks, split, f"patient{k}", "CT", seed=10 * k + z))
    root = tmp_path_factory.mktemp("volumes")
    make_collection(root, made)
    return root


def test_a_training_leaves_a_model_of_classes_with_its_card(classes):
    chosen = classes(updates=40, validate_every=20, augment=True, batch_size=4, micro_batch=4)
    trained = train(chosen)
    folder = chosen.output
    log = rows(folder / "train.csv")
    assert {"loss", "class_loss", "class_dice", "learning_rate"} <= set(log[0])
    assert float(log[-1]["loss"]) < 0.7 * float(log[0]["loss"])
    assert [int(r["update"]) for r in rows(folder / "validation.csv")] == [0, 20, 40]
    card, file, said = semantic_card(folder)
    assert card.names == ("disc", "plate")
    assert (card.base, card.name, card.depth) == ("tiny", "run", 1)
    assert trained.name == "run"
    assert card.trained_on is None  # the made collection has no manifest
    assert said["verdict"]["outcome"]
    assert set(said["metrics"]["classes"]) == {"disc", "plate"}
    assert "SNOMED" in (folder / "card.md").read_text()
    report = (folder / "report.md").read_text()
    assert "## Classes" in report
    assert "had learnt nothing" in report
    assert load_file(file).keys() == torch.load(folder / "model.pth").keys()
    picture = np.random.default_rng(0).integers(0, 255, (60, 48)).astype(np.uint8)
    found = load_classes(folder, device="cpu").segment(Image.from_array(picture, "US"))
    assert found.result.names == {1: "disc", 2: "plate"}


def test_what_is_trained_is_learnt(classes, data):
    chosen = classes(updates=80, validate_every=80, epochs=999, batch_size=4, micro_batch=4)
    train(chosen)
    means = [float(r["classes"]) for r in rows(chosen.output / "validation.csv")]
    assert means[0] < 0.3
    assert means[1] > 0.5


def test_an_interrupted_training_of_classes_ends_with_the_same_weights(classes, monkeypatch):
    whole = classes(output=classes().output.with_name("whole"), updates=6, validate_every=2)
    assert not train(whole).interrupted

    def interrupted(self, *arguments):
        if self.progress.updates == 3 and not (halves.output / "went_on").exists():
            (halves.output / "went_on").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return once(self, *arguments)

    halves = classes(updates=6, validate_every=2)
    once = Loop._update
    monkeypatch.setattr(Loop, "_update", interrupted)
    assert train(halves).interrupted
    assert not train(halves).interrupted
    states = [torch.load(o.output / "last.pt", weights_only=True) for o in (whole, halves)]
    one, other = (s["modules"]["sam"] for s in states)
    assert all(torch.equal(one[name], other[name]) for name in one)
    a, b = states[0]["progress"], states[1]["progress"]
    assert {k: v for k, v in a.items() if k != "seconds"} == {
        k: v for k, v in b.items() if k != "seconds"
    }


@pytest.mark.parametrize("trains", ["decoder", "lora", "encoder"])
def test_what_does_not_learn_stays_and_frozen_encoders_are_not_run_again(classes, trains):
    chosen = classes(trains=trains, lora_rank=2 if trains == "lora" else 0, validate_every=4)
    train(chosen)
    after, before = load_file(chosen.output / "model.safetensors"), build_tiny().state_dict()
    changed = [
        name
        for name, value in before.items()
        if name.startswith("image_encoder.")
        and not torch.equal(after["encoder." + name.removeprefix("image_encoder.")], value)
    ]
    kept = chosen.output / "embeddings"
    if trains == "decoder":
        assert not changed
        assert len(list(kept.iterdir())) == 12
    elif trains == "lora":
        assert {name.rsplit(".", 2)[1] for name in changed} <= {"qkv", "proj"}
        assert changed
        assert not any("parametrizations" in name for name in after)
    else:
        assert changed
    if trains != "decoder":
        assert not kept.exists()


def test_a_frozen_encoder_gives_the_same_model_with_and_without_kept_embeddings(classes):
    kept = classes(trains="decoder")
    anew = classes(trains="decoder", keep_embeddings=False, output=kept.output.with_name("anew"))
    train(kept)
    train(anew)
    one, other = ([float(r["loss"]) for r in rows(o.output / "train.csv")] for o in (kept, anew))
    assert one == pytest.approx(other, rel=1e-2)
    assert one[0] == pytest.approx(other[0], rel=1e-5)


def test_a_training_goes_on_from_a_model_of_classes(classes):
    first = classes()
    train(first)
    again = classes(model=str(first.output), output=first.output.with_name("again"), features=None)
    train(again)
    baseline = json.loads((again.output / "card.json").read_text())["metrics"]["comparisons"][0]
    tuned = json.loads((first.output / "card.json").read_text())["metrics"]["comparisons"][0]
    assert baseline["before"] == pytest.approx(tuned["after"], abs=1e-6)
    assert "had learnt nothing" not in (again.output / "card.md").read_text()
    card, _, _ = semantic_card(again.output)
    assert (card.features, card.names) == (4, ("disc", "plate"))
    fewer = classes(
        model=str(first.output),
        output=first.output.with_name("fewer"),
        features=None,
        classes=("plate",),
    )
    train(fewer)
    assert semantic_card(fewer.output)[0].names == ("plate",)


def test_a_pretrained_decoder_is_taken_over_but_for_its_output(classes, tmp_path):
    torch.manual_seed(3)
    decoder = Decoder2d(32, 7, 8).state_dict()
    torch.save({"decoder_state": decoder}, tmp_path / "official.pt")
    chosen = classes(decoder=tmp_path / "official.pt", features=None, trains="encoder", updates=1)
    train(chosen)
    after = load_file(chosen.output / "model.safetensors")
    assert after["out_conv.weight"].shape == (3, 8, 1, 1)
    for name, value in decoder.items():
        if not name.startswith("out_conv") and "num_batches" not in name and "running" not in name:
            assert torch.equal(after[name], value)


def test_the_rate_falls_where_validations_are_no_better(classes, monkeypatch):
    from promptseg.train import watch

    monkeypatch.setattr(watch, "asked_means", lambda found, asks: {"classes": 0.5})
    chosen = classes(updates=14, validate_every=1, validation_images=1)
    train(chosen)
    rates = [float(r["learning_rate"]) for r in rows(chosen.output / "train.csv")]
    assert rates[:12] == pytest.approx([1e-2] * 12)  # the first is the best, eleven are no better
    assert rates[12:] == pytest.approx([9e-3] * 2)


def test_stacks_are_learnt_from_with_adapters_and_scored_whole(classes, volumes):
    chosen = classes(
        preset="semantic-3d",
        input=volumes,
        depth=4,
        halo=1,
        side=64,
        updates=3,
        batch_size=2,
        epochs=9,
        validate_every=3,
        learning_rate=1e-2,
    )
    train(chosen)
    card, file, said = semantic_card(chosen.output)
    assert (card.depth, card.halo, card.adapters, card.names) == (4, 1, True, ("ball", "bar"))
    assert any("adapter_conv_2" in name for name in load_file(file))
    assert {k: v[0]["objects"] for k, v in said["metrics"]["classes"].items()} == {
        "ball": 1,
        "bar": 1,
    }
    voxels = np.random.default_rng(0).integers(0, 255, (3, 48, 40)).astype(np.uint8)
    image = Image.from_array(voxels, "CT", spacing=(1, 1, 2))
    assert load_classes(chosen.output, device="cpu").segment(image).result.names == {
        1: "ball",
        2: "bar",
    }


def test_stacks_of_a_frozen_encoder_are_kept(classes, volumes):
    chosen = classes(
        preset="semantic-3d",
        input=volumes,
        depth=4,
        halo=1,
        side=64,
        adapters=False,
        trains="decoder",
        updates=2,
        validate_every=2,
        epochs=9,
    )
    train(chosen)
    assert len(list((chosen.output / "embeddings").iterdir())) == 27


def test_a_run_thinner_than_a_stack_is_learnt_from_once(volumes):
    collection = Collection(volumes)
    samples = [s for s in collection.samples if s.case == "case5"]
    how = Setting(Preprocessing(64, "minmax"), False, ("ball", "bar"), 32, seed=0)
    stacks = TrainingStacks(collection, [Run(tuple(samples), 5)], 5, how)
    batch = stacks.example((0, 0, 0))
    assert batch.slices is not None
    assert batch.slices.shape == (1, 5, 3, 64, 64)
    assert [bool((c >= 0).any()) for c in batch.classes[0]] == [False, True, True, False, False]
    assert torch.equal(batch.slices[0, 0], batch.slices[0, 1])
    assert torch.equal(batch.slices[0, 3], batch.slices[0, 2])


def test_a_long_run_gives_another_stack_every_time(volumes):
    collection = Collection(volumes)
    samples = [s for s in collection.samples if s.case == "case0"]
    how = Setting(Preprocessing(64, "minmax"), False, ("ball", "bar"), 32, seed=0)
    stacks = TrainingStacks(collection, [Run(tuple(samples), 2)], 2, how)
    starts = {stacks.drawn((u, 0, 0))[0] for u in range(40)}
    assert starts == {0, 1, 2, 3}


def test_dice_and_entropy_against_a_plain_transcription():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, 5, generator=rng)
    classes = torch.randint(0, 3, (2, 6, 5), generator=rng)  # class 3 is nowhere
    classes[1, 4:] = -1
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0])
    inside = classes.flatten() >= 0
    flat = logits.permute(1, 0, 2, 3).flatten(1)[:, inside].double()
    true = classes.flatten()[inside]

    def plain(values: torch.Tensor, present: bool) -> float:
        p = values.softmax(0)
        scores = []
        for k in range(4):
            g = (true == k).double()
            if present and not g.any():
                continue
            scores.append(1 - 2 * float((p[k] * g).sum()) / float((p[k] ** 2).sum() + g.sum()))
        entropy = F.cross_entropy(values.T, true, weights.double())
        total = np.mean(scores) if present else np.sum(scores)
        return 0.5 * float(total) + 0.5 * float(entropy)

    loss, dice = class_loss(logits, classes, weights)
    assert float(loss) == pytest.approx(plain(flat, True), abs=1e-5)
    assert dice[3].isnan()
    faithful, _ = class_loss(logits, classes, weights, faithful=True)
    assert float(faithful) == pytest.approx(plain(flat.sigmoid(), False), abs=1e-5)


def test_absent_classes_give_no_gradient_through_dice_and_padding_none_at_all():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    classes = torch.ones(1, 4, 4, dtype=torch.long)
    classes[0, 2:] = -1
    class_loss(logits, classes)[0].backward()
    assert logits.grad is not None
    assert logits.grad[..., 2:, :].abs().max() == 0
    assert logits.grad[..., :2, :].abs().min() > 0


def test_small_classes_survive_the_coarse_grid():
    classes = np.zeros((100, 60), np.int64)
    classes[50, 30] = 2
    classes[10:40, 10:40] = 1
    transform = InputTransform((100, 60), (64, 38), 64, (0.64, 0.64))
    found = raster_classes(classes, transform, 16)
    assert set(np.unique(found)) == {-1, 0, 1, 2}
    assert (found[:, 10:] == -1).all()
    assert (found == 2).sum() == 1


def test_numbers_of_classes_have_no_gaps_and_the_last_layer_counts(tmp_path):
    shape = (40, 40)
    made = [
        Made("a/x", {"liver": disc(shape, 20, 20, 12), "lesion": disc(shape, 20, 20, 4)}, "train"),
        Made("a/y", {"vessel": disc(shape, 20, 20, 5)}, "train"),
    ]
    collection = make_collection(tmp_path, made)
    names = classes_of(collection.samples, [])
    assert names == ("liver", "vessel", "lesion")
    sample = collection.samples[0]
    found = class_map(sample.targets, collection.read(sample)[1], names)
    assert found[20, 20] == 3
    assert found[20, 10] == 1
    assert set(np.unique(class_map(sample.targets, collection.read(sample)[1], ("lesion",)))) == {
        0,
        1,
    }
    weights = class_weights(collection.samples, names)
    assert np.mean(weights) == pytest.approx(1)
    assert weights[0] < weights[1] < weights[3]


@pytest.mark.parametrize("order", [("disc", "cup"), ("cup", "disc")])
def test_a_class_within_another_is_learnt_whatever_the_order(tmp_path, order, caplog):
    shape = (64, 64)
    masks = {"disc": disc(shape, 30, 30, 20), "cup": disc(shape, 30, 30, 9)}
    wide = {"disc": disc(shape, 30, 30, 20), "cup": disc(shape, 30, 30, 18)}
    apart = {"disc": disc(shape, 20, 20, 9), "cup": disc(shape, 50, 50, 9)}
    made = [
        Made(f"a/{key}", {name: own[name] for name in order}, part)
        for key, own, part in (
            ("x", masks, "train"),
            ("y", wide, "validation"),
            ("z", apart, "train"),
            ("w", wide, "train"),
        )
    ]
    collection = make_collection(tmp_path, made)
    names = classes_of(collection.of("train"), [])
    drawn = {"a/w": wide, "a/x": masks, "a/y": wide, "a/z": apart}
    for sample in collection.samples:
        own = drawn[sample.key]
        labels = collection.read(sample)[1]
        found = class_map(sample.targets, labels, names)
        np.testing.assert_array_equal(found == 1 + names.index("cup"), own["cup"])
        ring = own["disc"] & ~own["cup"]
        np.testing.assert_array_equal(found == 1 + names.index("disc"), ring)
        lost = hidden(sample.targets, labels, names)
        assert lost["cup"] == 0
        assert lost["disc"] == pytest.approx(1 - ring.sum() / own["disc"].sum())
        assert hidden(sample.targets, labels, ("cup",)) == {"cup": 0}
    with caplog.at_level("WARNING"):
        found = warn_of_hidden(collection, collection.samples, names)
    assert found == {"disc": ["a/w", "a/y"]}
    (record,) = caplog.records
    assert "'disc' loses most of its pixels to smaller objects on 2 of 3 images" in record.message
    assert "(a/w, ...)" in record.message
    assert warn_of_hidden(collection, collection.samples, ("cup",)) == {}


def test_a_training_says_which_class_is_hidden_and_is_scored_on_the_other(
    classes, tmp_path, caplog
):
    shape = (48, 48)
    wide = {"cup": disc(shape, 24, 24, 15), "disc": disc(shape, 24, 24, 18)}
    parts = ("train", "train", "validation")
    make_collection(tmp_path / "data", [Made(f"us/{k}", wide, p) for k, p in enumerate(parts)])
    chosen = classes(input=tmp_path / "data", updates=1, validate_every=1, epochs=9)
    with caplog.at_level("WARNING"):
        train(chosen)
    assert "'disc' loses most of its pixels to smaller objects on 3 of 3 images" in caplog.text
    _, _, table = (chosen.output / "report.md").read_text().partition("## Classes")
    assert "| cup |" in table
    assert "| disc |" in table


def test_one_class_alone_and_balanced_weights(classes):
    chosen = classes(classes=("plate",), class_weights="balanced", faithful=True)
    train(chosen)
    card, _, _ = semantic_card(chosen.output)
    assert card.names == ("plate",)
    assert card.sigmoid


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"classes": ("dics",)}, InputError, "did you mean disc"),
        ({"trains": "prompts+decoder"}, InputError, "--trains all, encoder, decoder or lora"),
        ({"trains": "lora"}, InputError, "a rank above 0"),
        ({"preset": "semantic-3d", "depth": 4, "halo": 1}, InputError, "slices of volumes"),
        ({"adapters": True}, InputError, "patches of several slices"),
        ({"n_objects": 3}, InputError, "one on images"),
        ({"decoder": Path("nowhere.pt")}, ModelError, "no such file"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(classes, changes, error, words):
    with pytest.raises(error, match=words):
        train(classes(**changes))


def test_a_class_that_the_training_part_has_not_is_refused(classes, tmp_path):
    shape = (48, 48)
    made = [
        Made("a/x", {"liver": disc(shape, 20, 20, 12)}, "train"),
        Made("a/y", {"spleen": disc(shape, 20, 20, 12)}, "validation"),
    ]
    make_collection(tmp_path / "odd", made)
    with pytest.raises(InputError, match=r"'spleen' on a/y"):
        train(classes(input=tmp_path / "odd"))


def test_other_options_than_the_models_and_its_own_folder_are_refused(classes):
    first = classes(updates=1)
    train(first)
    with pytest.raises(PromptsegError, match=r"model\.safetensors"):
        train(classes(model=str(first.output), overwrite=True, features=None))
    assert (first.output / "model.safetensors").is_file()
    with pytest.raises(PromptsegError, match="features 8"):
        train(classes(model=str(first.output), output=first.output.with_name("b"), features=8))


def test_a_specialist_is_trained_from_random_weights(classes):
    chosen = classes(model="deeplabv3plus", features=None, side=64, updates=2, micro_batch=4)
    train(chosen)
    card, _file, _ = semantic_card(chosen.output)
    assert (card.base, card.side) == ("deeplabv3plus", 64)
    picture = np.random.default_rng(0).integers(0, 255, (60, 48)).astype(np.uint8)
    found = load_classes(chosen.output, device="cpu").segment(Image.from_array(picture, "US"))
    assert found.result.names == {1: "disc", 2: "plate"}
    for wrong in ({"features": 8}, {"features": None, "trains": "decoder"}):
        with pytest.raises(InputError, match=r"deeplabv3plus on single images|for a specialist"):
            train(classes(model="deeplabv3plus", output=chosen.output.with_name("x"), **wrong))


@pytest.mark.parametrize("depth", [1, 32])
def test_swin_unetr_is_trained_in_2d_and_3d(classes, volumes, depth):
    pytest.importorskip("monai")
    pytest.importorskip("einops")
    deep = {"preset": "semantic-3d", "input": volumes, "depth": 32, "halo": 4} if depth > 1 else {}
    chosen = classes(model="swin-unetr", features=12, side=64, updates=1, batch_size=1, **deep)
    train(chosen)
    card, file, _ = semantic_card(chosen.output)
    assert (card.base, card.depth, card.features) == ("swin-unetr", depth, 12)
    assert any("swinViT" in name for name in load_file(file))


def test_sizes_that_swin_unetr_cannot_take_are_refused(classes, volumes):
    pytest.importorskip("monai")
    with pytest.raises(ModelError, match="multiples of 32"):
        train(classes(model="swin-unetr", preset="semantic-3d", input=volumes, features=12))
    with pytest.raises(ModelError, match="multiple of 12"):
        train(classes(model="swin-unetr", features=16))


def test_presets_are_the_papers():
    flat, deep = PRESETS["semantic-2d"], PRESETS["semantic-3d"]
    assert (flat.learning_rate, flat.batch_size, flat.rates.plateau, flat.rates.patience) == (
        *(1e-4, 6, 0.9, 10),
    )
    assert (deep.batch_size, deep.objective.depth, deep.objective.side) == (2, 16, 512)  # type: ignore[attr-defined]
    assert not deep.objective.zero_adapters  # type: ignore[attr-defined]
