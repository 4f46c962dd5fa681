"""Files of SAM 3: under official names and others, with what is around them, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from architectures import build_as
from models.sam3_peer import official_sam3
from promptseg import assets
from promptseg.errors import AssetError, MissingPackageError, ModelError
from promptseg.inference.predictor import Predictor, require_room
from promptseg.models import storage
from promptseg.models.cards import CARDS, model_file
from promptseg.models.checkpoint import build_network, identify, open_checkpoint, read_checkpoint
from promptseg.models.families import family_named
from promptseg.models.families.sam3.build import SHAPES, network_of
from promptseg.models.families.sam3.keys import own_names
from small_sam3 import SHAPE, small_sam3

pytestmark = pytest.mark.peer
pytest.importorskip("transformers")

NAME = "sam3"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Every published network at a small size, and the licence agreed to."""
    small = {n: replace(SHAPE, image_size=shape.image_size // 9) for n, shape in SHAPES.items()}
    build_as(monkeypatch, SHAPES, small)
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("PROMPTSEG_AGREE", "SAM License")


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """What the official code saves, second neck and complex buffers included, beside a tracker."""
    torch.manual_seed(1)
    tensors = official_sam3(SHAPE, assets.fetch("sam3-words", quiet=True)).state_dict()
    assert any(value.is_complex() for value in tensors.values())
    tracker = {"tracker.maskmem_tpos_enc": torch.zeros(7, 1, 1, 64)}
    return {**{f"detector.{name}": value for name, value in tensors.items()}, **tracker}


@pytest.fixture(scope="module")
def own(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names here, which parity was shown with (test_sam3_parity.py)."""
    return own_names(official)


def same(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> bool:
    return tensors.keys() == own.keys() and all(torch.equal(v, own[k]) for k, v in tensors.items())


def test_every_build_is_a_card() -> None:
    assert {card.build for card in family_named("sam3").cards} == set(SHAPES)


@pytest.mark.parametrize("around", ["official", "trained", "own", "hub", "folder"])
def test_files_are_read_by_structure(
    tmp_path: Path, own: dict[str, Tensor], official: dict[str, Tensor], around: str
) -> None:
    path = tmp_path / "mine.pt"
    moments = {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(1.0)}}
    if around == "official":
        torch.save(official, path)
    elif around == "trained":
        torch.save({"model": official, "optimizer": {"state": moments}, "epoch": 8}, path)
    elif around == "own":
        torch.save(own, path)
    else:
        named = {f"detector_model.{k}": v.contiguous() for k, v in own.items()}
        named["tracker_model.mask_decoder.x"] = torch.zeros(1)
        if around == "folder":
            path = tmp_path / "hub"
            path.mkdir()
            (path / "config.json").write_text("{}")
            names = sorted(named)
            for n, some in enumerate((names[::2], names[1::2])):
                save_file({k: named[k] for k in some}, path / f"model-{n}.safetensors")
        else:
            path = path.with_suffix(".safetensors")
            save_file(named, path)
    card, file, tensors = open_checkpoint(f"{NAME}={path}")
    assert (card, file) == (CARDS[NAME], path)
    assert same(tensors, own)
    network = build_network(card, tensors, path)
    assert same(dict(network.state_dict()), own)


def test_a_large_file_is_mapped_and_computes_the_same(
    tmp_path: Path,
    own: dict[str, Tensor],
    official: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights are used where they lie in the file; what a network has beside them is built as ever."""
    path = tmp_path / "sam3.pt"
    torch.save({"model": official, "optimizer": torch.zeros(10)}, path)
    monkeypatch.setattr(storage, "_LARGE", 1)
    loaded = Predictor.load(f"{NAME}={path}", "cpu")
    network: Any = loaded.model.network  # type: ignore[attr-defined]
    image = torch.randn(1, 3, 112, 112)
    with torch.inference_mode():
        copied = small_sam3()
        copied.load_state_dict(own)
        one, other = (n.vision_encoder(image).fpn_hidden_states[0] for n in (network, copied))
    assert torch.equal(one, other)
    half = tmp_path / "half.pt"
    torch.save({k: v.bfloat16() if v.is_floating_point() else v for k, v in official.items()}, half)
    _, _, tensors = open_checkpoint(f"{NAME}={half}")
    assert next(build_network(CARDS[NAME], tensors, half).parameters()).dtype == torch.float32


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_names_and_shapes_are_strict(
    tmp_path: Path, official: dict[str, Tensor], change: str
) -> None:
    first = "detector.geometry_encoder.cls_embed.weight"
    tensors = dict(official)
    if change == "missing":
        del tensors[first]
    elif change == "extra":
        tensors["detector.geometry_encoder.new.weight"] = torch.zeros(1)
    else:
        tensors[first] = torch.zeros(2, 2)
    path = tmp_path / "sam3.pt"
    torch.save(tensors, path)
    named = {"extra": "geometry_encoder.new"}.get(change, "geometry_encoder.cls_embed")
    with pytest.raises(ModelError, match=rf"closest to sam3, but .*{named}"):
        Predictor.load(f"{NAME}={path}", "cpu")


def test_official_file_names_say_which_and_others_must(
    own: dict[str, Tensor], tmp_path: Path
) -> None:
    for name in ("sam3", "medical-sam3-3d"):
        assert identify(own, Path("folder", assets.manifest()[name].file)) is CARDS[name]
    with pytest.raises(ModelError, match=r"one model out of sam3, medical-sam3, .* which share"):
        identify(own, Path("folder", "mine.pt"))


@pytest.mark.parametrize("name", ["sam3.1", "sam3.1=x.pt"])
def test_sam_3_1_is_refused_by_name_with_the_reason(name: str) -> None:
    with pytest.raises(ModelError, match=r"SAM 3\.1, whose tracker of many objects.*; use sam3"):
        model_file(name)


def test_a_missing_package_is_one_error_with_the_command(
    tmp_path: Path, official: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sam3.pt"
    torch.save(official, path)
    for module in [m for m in sys.modules if m.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'promptseg\[sam3\]'"):
        Predictor.load(f"{NAME}={path}", "cpu")


def test_without_agreement_to_the_licence_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMPTSEG_AGREE")
    path = tmp_path / "sam3.pt"
    path.write_bytes(b"never read")
    with pytest.raises(
        AssetError, match=r"your agreement to the SAM License.*assets agree sam3 --yes"
    ):
        Predictor.load(f"{NAME}={path}", "cpu")


def test_weights_that_do_not_fit_into_memory_are_refused_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = {"x": torch.zeros(1).expand(1 << 30)}
    monkeypatch.setattr("promptseg.inference.predictor.available_bytes", lambda: 3 << 30)
    with pytest.raises(ModelError, match=r"4\.0 GiB of free memory for sam3, got 3\.0 GiB"):
        require_room("sam3", large)
    require_room("small", {"x": torch.zeros(10)})


@pytest.mark.parametrize("alpha", [None, 8])
def test_an_adapter_is_merged_into_the_weights_beside_it(
    tmp_path: Path, own: dict[str, Tensor], official: dict[str, Tensor], alpha: int | None
) -> None:
    weight = "transformer.encoder.layers.0.linear1.weight"
    rows, columns = official[f"detector.{weight}"].shape
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(4, columns, generator=generator)
    up = torch.randn(rows, 4, generator=generator)
    path = tmp_path / "checkpoint_3D_LoRA2D.pt"
    name = f"base_model.model.detector.{weight.removesuffix('.weight')}"
    pairs = {f"{name}.lora_A.default.weight": down, f"{name}.lora_B.default.weight": up}
    torch.save({**pairs, "config": {"lora_alpha": alpha}} if alpha else pairs, path)
    with pytest.raises(ModelError, match=r"checkpoint_3D_checkpoint8\.pt beside the adapter"):
        read_checkpoint(path)
    torch.save({"model": official}, tmp_path / "checkpoint_3D_checkpoint8.pt")
    card, _, tensors = open_checkpoint(path)
    assert card is CARDS["medical-sam3-lora"]
    changed = "detr_encoder.layers.0.mlp.fc1.weight"
    expected = own[changed] + (2.0 if alpha else 1.0) * up @ down
    torch.testing.assert_close(tensors.pop(changed), expected)
    assert same(tensors, {k: v for k, v in own.items() if k != changed})
    torch.save({f"{name}.lora_A": down[:, 1:], f"{name}.lora_B": up}, path)
    with pytest.raises(ModelError, match=r"an update of transformer.encoder"):
        read_checkpoint(path)
    torch.save({f"{name}.lora_A": down}, path)
    with pytest.raises(ModelError, match="pairs lora_A and lora_B"):
        read_checkpoint(path)


def test_a_network_without_drawn_weights_keeps_what_is_no_weight() -> None:
    """Loading replaces parameters alone; positions and frequencies are made with the network."""
    drawn, plain = network_of(SHAPE, seeded=True), network_of(SHAPE)
    for (name, one), (_, other) in zip(drawn.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(one, other), name


def test_cards_mark_what_nobody_has_seen() -> None:
    assert {name for name, card in CARDS.items() if card.untested} == {
        card.name for name in ("sam3", "sam3-tracker") for card in family_named(name).cards
    }
