"""Our SAM networks against the official code: ViT-B with random weights, MobileSAM with its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from models.peer import MOBILE_SAM, SEGMENT_ANYTHING, import_peer
from promptseg import assets
from promptseg.errors import AssetError
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import build_network, read_checkpoint
from promptseg.models.families.sam import Sam, build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from promptseg.models.families.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.families.sam.vit import ViT
from promptseg.models.preprocess import Preprocessing
from promptseg.runtime import prepare

LIMIT = 1e-4  # largest difference of two mask logits, float32
ENCODER_PARAMETERS = 89_670_912  # of ViT-B
DECODER_PARAMETERS = 4_058_340
BLOCKS = 3  # of ViT-B's twelve: two see windows, the third the whole grid

BOXES = torch.tensor([[190.0, 175.0, 541.5, 410.25], [571.0, 263.0, 834.0, 673.0]])
POINTS = (
    torch.tensor([[[366.0, 292.0], [700.0, 100.0]], [[702.0, 468.0], [100.0, 100.0]]]),
    torch.tensor([[1, 0], [1, -1]]),
)


def mask_prompts() -> torch.Tensor:
    """(2, 1, 256, 256) logits of two ellipses, where the 2D image has them."""
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    shapes = ((91, 73, 44, 29), (175, 117, 33, 51))
    distance = [((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 for cx, cy, rx, ry in shapes]
    return (8 - 8 * torch.stack(distance).sqrt()).clamp(min=-12)[:, None]


MASKS = mask_prompts()
PROMPTS: dict[str, dict[str, Any]] = {
    "click": {"points": (torch.tensor([[[400.0, 300.0]]]), torch.tensor([[1]]))},
    "points": {"points": POINTS},
    "boxes": {"boxes": BOXES},
    "boxes+points": {"boxes": BOXES, "points": POINTS},
    "masks": {"masks": MASKS},
    "boxes+masks": {"boxes": BOXES, "masks": MASKS},
    "points+masks": {"points": POINTS, "masks": MASKS},
}


def randomised(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Seeded weights for `network`: none at zero, and mask logits as large as trained ones."""
    generator = torch.Generator().manual_seed(7)
    tensors = network.state_dict()
    for name, tensor in tensors.items():
        if "rel_pos" in name or "pos_embed" in name:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        if "output_hypernetworks_mlps" in name and "layers.2" in name:
            tensor.mul_(40)
    return tensors


@pytest.fixture(scope="module")
def slice_() -> torch.Tensor:
    """(1, 3, 1024, 1024): a 2D image of soft shapes as SAM's preprocessing leaves it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:500, :700]
    picture = np.stack([60 + x / 20, 50 + y / 20, 80 - x / 30], axis=-1)
    for cx, cy, rx, ry, colour in ((250, 200, 120, 80, (90, 40, 30)), (480, 320, 90, 140, 60)):
        picture[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] += colour
    picture = ndimage.gaussian_filter(picture, (2, 2, 0)) + rng.normal(0, 4, picture.shape)
    values, _ = Preprocessing(1024, "imagenet").apply(picture.clip(0, 255).astype(np.uint8))
    return torch.from_numpy(values)[None]


def find_mobile_sam() -> Path:
    """The real weights; skips without them."""
    try:
        return assets.fetch("mobile-sam", quiet=True)
    except AssetError as error:
        pytest.skip(f"no MobileSAM weights here: {error}")


def sam_vit_b() -> tuple[Sam, Any]:
    """Ours and the official network, cut after some blocks, under the same random weights.

    Which of the others see the whole grid shows in the shapes of their tensors, compared below.
    """
    torch.manual_seed(0)
    official = import_peer(*SEGMENT_ANYTHING).sam_model_registry["vit_b"]()
    ours = build_sam_vit_b().eval().requires_grad_(False)
    for network in (official, ours):
        network.image_encoder.blocks = network.image_encoder.blocks[:BLOCKS]
    official.load_state_dict(randomised(official))
    ours.load_state_dict(official.state_dict())
    return ours, official


def mobile_sam() -> tuple[Sam, Any]:
    """Ours and the official network under MobileSAM's own weights."""
    weights = find_mobile_sam()
    official = import_peer(*MOBILE_SAM).sam_model_registry["vit_t"](checkpoint=weights).eval()
    return build_network(CARDS["mobile-sam"], read_checkpoint(weights), weights), official


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("pair", [sam_vit_b, mobile_sam])
@torch.inference_mode()
def test_mask_logits_agree(pair: Callable[[], tuple[Sam, Any]], slice_: torch.Tensor) -> None:
    """Every kind of prompt, one mask and three; each network decodes its own embedding."""
    ours, official = pair()
    mine, theirs = ours.encode(slice_), official.image_encoder(slice_)
    assert mine.shape == theirs.shape == (1, 256, 64, 64)
    assert (mine - theirs).abs().max() < 1e-5
    for (name, given), multimask in product(PROMPTS.items(), (False, True)):
        arguments = {"points": None, "boxes": None, "masks": None} | given
        sparse, dense = official.prompt_encoder(**arguments)
        expected, quality = official.mask_decoder(
            image_embeddings=theirs,
            image_pe=official.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        logits, iou = ours.decode(mine, multimask=multimask, **given)
        assert logits.shape == expected.shape
        assert expected.abs().max() > 0.5
        assert (logits - expected).abs().max() < LIMIT, name
        assert (iou - quality).abs().max() < LIMIT, name


@pytest.mark.weights
@torch.inference_mode()
def test_making_mobile_sam_ready_keeps_its_embeddings(slice_: torch.Tensor) -> None:
    weights = find_mobile_sam()
    card, tensors = CARDS["mobile-sam"], read_checkpoint(weights)
    plain = build_network(card, tensors, weights)
    ready = prepare(build_network(card, tensors, weights), torch.device("cpu"))
    assert (ready.encode(slice_) - plain.encode(slice_)).abs().max() < 1e-5


@pytest.mark.peer
@torch.inference_mode()
def test_the_vit_agrees_at_any_size_and_in_batches() -> None:
    """Grids that windows fill or not, and both ways to attend over the whole grid."""
    peer = import_peer(*SEGMENT_ANYTHING, ".modeling")
    for size, window in ((64, 3), (96, 3), (256, 14), (560, 14)):
        torch.manual_seed(size)
        official = peer.ImageEncoderViT(
            img_size=size, embed_dim=32, depth=3, num_heads=2, out_chans=8, use_rel_pos=True,
            window_size=window, global_attn_indexes=(1,),
            norm_layer=lambda dim: torch.nn.LayerNorm(dim, eps=1e-6),
        ).eval()  # fmt: skip
        ours = ViT(32, 3, 2, (1,), image_size=size, window=window, out_channels=8).eval()
        ours.load_state_dict(randomised(official))
        x = torch.randn(2, 3, size, size)
        assert (ours(x) - official(x)).abs().max() < 2e-5


def test_parameter_counts_are_the_official_ones() -> None:
    with torch.device("meta"):
        network = build_sam_vit_b()
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()
    }
    assert counts["image_encoder"] == ENCODER_PARAMETERS
    assert counts["mask_decoder"] == DECODER_PARAMETERS


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "build"),
    [("vit_b", build_sam_vit_b), ("vit_l", build_sam_vit_l), ("vit_h", build_sam_vit_h)],
)
def test_names_and_shapes_are_the_official_ones(kind: str, build: Any) -> None:
    registry = import_peer(*SEGMENT_ANYTHING).sam_model_registry
    with torch.device("meta"):
        official, ours = registry[kind](), build()
    shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (ours, official)]
    assert shapes[0] == shapes[1]


def test_the_decoder_says_the_same_while_it_learns() -> None:
    """Masks, quality and gradients of the order used in training, in float64."""
    torch.manual_seed(3)
    decoder = MaskDecoder(TwoWayTransformer(2, 32, 2, 64), 32).double()
    embedding, dense = torch.randn(2, 2, 32, 3, 5, dtype=torch.float64)
    position, sparse = torch.randn(1, 32, 3, 5).double(), torch.randn(2, 4, 32).double()
    for multimask in (False, True):
        answers, gradients = [], []
        for learning in (False, True):
            decoder.train(learning).zero_grad()
            masks, quality = decoder(embedding, position, sparse, dense, multimask)
            (masks.sin().sum() + quality.sum()).backward()
            answers.append(masks)
            gradients.append(
                {n: p.grad for n, p in decoder.named_parameters() if p.grad is not None}
            )
        torch.testing.assert_close(answers[0], answers[1], rtol=1e-10, atol=1e-12)
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-10)
