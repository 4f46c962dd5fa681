"""Semantic models: networks, cards, files, decoders, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.made_semantic import CARD, write_model
from promptseg.errors import ModelError
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.families.sam import build as builders
from promptseg.models.families.sam.build import build_mobile_sam, build_sam_vit_b
from promptseg.models.heads.semantic.card import SEMANTIC, ClassFacts, is_semantic
from promptseg.models.heads.semantic.decoder import Decoder2d
from promptseg.models.heads.semantic.deeplab import DeepLab
from promptseg.models.heads.semantic.file import (
    open_semantic,
    read_decoder,
    semantic_network,
)
from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.models.heads.semantic.network import (
    Semantic3d,
    Shape,
    build_semantic,
    encoder_state,
)
from promptseg.models.protocol import SemanticModel
from train.tiny import build_tiny

# Names and shapes of torch-em's UNETR without skip connections, of 3 classes (its version 0.10.9).
OFFICIAL = {
    **{
        f"deconv{k}.block.{part}": shape
        for k, a, b in [(1, 256, 512), (2, 512, 256), (3, 256, 128), (4, 128, 64)]
        for part, shape in {
            "0.conv.weight": (b, a, 1, 1),
            "0.conv.bias": (b,),
            "1.block.weight": (b, b, 3, 3),
            "1.block.bias": (b,),
            **{f"2.{n}": (b,) for n in ("weight", "bias", "running_mean", "running_var")},
            "2.num_batches_tracked": (),
        }.items()
    },
    **{
        f"{name}.block.{k}.{part}": shape
        for name, a, b in [
            ("base", 256, 512),
            ("decoder.blocks.0", 512, 256),
            ("decoder.blocks.1", 256, 128),
            ("decoder.blocks.2", 128, 64),
            ("decoder_head", 128, 64),
        ]
        for k, c in ((1, a), (4, b))
        for part, shape in {"weight": (b, c, 3, 3), "bias": (b,)}.items()
    },
    **{
        f"{name}.conv.{part}": shape
        for name, a, b in [
            ("decoder.samplers.0", 512, 256),
            ("decoder.samplers.1", 256, 128),
            ("decoder.samplers.2", 128, 64),
            ("deconv_out", 64, 64),
        ]
        for part, shape in {"weight": (b, a, 1, 1), "bias": (b,)}.items()
    },
    "out_conv.weight": (3, 64, 1, 1),
    "out_conv.bias": (3,),
}


def test_the_decoder_has_torch_ems_names_and_shapes():
    own = {k: tuple(v.shape) for k, v in Decoder2d(256, 3).state_dict().items()}
    assert own == OFFICIAL


def test_transposed_steps_are_known_by_their_names():
    names = Decoder2d(256, 3, transposed=True).state_dict()
    assert "decoder.samplers.0.block.weight" in names
    assert tuple(names["deconv1.block.0.block.weight"].shape) == (256, 512, 2, 2)
    assert tuple(names["deconv_out.block.weight"].shape) == (64, 64, 2, 2)


def test_the_encoder_keeps_its_names_and_adapters_have_micro_sams():
    with torch.device("meta"):
        sam = build_sam_vit_b().state_dict()
        flat = build_semantic(Shape("build_sam_vit_b", 3)).state_dict()
        deep = build_semantic(Shape("build_sam_vit_b", 3, depth=16, side=512, adapters=True))
    encoder = {k.removeprefix("encoder."): v for k, v in flat.items() if k.startswith("encoder.")}
    assert {f"image_encoder.{k}" for k in encoder} == {k for k in sam if k.startswith("image_")}
    block = "encoder.image_encoder.blocks.11."
    own = {k: tuple(v.shape) for k, v in deep.state_dict().items() if k.startswith(block)}
    for end in ("", "_2"):
        assert own[f"{block}adapter_linear_down{end}.weight"] == (384, 768)
        assert own[f"{block}adapter_linear_up{end}.weight"] == (768, 384)
        assert own[f"{block}adapter_conv{end}.weight"] == (384, 384, 3, 1, 1)
        assert own[f"{block}adapter_norm{end}.weight"] == (768,)
    assert own[f"{block}block.attn.rel_pos_h"] == (63, 64)  # of a grid of 32
    heads = {k: tuple(v.shape) for k, v in deep.state_dict().items() if "encoder" not in k}
    assert heads["fusion_3d.0.weight"] == (64, 64, 3, 3, 3)
    assert heads["classifier.weight"] == (3, 64, 1, 1, 1)
    assert "fusion_3d.0.bias" not in heads


def test_coarser_outputs_have_the_same_weights():
    fine, coarse = Decoder2d(16, 2, 4), Decoder2d(16, 2, 4, doublings=2)
    coarse.load_state_dict(fine.state_dict())
    z = torch.randn(1, 16, 8, 8)
    assert fine.decode(z).shape == (1, 4, 128, 128)
    assert coarse.decode(z).shape == (1, 4, 32, 32)


@pytest.mark.parametrize("build", [build_mobile_sam, build_tiny])
def test_zero_adapters_leave_the_encoder_as_it_is(build, monkeypatch):
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    torch.manual_seed(0)
    sam = build()
    shape = Shape(build.__name__, 2, depth=2, side=128, features=4, adapters=True)
    flat = replace(shape, adapters=False, depth=1)
    plain = build_semantic(flat).eval()
    plain.load_state_dict(encoder_state(flat, sam.state_dict()), strict=False)
    for zero in (True, False):
        torch.manual_seed(1)
        deep = build_semantic(shape, zero).eval()
        loaded = deep.load_state_dict(encoder_state(shape, sam.state_dict()), strict=False)
        assert all("adapter" in k or not k.startswith("encoder.") for k in loaded.missing_keys)
        assert not loaded.unexpected_keys
        x = torch.randn(1, 2, 3, 128, 128)
        with torch.inference_mode():
            same = torch.allclose(deep.encode(x)[0], plain.encode(x[0]), atol=1e-5)
        assert same == zero


def test_slices_of_a_volume_see_each_other_and_volumes_do_not():
    torch.manual_seed(0)
    deep = build_semantic(
        Shape("build_mobile_sam", 2, depth=3, side=64, features=4, adapters=True)
    ).eval()
    a, b = torch.randn(2, 1, 3, 3, 64, 64).unbind(0)
    changed = a.clone()
    changed[:, 0] += 1
    with torch.inference_mode():
        both = deep(torch.cat([a, b]))
        torch.testing.assert_close(both[1], deep(b)[0], atol=1e-5, rtol=1e-4)
        assert (deep(a)[0, :, 2] - deep(changed)[0, :, 2]).abs().max() > 1e-6


def test_a_model_is_read_back_and_classifies(tmp_path):
    written = write_model(tmp_path)
    assert is_semantic(tmp_path)
    assert is_semantic(tmp_path / "model.safetensors")
    card, file, tensors = open_semantic(tmp_path)
    assert card == CARD
    model = SemanticSam(card, semantic_network(card, tensors, file), torch.device("cpu"), file, "")
    assert isinstance(model, SemanticModel)
    assert model.classes == ("disc", "liver")
    patches = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    logits = model.classify(patches)
    assert logits.shape == (2, 3, 64, 64)
    with torch.inference_mode():
        expected = written(torch.from_numpy(patches))
    torch.testing.assert_close(
        logits, nn.functional.interpolate(expected, (64, 64), mode="bilinear"), atol=1e-4, rtol=1e-4
    )
    assert len(model.classify(patches[:0])) == 0


def test_a_volume_model_classifies_patches_of_its_depth(tmp_path):
    card = replace(CARD, depth=3, halo=1)
    write_model(tmp_path, card)
    card, file, tensors = open_semantic(tmp_path)
    network = semantic_network(card, tensors, file)
    assert isinstance(network, Semantic3d)
    model = SemanticSam(card, network, torch.device("cpu"), file, "")
    logits = model.classify(np.zeros((1, 3, 3, 64, 64), np.float32))
    assert logits.shape == (1, 3, 3, 64, 64)
    slices = [np.full((40, 50), k, np.uint8) for k in (1, 2, 3)]
    assert model.on_slices(slices).shape == (3, 3, 40, 50)


def test_colours_and_codes_come_with_the_card():
    known, other = ClassFacts.of("liver", (1, 2, 3)), ClassFacts.of("thing 7", (4, 5, 6))
    assert (known.code, known.meaning) == ("10200004", "Liver")
    assert (other.code, other.meaning) == ("", "")


def test_prompts_are_not_for_it(tmp_path):
    write_model(tmp_path)
    with pytest.raises(ModelError, match="answers prompts"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="answers prompts"):
        open_checkpoint(tmp_path / "model.safetensors")


def test_other_weights_than_the_cards_are_refused(tmp_path):
    write_model(tmp_path)
    said = json.loads((tmp_path / "card.json").read_text())
    said["files"]["model.safetensors"]["sha256"] = "0" * 64
    (tmp_path / "card.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="another SHA-256"):
        open_semantic(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", []),
        ("classes", [{"name": "a", "colour": [1, 2, 300], "code": "", "meaning": ""}]),
        ("base", "sam3"),
        ("base", "nobody"),
        ("depth", -1),
        ("features", "many"),
        ("halo", 1),
    ],
)
def test_a_card_that_says_nonsense_is_refused(tmp_path, field, value):
    write_model(tmp_path)
    said = json.loads((tmp_path / "card.json").read_text())
    assert said["schema"] == SEMANTIC
    said["model"][field] = value
    (tmp_path / "card.json").write_text(json.dumps(said))
    with pytest.raises(ModelError):
        open_semantic(tmp_path)


def test_weights_of_another_number_of_classes_are_refused(tmp_path):
    write_model(tmp_path)
    card, file, tensors = open_semantic(tmp_path)
    more = replace(card, classes=(*card.classes, ClassFacts("more", (1, 1, 1))))
    with pytest.raises(ModelError, match="2 tensors differ"):
        semantic_network(more, tensors, file)


@pytest.mark.parametrize("around", ["decoder_state", "", "unetr"])
def test_official_decoders_are_found_without_their_outputs(tmp_path, around):
    state = Decoder2d(256, 3).state_dict()
    content = {"model_state": {"x": torch.zeros(1)}, "decoder_state": state}
    if around == "":
        content = state
    elif around == "unetr":
        content = {**state, "encoder.pos_embed": torch.zeros(1)}
    torch.save(content, tmp_path / "decoder.pt")
    found = read_decoder(tmp_path / "decoder.pt")
    assert found.keys() == {k for k in OFFICIAL if not k.startswith("out_conv")}
    left = Decoder2d(256, 7).load_state_dict(found, strict=False)
    assert left.missing_keys == ["out_conv.weight", "out_conv.bias"]
    assert not left.unexpected_keys


def test_a_file_without_a_decoder_is_refused(tmp_path):
    torch.save({"image_encoder.a": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(ModelError, match="torch-em"):
        read_decoder(tmp_path / "none.pt")


def test_a_side_without_a_grid_is_refused():
    with pytest.raises(ModelError, match="multiple of 32"):
        build_semantic(Shape("build_sam_vit_b", 2, side=500))


def test_deeplab_has_a_resnet_50_and_gives_logits_of_the_inputs_size():
    network = DeepLab(4).eval()
    weights = sum(value.numel() for value in network.backbone.parameters())
    assert weights == 25_557_032 - 2_049_000  # a ResNet-50, without its classifier
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert network(x).shape == (2, 4, 64, 96)
        fine, coarse = network.backbone(x)
    assert fine.shape == (2, 256, 16, 24)
    assert coarse.shape == (2, 2048, 4, 6)


def test_nnunet_has_learnt_nothing_before_its_training():
    with pytest.raises(ModelError, match="nnunet, which has no weights of its own"):
        open_checkpoint("nnunet")


def test_a_specialist_has_no_weights_to_segment_with():
    with pytest.raises(ModelError, match="no weights of its own"):
        open_checkpoint("deeplabv3plus")
