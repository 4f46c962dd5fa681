"""EfficientTAM: its encoder against an independent description, the rest against official code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.efficienttam_described import encoded, shapes_of
from models.sam2_peer import official_sam2
from models.test_sam2_parity import CONFIGS, FRAMES, Both, let_objects_vanish, pictures, randomised
from promptseg.errors import ModelError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS, find_card
from promptseg.models.checkpoint import build_network, identify, open_checkpoint, read_checkpoint
from promptseg.models.families.sam2.build import PLAIN, PLAIN_TRUNKS, SHAPES, build_sam2
from promptseg.models.families.sam2.network import Sam2, Shape
from promptseg.models.families.sam2.plain import PlainEncoder, PlainSize
from promptseg.models.protocol import SlicePrompt

NAMES = ("efficienttam-ti", "efficienttam-s", "efficienttam-ti-512", "efficienttam-s-512")
SMALL = PlainSize(24, 3, depth=4)
ENCODER = "image_encoder."


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: 0.15 * torch.randn(shape, generator=generator) for k, shape in shapes.items()}


def of_encoder(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(ENCODER): v for k, v in tensors.items() if k.startswith(ENCODER)}


@pytest.mark.parametrize(
    "size", [224, 320]
)  # positions as they are, and enlarged, with cut windows
@torch.inference_mode()
def test_the_encoder_is_as_described(size: int) -> None:
    tensors = drawn(shapes_of(24, depth=4, dim=32))
    encoder = PlainEncoder(SMALL, 32)
    encoder.load_state_dict(of_encoder(tensors))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    expected = encoded(tensors, images, heads=3, depth=4)
    found = encoder(images)
    assert found.shape == (2, 32, size // 16, size // 16)
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.1


def described(width: int) -> dict[str, tuple[int, ...]]:
    """All tensors: the encoder's as described, others those of SAM 2.0 without finer levels."""
    with torch.device("meta"):
        sam2 = Sam2(SHAPES["sam2-t"]).state_dict()
    others = {
        k: tuple(v.shape)
        for k, v in sam2.items()
        if not k.startswith((ENCODER, "sam_mask_decoder.conv_s"))
    }
    return {**shapes_of(width), **others}


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_as_described(name: str) -> None:
    with torch.device("meta"):
        network = build_sam2(name)
    width = 192 if "-ti" in name else 384
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == described(width)
    assert network.image_size == (512 if name.endswith("512") else 1024)
    # the published file of ti at 512 pixels is said to have 71,620,052 bytes
    count = sum(v.numel() for v in network.state_dict().values())
    if width == 192:
        assert 0 < 71_620_052 - 4 * count < 200_000


def test_its_file_loads_strictly_and_is_asked(tmp_path: Path) -> None:
    tensors = drawn(described(192))
    path = tmp_path / "efficienttam_ti_512x512.pt"
    torch.save({"model": tensors}, path)
    assert identify(read_checkpoint(path), path) is CARDS["efficienttam-ti-512"]
    card, _, found = open_checkpoint(f"efficienttam-ti-512={path}")
    network = build_network(card, found, path)
    assert all(torch.equal(v, tensors[k]) for k, v in network.state_dict().items())
    predictor = Predictor.load(f"efficienttam-ti-512={path}")
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    (embedding,) = predictor.encode([picture])
    answer = predictor.decode(embedding, [SlicePrompt((10, 10, 50, 40))])
    assert answer.masks.shape == (1, 60, 80)
    again = predictor.unpack(embedding.tensors(), (60, 80))
    torch.testing.assert_close(
        predictor.decode(again, [SlicePrompt((10, 10, 50, 40))]).logits, answer.logits
    )
    other = path.rename(tmp_path / "mine.pt")
    with pytest.raises(ModelError, match=r"one model out of efficienttam-ti, efficienttam-ti-512"):
        identify(tensors, other)


def test_other_sizes_and_the_pooled_ones_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"attends to a pooled memory.*; use efficienttam-ti"):
        find_card("efficienttam-ti-2")
    path = tmp_path / "base.pt"
    wide = {k: torch.zeros(1).expand(shape) for k, shape in described(768).items()}
    with pytest.raises(ModelError, match=r"closest to .* another shape"):
        identify(wide, path)
    with pytest.raises(ModelError, match=r"a checkpoint of efficienttam-s, got .*efficienttam-ti"):
        build_network(CARDS["efficienttam-s"], drawn(described(192)), path)


class Adapter(nn.Module):
    """The described encoder in the place of the official one."""

    def __init__(self, tensors: dict[str, Tensor], position: nn.Module) -> None:
        super().__init__()
        self.tensors, self.position = tensors, position

    def forward(self, images: Tensor) -> dict[str, Any]:
        features = encoded(self.tensors, images, heads=3, depth=4)
        return {
            "vision_features": features,
            "vision_pos_enc": [self.position(features)],
            "backbone_fpn": [features],
        }


@pytest.mark.peer
def test_objects_in_frames_agree_with_official_memory_and_decoder() -> None:
    """Boxes, clicks, a mask, a correction, forward and backward, on features of one level alone."""
    torch.manual_seed(0)
    changes = {
        "image_size": 128,
        "use_high_res_features_in_sam": False,
        "memory_attention__layer__self_attention__feat_sizes": [8, 8],
        "memory_attention__layer__cross_attention__feat_sizes": [8, 8],
    }
    official = official_sam2(CONFIGS["sam2-t"], **changes)
    position = official.image_encoder.neck.position_encoding
    ours = Sam2(Shape(SMALL, 128, dated_pointers=False)).eval().requires_grad_(False)
    tensors = drawn(shapes_of(24, depth=4))
    rest = {k: v for k, v in randomised(official).items() if not k.startswith(ENCODER)}
    ours.load_state_dict({**tensors, **rest})
    official.image_encoder = Adapter(tensors, position)
    images = pictures(128)
    let_objects_vanish(ours, official, images)
    both = Both(ours, official, images)
    side = both.side
    y, x = np.indices((side, side)) / side
    both.prompt(0, 1, box=(0.05 * side, 0.15 * side, 0.35 * side, 0.45 * side))
    both.draw(2, 2, (x - 0.7) ** 2 + (y - 0.68) ** 2 < 0.04)
    both.propagate(0)
    both.prompt(4, 1, afresh=False, points=[(0.48 * side, 0.3 * side)], labels=[1])
    both.propagate(FRAMES - 1, down=True)
    assert both.present == {True, False}


def test_every_plain_trunk_has_a_card_of_both_sides() -> None:
    assert {n for n in PLAIN if n.startswith("efficienttam")} == set(NAMES)
    assert set(PLAIN_TRUNKS) == {"ti", "s"}
    assert replace(PLAIN_TRUNKS["s"], width=192, heads=3) == PLAIN_TRUNKS["ti"]
