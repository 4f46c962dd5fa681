"""Checkpoints we do not trust: what loads, and what is refused with one clear error."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from promptseg.errors import ModelError
from promptseg.models.cards import CARDS, find_card, models_that_take
from promptseg.models.checkpoint import build_network, identify, read_checkpoint
from promptseg.models.sam import build_lite_medsam, build_mobile_sam
from promptseg.segment.predictor import Predictor


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_lite_medsam().state_dict()


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
    assert models_that_take({"point"}) == ["mobile-sam"]
    assert models_that_take({"box"}) == ["lite-medsam", "mobile-sam"]
