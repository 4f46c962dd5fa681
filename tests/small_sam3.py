"""A small SAM 3 with random weights."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import torch

from promptseg.models.families.sam3.build import Sam3Shape, network_of
from promptseg.models.families.sam3.tokens import Tokens

SHAPE = Sam3Shape(
    image_size=112,
    width=64,
    mlp=160,
    depth=4,
    heads=4,
    window=4,
    whole=(1, 3),
    pretrained=56,
    dim=32,
    hidden=64,
    attention_heads=4,
    layers=(2, 3, 2),
    queries=12,
    words=(32, 2, 4, 512),
)


def small_sam3() -> Any:
    """112 pixels, 32 channels, 12 queries, the words of the published ones; always the same."""
    torch.manual_seed(0)
    return network_of(SHAPE, seeded=True).eval().requires_grad_(False)


def small_words(folder: Path) -> Tokens:
    """A table that joins two pairs and no more: most words are written letter by letter."""
    path = folder / "words.txt.gz"
    path.write_bytes(gzip.compress(b"#version\nl i\nv e\n"))
    return Tokens(path)
