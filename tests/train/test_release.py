"""Weights that are handed over: official tools load them, and promptseg knows what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from curate.made import make_collection, usual
from models.peer import MOBILE_SAM, SEGMENT_ANYTHING, import_peer, official_lite_medsam
from promptseg import assets
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS, ModelCard
from promptseg.models.checkpoint import identify, read_checkpoint
from promptseg.models.families.sam import build as builders
from promptseg.models.families.sam import build_sam_vit_b
from promptseg.train.release import data_facts, plain, release, trained_prompts
from promptseg.train.verdict import compare
from train.made_answers import made_validation
from train.tiny import TINY, build_tiny

ALL = frozenset({"box", "point", "mask"})
BOX = frozenset({"box"})
FACTS = {
    "name": "liver-sam",
    "strategy": "medicosam",
    "base_weights_sha256": "ab" * 32,
    "hyperparameters": {"learning_rate": 1e-5, "output": Path("somewhere", "run")},
}
Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _tiny_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(CARDS, "tiny", TINY)
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return build_tiny().state_dict()


def test_both_files_are_known_again(tmp_path: Path, tensors: Tensors) -> None:
    verdict = compare(made_validation(), made_validation(lambda *_: 0.05, noise=1), ALL)
    card = release(tensors, TINY, FACTS, tmp_path, asks=ALL, verdict=verdict)
    names = {"model.pth", "model.safetensors", "card.json", "card.md"}
    assert {p.name for p in tmp_path.iterdir()} == names
    for name in ("model.pth", "model.safetensors"):
        read = read_checkpoint(tmp_path / name)
        assert all(torch.equal(read[k], v) for k, v in tensors.items())
        predictor = Predictor.load(tmp_path / name, "cpu")
        assert predictor.card == card
    assert (card.name, card.base, card.prompts) == ("liver-sam", "tiny", ALL)
    assert (card.preprocessing, card.build) == (TINY.preprocessing, "build_tiny")
    assert "fine-tuned from tiny" in card.source


def test_plain_tensors_and_metadata(tmp_path: Path, tensors: Tensors) -> None:
    release(tensors, TINY, FACTS, tmp_path, asks=BOX)
    content = torch.load(tmp_path / "model.pth", weights_only=True)
    assert content.keys() == tensors.keys()
    with safe_open(tmp_path / "model.safetensors", "pt") as stream:  # type: ignore[no-untyped-call]
        facts = stream.metadata()
    assert facts["name"] == "liver-sam"
    assert facts["base_weights_sha256"] == "ab" * 32
    assert facts["prompts"] == "box"
    assert facts["verdict"] == "not validated"
    assert "not a medical device" in facts["notice"]


def test_the_same_again_is_the_same_files(tmp_path: Path, tensors: Tensors) -> None:
    contents = []
    for name in ("a", "b"):
        release(tensors, TINY, FACTS, tmp_path / name, asks=ALL)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_what_the_card_says(tmp_path: Path, tensors: Tensors) -> None:
    collection = make_collection(tmp_path / "data", usual())
    data = data_facts(collection, {"train": collection.of("train")})
    assert data["parts"]["train"]["CT"] == {"images": 4, "objects": 6, "patients": 2}
    assert data["parts"]["train"]["all"]["images"] == 6
    assert data["datasets"]["abdomen"] == {"licences": ["CC BY 4.0"], "sources": [], "open": True}
    assert [w.split(":")[0] for w in data["warnings"]] == ["breast"]
    verdict = compare(made_validation(), made_validation(lambda *_: -0.05), ALL)
    run = tmp_path / "run"
    card = release(tensors, TINY, {**FACTS, "data": data}, run, asks=ALL, verdict=verdict)
    said = json.loads((run / "card.json").read_text())
    assert said["data"]["collection_sha256"] == collection.sha256
    assert said["verdict"]["outcome"] == "worse"
    assert said["training"]["hyperparameters"] == {"learning_rate": 1e-5, "output": "run"}
    assert said["files"]["model.pth"]["sha256"] == assets.sha256_of(run / "model.pth")
    assert said["modalities"] == "CT, US, endoscopy (fine-tuning); before it: nothing"
    assert card.licence == "CC0; training data under other terms, see card.md"
    page = (run / "card.md").read_text()
    for words in (
        "**Warning.** breast: licence CC BY-NC 4.0",
        "**Worse.**",
        "medical device",
        "| abdomen | CC BY 4.0 | - |",
        "--model model.safetensors",
        "| hyperparameters.learning_rate | 1e-05 |",
        said["files"]["model.pth"]["sha256"],
    ):
        assert words in page
    assert str(tmp_path) not in page + (run / "card.json").read_text()


def test_a_strategy_with_its_settings(tmp_path: Path, tensors: Tensors) -> None:
    strategy = {"preset": "medsam", "trains": "all", "objective": {"p_box": 1.0}}
    facts = {"strategy": strategy, "reported_on": "the validation part"}
    verdict = compare(made_validation(), made_validation(), ALL)
    card = release(tensors, TINY, facts, tmp_path, asks=BOX, verdict=verdict)
    assert card.name == "tiny-medsam"
    page = (tmp_path / "card.md").read_text()
    assert "with the strategy medsam." in page
    assert "| strategy.objective.p_box | 1.0 |" in page
    assert "Measured on the validation part, on which the best weights were chosen" in page


def test_half_precision(tmp_path: Path, tensors: Tensors) -> None:
    own = {k: v.clone() for k, v in tensors.items()}
    name = "mask_decoder.iou_token.weight"
    own[name][0, 0] = 1e6  # beyond float16
    release(own, TINY, FACTS, tmp_path, asks=ALL, half=True)
    read = read_checkpoint(tmp_path / "model.safetensors")
    assert read[name].dtype == torch.float32
    halves = [k for k, v in read.items() if v.dtype == torch.float16]
    assert len(halves) == len(read) - 1
    assert "Stored as float16" in (tmp_path / "card.md").read_text()
    network = Predictor.load(tmp_path / "model.pth", "cpu").runner.network
    assert next(network.parameters()).dtype == torch.float32


def test_the_semantic_decoder_lies_beside(tmp_path: Path, tensors: Tensors) -> None:
    decoder = {"head.weight": torch.ones(3, 2).double()}
    release(tensors, TINY, FACTS, tmp_path, asks=ALL, semantic=decoder)
    read = read_checkpoint(tmp_path / "semantic.safetensors")
    assert torch.equal(read["head.weight"], torch.ones(3, 2))
    assert "semantic.safetensors" in json.loads((tmp_path / "card.json").read_text())["files"]


def test_shared_and_strided_tensors(tmp_path: Path, tensors: Tensors) -> None:
    own = dict(tensors)
    first, second = (f"mask_decoder.output_hypernetworks_mlps.{k}.layers.0.weight" for k in (0, 1))
    own[second] = own[first]
    own["mask_decoder.iou_token.weight"] = own["mask_decoder.iou_token.weight"].t().clone().t()
    release(own, TINY, FACTS, tmp_path, asks=ALL)
    assert torch.equal(read_checkpoint(tmp_path / "model.safetensors")[second], own[first])


def test_what_cannot_be_released(tmp_path: Path, tensors: Tensors) -> None:
    name = "mask_decoder.iou_token.weight"
    broken = {**tensors, name: torch.full_like(tensors[name], float("nan"))}
    with pytest.raises(InputError, match=f"NaN or infinity in {name}"):
        release(broken, TINY, FACTS, tmp_path, asks=ALL)
    for wrong in ("mobile-sam", "a/b", ""):
        facts = {**FACTS, "name": wrong or "x" * 65}
        with pytest.raises(ModelError, match="a name of its own"):
            release(tensors, TINY, facts, tmp_path, asks=ALL)
    with pytest.raises(ModelError, match="missing or of another shape"):
        release({k: tensors[k] for k in list(tensors)[1:]}, TINY, FACTS, tmp_path, asks=ALL)
    with pytest.raises(ModelError, match="a checkpoint of mobile-sam"):
        release(tensors, CARDS["mobile-sam"], FACTS, tmp_path, asks=ALL)
    assert not list(tmp_path.iterdir())


def test_a_tuned_model_can_be_tuned_again(tmp_path: Path, tensors: Tensors) -> None:
    first = release(tensors, TINY, FACTS, tmp_path / "a", asks=BOX)
    facts = {"strategy": "simple ft!"}
    second = release(tensors, first, facts, tmp_path / "b", asks=BOX)
    assert (second.name, second.base) == ("liver-sam-simple-ft-", "tiny")
    said = json.loads((tmp_path / "b" / "card.json").read_text())
    assert said["started_from"] == {"model": "liver-sam", "sha256": None}


def test_prompts_are_kept_where_no_loss_was_shown() -> None:
    lost = compare(made_validation(), made_validation(lambda m, p, s: -0.1 * (s > 0)), BOX)
    assert trained_prompts(TINY, BOX, lost) == {"box"}, "clicks correct, and that got worse"
    same = compare(made_validation(), made_validation(lambda *_: 0.01), BOX)
    assert trained_prompts(TINY, BOX, same) == ALL
    parted = made_validation(lambda m, p, s: 0.05 if m == "CT" else -0.03 * (p == "point"))
    assert trained_prompts(TINY, BOX, compare(made_validation(), parted, BOX)) == {"box"}
    few = compare(made_validation(patients=1), made_validation(patients=1), BOX)
    assert trained_prompts(TINY, BOX, few) == {"box"}
    assert trained_prompts(TINY, BOX, None) == {"box"}
    assert trained_prompts(replace(TINY, prompts=BOX), ALL, None) == ALL


def test_plain_values() -> None:
    said = plain({1: (Path("/a/b"), {"y", "x"}), "t": torch.float16, "n": float("inf"), "o": None})
    assert said == {"1": ["b", ["x", "y"]], "t": "torch.float16", "n": None, "o": None}


def _edit(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**said, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "sam-vit-x"}, "a base model out of"),
        ({"base": ["tiny"]}, "base as one line"),
        ({"base": "sam-vit-b"}, "a checkpoint of liver-sam"),
        ({"name": "sam-vit-b"}, "a name of its own"),
        ({"name": "a\nb"}, "name as one line"),
        ({"name": "../x"}, "a name of its own"),
        ({"licence": None}, "licence as one line"),
        ({"licence": "x" * 501}, "licence as one line"),
        ({"modalities": 3}, "modalities as one line"),
        ({"prompts": ["box", "text"]}, "prompts out of"),
        ({"prompts": [["box"]]}, "prompts out of"),
        ({"prompts": []}, "prompts out of"),
        ({"prompts": "box"}, "prompts out of"),
    ],
)
def test_a_card_is_not_trusted(
    tmp_path: Path, tensors: Tensors, changes: dict[str, Any], message: str
) -> None:
    release(tensors, TINY, FACTS, tmp_path, asks=ALL)
    _edit(tmp_path, **changes)
    path = tmp_path / "model.pth"
    with pytest.raises(ModelError, match=re.escape(message)):
        identify(read_checkpoint(path), path)


def test_other_cards_and_other_files(tmp_path: Path, tensors: Tensors) -> None:
    """Only the card of these very weights counts."""
    release(tensors, TINY, FACTS, tmp_path, asks=BOX)
    path, renamed = tmp_path / "model.pth", tmp_path / "mine.pth"
    renamed.write_bytes(path.read_bytes())
    assert identify(tensors, renamed).name == "liver-sam", "the hash counts, not the name"
    torch.save({k: v + 1 for k, v in tensors.items()}, renamed)
    assert identify(tensors, renamed) == TINY
    renamed.replace(path)
    with pytest.raises(ModelError, match="with another SHA-256"):
        identify(tensors, path)
    for content in ('{"schema": "another"}', "[1]", "not json", "[" * 100_000, "\xff"):
        (tmp_path / "card.json").write_text(content, encoding="latin-1")
        assert identify(tensors, path) == TINY
    _write = (tmp_path / "card.json").write_text
    _write(json.dumps({"schema": "promptseg model 1", "files": {"x.pth": "y"}}))
    assert identify(tensors, path) == TINY


def test_propagation_follows_the_prompts(tmp_path: Path, tensors: Tensors) -> None:
    by_mask = replace(TINY, propagate="box+mask", margin=0.0, margin_pixels=0.0)
    CARDS["tiny"] = by_mask
    assert release(tensors, by_mask, FACTS, tmp_path, asks=ALL).propagate == "box+mask"
    card = release(tensors, by_mask, FACTS, tmp_path, asks=BOX)
    assert (card.propagate, card.margin, card.margin_pixels) == ("box", 0.05, 1.0)
    clicks = release(tensors, by_mask, FACTS, tmp_path, asks=frozenset({"point"}))
    assert clicks.propagate == "points"


@pytest.mark.weights
def test_the_command_line_takes_it(
    tmp_path: Path, lite_medsam_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiteMedSAM that was asked with clicks: they are taken, though the base refuses them."""
    from PIL import Image

    state = read_checkpoint(lite_medsam_weights)
    release(state, CARDS["lite-medsam"], FACTS, tmp_path, asks=frozenset({"point"}))
    picture = Image.new("L", (64, 48))
    picture.paste(200, (20, 10, 40, 30))
    picture.save(tmp_path / "in.png")
    command = ["segment", "-i", str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
    model = ["--model", str(tmp_path / "model.safetensors"), "--device", "cpu"]
    assert main([*command, *model, "--point", "30,20,+"]) == 0
    said = json.loads((tmp_path / "out.png.json").read_text())
    assert said["model"]["name"] == "liver-sam"
    assert main([*command, *model, "--box", "20,10,39,29", "--overwrite"]) == 2
    assert "prompts liver-sam was trained for (point)" in capsys.readouterr().err


def _equal(network: Any, state: Tensors) -> bool:
    loaded = network.state_dict()
    return all(torch.equal(loaded[k], v) for k, v in state.items())


@pytest.mark.peer
@pytest.mark.weights
def test_official_lite_medsam_loads_it(tmp_path: Path, lite_medsam_weights: Path) -> None:
    state = read_checkpoint(lite_medsam_weights)
    card = release(state, CARDS["lite-medsam"], FACTS, tmp_path, asks=BOX)
    assert card.keep_8bit
    assert card.low_quality == CARDS["lite-medsam"].low_quality
    assert _equal(official_lite_medsam(tmp_path / "model.pth"), state)


@pytest.mark.peer
@pytest.mark.parametrize("half", [False, True])
def test_official_mobile_sam_loads_it(tmp_path: Path, half: bool) -> None:
    torch.manual_seed(0)
    state = builders.build_mobile_sam().state_dict()
    card = release(state, CARDS["mobile-sam"], FACTS, tmp_path, asks=ALL, half=half)
    registry = import_peer(*MOBILE_SAM).sam_model_registry
    network = registry["vit_t"](checkpoint=str(tmp_path / "model.pth"))
    rounded = {
        k: v.half().float() if half and v.is_floating_point() else v for k, v in state.items()
    }
    assert _equal(network, rounded)
    assert isinstance(card, ModelCard)


@pytest.mark.peer
@pytest.mark.slow
def test_official_sam_loads_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build_sam_vit_b().state_dict()
    card = release(state, CARDS["medicosam-vit-b"], FACTS, tmp_path, asks=ALL)
    assert card.base == "medicosam-vit-b", "not one of three that share ViT-B"
    registry = import_peer(*SEGMENT_ANYTHING).sam_model_registry
    assert _equal(registry["vit_b"](checkpoint=str(tmp_path / "model.pth")), state)
