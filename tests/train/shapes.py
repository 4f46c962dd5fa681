"""Pictures of named shapes, and a tiny SAM 3 to learn them."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate.made import Made, make_collection
from promptseg.datasets.collection import Collection, Split
from promptseg.models.families.sam3.build import Sam3Shape, network_of
from promptseg.models.families.sam3.tokens import Tokens

Mask = NDArray[np.bool_]

TINY_SHAPE = Sam3Shape(
    image_size=84,
    width=96,
    mlp=256,
    depth=4,
    heads=4,
    window=3,
    whole=(1, 3),
    pretrained=84,  # positions of a smaller square, repeated, would not tell places apart
    dim=64,
    hidden=128,
    attention_heads=4,
    layers=(2, 2, 1),
    queries=6,
    words=(64, 2, 4, 64),
    vocabulary=600,
    dropout=0.0,
)
NAMES = ("disc", "bar", "cross", "ring")


def tiny_sam3(seed: int = 0, sizes: Sam3Shape = TINY_SHAPE) -> torch.nn.Module:
    """1 to 2 million parameters; drawn to be learnt from, as the official code draws them.

    `transformers` draws all with a deviation of 0.02: through so narrow a network hardly anything of
    the picture comes, least of all what is fine in it.
    """
    torch.manual_seed(seed)
    network = network_of(sizes, seeded=True)
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(layer.weight)
        elif isinstance(layer, torch.nn.Embedding) and "position" not in name:
            torch.nn.init.normal_(layer.weight)
        elif isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.reset_parameters()
    positions = network.get_parameter("vision_encoder.backbone.embeddings.position_embeddings")
    torch.nn.init.normal_(positions, std=0.3)
    return network


def places_known(network: Any, sizes: Sam3Shape, extent: float, reach: float) -> None:
    """Let a network begin with what makes places easy to learn, and takes long to learn by itself.

    Positions of patches are smooth, queries begin with boxes of one size side by side, and look at
    little but what lies in their box. In training at full size these are learnt.

    Args:
        network: of `tiny_sam3`, with a square number of queries.
        sizes: its sizes.
        extent: side of the boxes, in parts of the picture.
        reach: the part of the picture, around its middle, that their middles are spread over.
    """
    grid, width = sizes.image_size // sizes.patch, sizes.width
    at = (torch.arange(grid) + 0.5) / grid * torch.pi
    waves = torch.cat(
        [turn(k * at)[:, None] for k in range(1, 5) for turn in (torch.cos, torch.sin)], 1
    )
    rows, columns = waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)
    where = torch.cat([rows, columns], -1).flatten(0, 1)
    basis = torch.linalg.qr(torch.randn(width, width))[0][: where.shape[1]]
    smooth = 0.5 * (width / where.shape[1]) ** 0.5 * where @ basis
    decoder, side = network.detr_decoder, round(sizes.queries**0.5)
    middle = 0.5 + reach * ((torch.arange(side) + 0.5) / side - 0.5)
    boxes = torch.cartesian_prod(middle, middle).flip(1)
    with torch.no_grad():
        network.vision_encoder.backbone.embeddings.position_embeddings.copy_(smooth[None])
        decoder.reference_points.weight.copy_(torch.cat([boxes, 0 * boxes + extent], 1).logit())
        decoder.box_head.layer3.weight.mul_(0.1)
        decoder.box_head.layer3.bias.zero_()
        half_a_patch = float(np.log2(1 + 4 / grid) / 3)
        for bias in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
            for layer in (bias.layer1, bias.layer2):
                torch.nn.init.normal_(layer.weight, std=0.02)
                layer.bias.zero_()
            # two units: how far before the box, how far behind it; every head looks away from there
            bias.layer1.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
            bias.layer1.bias[:2] = torch.tensor([-half_a_patch, half_a_patch])
            bias.layer2.weight[:, :2] = -8.0


def shape_words(folder: Path) -> Tokens:
    """A table in which each of the names is one part."""
    pairs = []
    for name in NAMES:
        parts = [*name[:-1], f"{name[-1]}</w>"]
        pairs += [f"{''.join(parts[:k])} {parts[k]}" for k in range(1, len(parts))]
    path = folder / "shapes.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["#version", *pairs, ""]).encode()))
    return Tokens(path)


def shape(name: str, size: int, y: float, x: float, r: float) -> Mask:
    """One of `NAMES` around a place."""
    rows, columns = np.ogrid[:size, :size]
    dy, dx = np.abs(rows - y), np.abs(columns - x)
    far = np.sqrt(dy**2 + dx**2)
    mask: Mask = {
        "disc": far <= r,
        "bar": (dy <= 0.35 * r) & (dx <= 1.2 * r),
        "cross": ((dy <= 0.3 * r) & (dx <= r)) | ((dx <= 0.3 * r) & (dy <= r)),
        "ring": (far <= r) & (far > 0.6 * r),
    }[name]
    return mask


def placed(rng: np.random.Generator, names: tuple[str, ...], size: int) -> dict[str, Mask]:
    """Shapes that do not touch."""
    while True:  # the first may lie so that there is no room for others
        spots = [
            (*rng.uniform(1.2 * r, size - 1.2 * r, 2), r)
            for r in rng.uniform(0.16, 0.22, len(names)) * size
        ]
        pairs = itertools.combinations(spots, 2)
        if all(np.hypot(y - b, x - a) > 1.2 * (r + s) for (y, x, r), (b, a, s) in pairs):
            return {name: shape(name, size, *spot) for name, spot in zip(names, spots, strict=True)}


def shapes_data(root: Path, train: int, others: int, size: int = 84) -> Collection:
    """Pictures with one or two of the shapes; every picture is another patient."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(train + 2 * others):
        split: Split = "train" if k < train else "validation" if k % 2 else "test"
        names = tuple(rng.permutation(NAMES)[: 1 + k % 2].tolist())
        made.append(Made(f"shapes/case{k}", placed(rng, names, size), split, modality="XR"))
    return make_collection(root, made, per_shard=32)
