"""A SAM of a few thousand parameters, and made images for it."""

from __future__ import annotations

import numpy as np
import torch

from promptseg.models.sam import Sam
from promptseg.models.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.sam.prompt_encoder import PromptEncoder
from promptseg.models.sam.vit import ViT
from promptseg.train.objectives import Batch

SIDE, GRID, CHANNELS = 64, 8, 32


def tiny_sam(seed: int = 0) -> Sam:
    """64-pixel input, 8 x 8 embedding, 32 x 32 masks."""
    torch.manual_seed(seed)
    encoder = ViT(
        16, depth=1, heads=2, whole=(0,), image_size=SIDE, patch=8, out_channels=CHANNELS
    )
    sam = Sam(encoder, PromptEncoder(SIDE, GRID, CHANNELS))
    sam.mask_decoder = MaskDecoder(TwoWayTransformer(2, CHANNELS, 2, 64), CHANNELS)
    return sam.double()


def random_batch(seed: int, side: int = 32, images: int = 2, objects: int = 5) -> Batch:
    """Images with rectangles and scattered pixels; the first image has padding below."""
    rng = np.random.default_rng(seed)
    extent = np.full((images, 2), side)
    extent[0, 0] = side * 3 // 4
    owner = np.sort(rng.integers(0, images, objects))
    masks = np.zeros((objects, side, side), dtype=bool)
    boxes = np.zeros((objects, 4), dtype=np.float32)
    for k, image in enumerate(owner):
        h, w = extent[image]
        y, x = rng.integers(0, h - 4), rng.integers(0, w - 4)
        masks[k, y : min(h, y + rng.integers(1, 12)), x : x + rng.integers(1, 12)] = True
        masks[k, rng.integers(0, h), rng.integers(0, w)] = True
        rows, columns = np.nonzero(masks[k])
        step = SIDE / side
        boxes[k] = (
            *(columns.min() * step, rows.min() * step),
            *((columns.max() + 1) * step - 1, (rows.max() + 1) * step - 1),
        )
    union = np.stack([masks[owner == b].any(0) for b in range(images)])
    slices = rng.normal(size=(images, 3, SIDE, SIDE))
    return Batch(
        slices=torch.from_numpy(slices),
        embeddings=None,
        masks=torch.from_numpy(masks),
        boxes=torch.from_numpy(boxes),
        owner=torch.from_numpy(owner),
        extent=torch.from_numpy(extent),
        union=torch.from_numpy(union),
        names=tuple((f"sample {o}", f"target {k}") for k, o in enumerate(owner)),
    )
