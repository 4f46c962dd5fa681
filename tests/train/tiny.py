"""A SAM of a few thousand parameters, and synthetic images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from curate.made import Made, disc, make_collection, rectangle
from promptseg.datasets.collection import Split
from promptseg.models.cards import CARDS, ModelCard
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam import build as builders
from promptseg.models.families.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.vit import ViT
from promptseg.models.preprocess import Preprocessing
from promptseg.train.objectives import Batch

SIDE, GRID, CHANNELS = 64, 8, 32


def tiny_sam(seed: int = 0) -> Sam:
    """64-pixel input, 8 x 8 embedding, 32 x 32 masks."""
    torch.manual_seed(seed)
    encoder = ViT(16, depth=1, heads=2, whole=(0,), image_size=SIDE, patch=8, out_channels=CHANNELS)
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


def build_tiny() -> Sam:
    """The same in float32, as a constructor of `promptseg.models.families.sam.build`."""
    return tiny_sam().float()


TINY = ModelCard(
    name="tiny",
    title="a tiny SAM",
    build="build_tiny",
    preprocessing=Preprocessing(SIDE, "minmax"),
    prompts=frozenset({"box", "point", "mask"}),
    modalities="nothing",
    weights="mobile-sam",  # never fetched: a file is given, or put in its place
    licence="CC0",
    source="made",
    citation="none",
    weak_at="everything",
)


def register() -> None:
    """Make "tiny" a model that promptseg knows, with all others gone."""
    CARDS.clear()
    CARDS["tiny"] = TINY
    builders.build_tiny = build_tiny  # type: ignore[attr-defined]


def made_data(root: Path, images: int = 12, size: int = 60) -> Path:
    """A collection of discs and rectangles: two datasets, every image another patient."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(images):
        shape = (size, size - 12 * (k % 2))
        y, x = rng.integers(15, size - 25, 2)
        masks = {"disc": disc(shape, float(y), float(x), 6.0 + k % 4)}
        if k % 3:
            masks["plate"] = rectangle(shape, (2, 2, 11, 5 + k % 7))
        split: Split = "train" if k < images * 2 // 3 else "validation" if k % 2 else "test"
        dataset, modality = ("us", "US") if k % 2 else ("mr", "MR")
        made.append(Made(f"{dataset}/case{k}", masks, split, f"patient{k}", modality))
    make_collection(root, made)
    return root
