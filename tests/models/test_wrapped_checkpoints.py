"""Checkpoints as training loops save them: the network is found by structure, or the names are said."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch

from architectures import forget_builds
from promptseg.errors import ModelError
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import build_network, identify, open_checkpoint, read_checkpoint
from promptseg.models.families.sam import build as builders
from train.tiny import TINY, build_tiny

Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only model there is has a few thousand parameters."""
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    before = dict(CARDS)
    CARDS.clear()
    CARDS["tiny"] = TINY
    forget_builds(monkeypatch)
    yield
    CARDS.clear()
    CARDS.update(before)


@pytest.fixture
def state() -> Tensors:
    return build_tiny().state_dict()


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + k: v for k, v in tensors.items()}


def nested(tensors: Tensors) -> dict[str, Any]:
    """A dictionary per module."""
    whole: dict[str, Any] = {}
    for name, value in tensors.items():
        *folders, last = name.split(".")
        place = whole
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return whole


def shifted(tensors: Tensors) -> Tensors:
    return {k: v + 1 for k, v in tensors.items()}


def others(tensors: Tensors) -> dict[str, Any]:
    """What a training keeps beside: an optimiser with values of the very shapes, a loss, counters."""
    moments = {k: {"exp_avg": v + 2, "step": torch.ones(())} for k, v in tensors.items()}
    return {"optimizer": {"state": moments, "param_groups": [{"lr": 0.1}]}, "epoch": 3, "loss": 0.5}


WRAPPED = {
    "lightning": lambda s: {"state_dict": prefixed(s, "model."), "global_step": 2, **others(s)},
    "lightning with a loss": lambda s: {
        "state_dict": prefixed(s, "net.") | {"criterion.weight": torch.ones(3)}
    },
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "encoder alone compiled": lambda s: {
        k.replace("image_encoder.", "image_encoder._orig_mod."): v for k, v in s.items()
    },
    "tutorial": lambda s: {"model_state_dict": s, "optimizer_state_dict": others(s)["optimizer"]},
    "averaged": lambda s: prefixed(s, "module.") | {"n_averaged": torch.tensor(7)},
    "average alone": lambda s: {"ema": {"shadow": s}},
    "nested": lambda s: {"weights": nested(s)},
    "nnU-Net's": lambda s: {"network_weights": prefixed(s, "encoder_wrapper.sam.")},
    "the same twice": lambda s: {"student": s, "teacher": dict(s)},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_around_a_network_does_not_matter(
    name: str, tmp_path: Path, state: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "c.ckpt", WRAPPED[name](state))
    with caplog.at_level(logging.WARNING, "promptseg"):
        card, _, read = open_checkpoint(path)
    assert card == TINY
    assert read.keys() == state.keys()
    assert all(torch.equal(read[k], v) for k, v in state.items())
    if name != "encoder alone compiled":
        assert "c.ckpt: the network was found under" in caplog.text
    build_network(card, read, path)


def test_plain_weights_are_taken_without_a_word(
    tmp_path: Path, state: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "promptseg"):
        read_checkpoint(saved(tmp_path / "c.pth", state))
    assert caplog.text == ""


def test_of_weights_and_their_average_the_weights_are_taken_and_that_is_said(
    tmp_path: Path, state: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "c.pth", {"ema": shifted(state), "model": state})
    with caplog.at_level(logging.WARNING, "promptseg"):
        read = read_checkpoint(path)
    assert all(torch.equal(read[k], v) for k, v in state.items())
    assert "holds several networks, under ema, model: model was taken" in caplog.text


def test_of_two_networks_none_is_guessed(tmp_path: Path, state: Tensors) -> None:
    path = saved(tmp_path / "c.pth", {"student": state, "teacher": shifted(state)})
    with pytest.raises(ModelError, match="2 that differ, under student, teacher; save the one"):
        read_checkpoint(path)
    path = saved(tmp_path / "d.pth", {**state, **prefixed(shifted(state), "module.")})
    with pytest.raises(ModelError, match=r"are unknown \(first: module\."):
        identify(read_checkpoint(path), path)


def test_adapters_beside_the_weights_are_not_left_out(tmp_path: Path, state: Tensors) -> None:
    """The weights under a low-rank adaptation are not those of the fine-tuned model."""
    name = next(k for k in state if k.endswith("qkv.weight"))
    layer = name.removesuffix(".weight")
    adapted = dict(state)
    adapted[f"{layer}.base_layer.weight"] = adapted.pop(name)
    adapted[f"{layer}.lora_A.weight"] = torch.ones(2, 16)
    path = saved(tmp_path / "c.pth", adapted)
    with pytest.raises(ModelError, match=r"other names \(first: .*base_layer.*adapters merged"):
        identify(read_checkpoint(path), path)


def test_names_are_blamed_where_they_are_the_problem(tmp_path: Path, state: Tensors) -> None:
    other = {k.replace("image_encoder", "vision_encoder"): v for k, v in state.items()}
    path = saved(tmp_path / "c.pth", {"state_dict": other})
    with pytest.raises(
        ModelError, match=r"all tensors of tiny by their shapes, but under other names \(first: vis"
    ):
        identify(read_checkpoint(path), path)


def test_a_dictionary_within_itself_comes_to_an_end(tmp_path: Path, state: Tensors) -> None:
    content: dict[str, Any] = {"model": state}
    content["again"] = content
    assert read_checkpoint(saved(tmp_path / "c.pth", content)).keys() == state.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, state: Tensors, value: float
) -> None:
    name = "mask_decoder.iou_token.weight"
    state[name][0, 0] = value
    path = saved(tmp_path / "c.pth", state)
    with pytest.raises(ModelError, match=rf"in 1 of \d+ tensors \(first: {name}\)"):
        build_network(TINY, read_checkpoint(path), path)


def test_weights_that_are_no_real_numbers_are_refused(tmp_path: Path, state: Tensors) -> None:
    name = "mask_decoder.iou_token.weight"
    for broken in (state[name].to(torch.int8), state[name].to(torch.complex64)):
        path = saved(tmp_path / "c.pth", {**state, name: broken})
        with pytest.raises(ModelError, match=rf"floating-point numbers, got .*{name}"):
            build_network(TINY, read_checkpoint(path), path)


def test_compressed_archives_are_refused_before_they_are_unpacked(
    tmp_path: Path, state: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = saved(tmp_path / "plain.pth", state)
    out = io.BytesIO()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(out, "w") as new:
        for k, member in enumerate(old.infolist()):
            data = bytes(10_000_000) if k == 1 else old.read(member)
            new.writestr(member.filename, data, zipfile.ZIP_DEFLATED if k == 1 else None)
    path = tmp_path / "bomb.pth"
    path.write_bytes(out.getvalue())
    monkeypatch.setattr(torch, "load", None)  # not reached
    with pytest.raises(ModelError, match=r"stored as they are.*is compressed"):
        read_checkpoint(path)


def test_programs_are_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(ModelError, match="a TorchScript program"):
        read_checkpoint(path)


def test_code_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", {"hyper_parameters": PurePosixPath("x"), "state_dict": {}})
    with pytest.raises(ModelError, match=r"pickled code \(pathlib\.PurePosixPath\)"):
        read_checkpoint(path)
