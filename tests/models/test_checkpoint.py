"""Checkpoints we do not trust: what loads, and what is refused with one clear error."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from promptseg import assets
from promptseg.errors import AssetError, ModelError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS, find_card, model_file, models_that_take
from promptseg.models.checkpoint import (
    build_network,
    identify,
    open_checkpoint,
    read_checkpoint,
)
from promptseg.models.families.sam import build_lite_medsam, build_mobile_sam, build_sam_vit_b


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_lite_medsam().state_dict()


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ViT-B, of no model in particular, wrapped and prefixed as trainers do."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in build_sam_vit_b().state_dict().items()}
    zero = torch.zeros(1)  # one stored number stands for all: the file stays small
    content = {f"module.sam.{k}": zero.expand(shape) for k, shape in shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save({"model_state": content, "epoch": 3}, path)
    return path


def test_named_architectures_are_told_apart(tensors: dict[str, torch.Tensor]) -> None:
    assert identify(tensors, Path("x")).name == "lite-medsam"
    assert identify(build_mobile_sam().state_dict(), Path("x")).name == "mobile-sam"


@pytest.mark.parametrize("wrapper", [None, "model", "model_state", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "sam.", "module.sam."])
def test_wrapped_and_prefixed_files_load(
    tmp_path: Path, tensors: dict[str, torch.Tensor], wrapper: str | None, prefix: str
) -> None:
    content: Any = {prefix + k: v for k, v in tensors.items()}
    if wrapper:
        content = {wrapper: content, "epoch": 3}
    path = tmp_path / "model.pth"
    torch.save(content, path)
    read = read_checkpoint(path)
    assert read.keys() == tensors.keys()
    name = "mask_decoder.iou_token.weight"
    torch.testing.assert_close(read[name], tensors[name])


def test_safetensors_load_and_run(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    predictor = Predictor.load(path, "cpu")
    assert predictor.card.name == "lite-medsam"
    assert predictor.weights == path


def test_the_mobile_sam_classifier_is_left_out(tmp_path: Path) -> None:
    content = build_mobile_sam().state_dict()
    content["image_encoder.norm_head.weight"] = torch.ones(320)
    content["image_encoder.head.weight"] = torch.ones(1000, 320)
    torch.save(content, tmp_path / "mobile_sam.pt")
    card = identify(read_checkpoint(tmp_path / "mobile_sam.pt"), tmp_path)
    assert card.name == "mobile-sam"


def test_another_architecture_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "other.pth"
    torch.save({k: v for k, v in tensors.items() if "neck" not in k}, path)
    with pytest.raises(ModelError, match=r"closest to lite-medsam, but 6 tensors are missing"):
        Predictor.load(path, "cpu")
    torch.save({"conv.weight": torch.ones(3)}, path)
    with pytest.raises(ModelError, match="1 are unknown"):
        Predictor.load(path, "cpu")
    with pytest.raises(ModelError, match="name that model instead"):
        build_network(CARDS["mobile-sam"], tensors, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_never_run(tmp_path: Path, legacy: bool) -> None:
    path, trap = tmp_path / "evil.pth", tmp_path / "trap"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (trap,))

    torch.save({"model": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="pickled code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="expected a"):
        read_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0, 100, 20_000, 0.5, 0.99])
def test_truncated_files_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], keep: float
) -> None:
    path = tmp_path / "model.pth"
    torch.save(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 or keep == 0 else keep * len(content))])
    with pytest.raises(ModelError, match="truncated or damaged"):
        read_checkpoint(path)


def test_files_that_are_missing_or_empty_of_tensors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        Predictor.load(tmp_path / "none.pth", "cpu")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match="without any"):
        read_checkpoint(tmp_path / "empty.pth")


def test_names_are_found_or_offered() -> None:
    assert find_card("lite-medsam") is CARDS["lite-medsam"]
    with pytest.raises(ModelError, match="did you mean lite-medsam"):
        find_card("lite-medsan")
    assert models_that_take({"point"})[0] == "mobile-sam"
    assert set(models_that_take({"box"})) == CARDS.keys()
    assert "medsam-vit-b" not in models_that_take({"point"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mobile-sam", ("mobile-sam", None)),
        ("medsam-vit-b=a/b.pth", ("medsam-vit-b", Path("a/b.pth"))),
        ("sam-vit-b=odd=name", ("sam-vit-b", Path("odd=name"))),
        ("a/b.safetensors", (None, Path("a/b.safetensors"))),
    ],
)
def test_a_choice_is_a_name_a_file_or_both(
    text: str, expected: tuple[str | None, Path | None]
) -> None:
    assert model_file(text) == expected


def test_a_choice_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean medsam-vit-b"):
        model_file("medsam-vitb=file.pth")
    with pytest.raises(ModelError, match="path of a checkpoint after ="):
        model_file("medsam-vit-b=")
    odd = tmp_path / "medsam-vitb=file.pth"
    odd.touch()
    assert model_file(odd) == (None, odd)


def test_a_bare_file_that_several_models_share_must_be_named(vit_b: Path) -> None:
    with pytest.raises(ModelError, match=r"share an architecture.*NAME=FILE.*=.*mine\.pth"):
        Predictor.load(vit_b, "cpu")
    predictor = Predictor.load(f"medsam-vit-b={vit_b}", "cpu")
    assert predictor.card is CARDS["medsam-vit-b"]
    assert predictor.weights == vit_b
    with pytest.raises(ModelError, match=r"a checkpoint of sam-vit-l, got .* or medicosam-vit-b"):
        Predictor.load(f"sam-vit-l={vit_b}", "cpu")


@pytest.mark.parametrize("name", ["sam-vit-b", "medsam-vit-b", "medicosam-vit-b"])
def test_official_file_names_say_which(vit_b: Path, name: str) -> None:
    tensors = read_checkpoint(vit_b)
    assert identify(tensors, Path("folder", assets.manifest()[name].file)) is CARDS[name]


def test_a_hash_says_more_than_a_file_name(vit_b: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = read_checkpoint(vit_b)
    renamed = vit_b.with_name("medsam_vit_b.pth")
    renamed.write_bytes(vit_b.read_bytes())
    assert identify(tensors, renamed).name == "medsam-vit-b"
    manifest = dict(assets.manifest())
    manifest["sam-vit-b"] = replace(
        manifest["sam-vit-b"], size=vit_b.stat().st_size, sha256=assets.sha256_of(vit_b)
    )
    monkeypatch.setattr(assets.store, "manifest", lambda: manifest)
    assert identify(tensors, renamed).name == "sam-vit-b"


def test_weights_that_only_the_user_can_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    with pytest.raises(AssetError, match=r"bowang-lab/MedSAM.*--model medsam-vit-b=FILE"):
        Predictor.load("medsam-vit-b", "cpu")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert model_file("~/own.pth") == (None, tmp_path / "own.pth")
    assert model_file("medsam-vit-b=~/own.pth") == ("medsam-vit-b", tmp_path / "own.pth")


def test_the_weights_in_the_package_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole; other weights of its architecture are still taken for MobileSAM's."""
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    card, file, tensors = open_checkpoint("promptseg-lite")
    assert (card.name, file.parent.name) == ("promptseg-lite", "bundled")
    build_network(card, tensors, file)
    assert identify(tensors, file).name == "promptseg-lite"
    assert identify(tensors, tmp_path / "mine.pth").name == "mobile-sam"
