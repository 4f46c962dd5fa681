"""Networks that give classes: an encoder of the SAM family, the decoder, and in 3D what joins slices.

Parameter names are those of torch-em's UNETR with SAM's encoder (2D) and of MedicoSAM's 3D network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.errors import ModelError
from promptseg.models.families import family_named
from promptseg.models.families.sam.vit import Block, ViT
from promptseg.models.heads.semantic.adapters import VolumeEncoder
from promptseg.models.heads.semantic.decoder import STAGES, Decoder2d
from promptseg.models.heads.semantic.specialist_networks import specialist_network
from promptseg.models.heads.semantic.specialists import SPECIALISTS

__all__ = [
    "Semantic2d",
    "Semantic3d",
    "SemanticNetwork",
    "Shape",
    "Specialist",
    "build_semantic",
    "doublings_for",
    "encoder_state",
]


_AT_A_TIME = 4  # slices that are decoded at once where nothing is learnt


@dataclass(frozen=True)
class Shape:
    """Sizes and parts that a semantic network is made of.

    Attributes:
        build: of the encoder's SAM; see `ModelCard.build`.
        classes: channels of the logits, background included.
        depth: slices of a patch; 1 for a network of single slices.
        side: of the encoder's square input.
        features: see `Decoder2d`.
        doublings: see `Decoder2d`.
        transposed: see `Decoder2d`.
        adapters: whether the encoder of slices sees along depth.
    """

    build: str
    classes: int
    depth: int = 1
    side: int = 1024
    features: int = 64
    doublings: int = STAGES
    transposed: bool = False
    adapters: bool = False


class Semantic2d(Decoder2d):
    """Slices to logits; torch-em's `UNETR` without its preprocessing and without its sigmoid.

    Args:
        encoder: the image encoder of a SAM.
        shape: of the rest.
        channels: of the embedding.
    """

    depth = 1

    def __init__(self, encoder: nn.Module, shape: Shape, channels: int = 256) -> None:
        super().__init__(channels, shape.classes, shape.features, shape.doublings, shape.transposed)
        self.encoder = encoder

    @property
    def image_encoder(self) -> nn.Module:
        """Return the image encoder."""
        return self.encoder

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, C, h, w) embeddings."""
        out: Tensor = self.encoder(slices)
        return out

    def classify(self, embeddings: Tensor) -> Tensor:
        """Map (B, C, h, w) embeddings to (B, classes, h', w') logits."""
        out: Tensor = self.out_conv(self.decode(embeddings))
        return out

    def forward(self, slices: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, classes, h', w') logits."""
        return self.classify(self.encode(slices))


class Semantic3d(Decoder2d):
    """Volumes to logits: the decoder slice by slice, 3D convolutions behind it.

    Args:
        encoder: the image encoder of a SAM, as it is or as a `VolumeEncoder`.
        shape: of the rest.
        channels: of the embedding.
    """

    def __init__(self, encoder: nn.Module, shape: Shape, channels: int = 256) -> None:
        super().__init__(channels, None, shape.features, shape.doublings, shape.transposed)
        self.encoder, self.depth = encoder, shape.depth
        dim = shape.features
        self.fusion_3d = nn.Sequential(
            nn.Conv3d(dim, dim, 3, padding=1, bias=False),
            nn.BatchNorm3d(dim),
            nn.ReLU(),
            nn.Conv3d(dim, dim, 1),
            nn.BatchNorm3d(dim),
            nn.ReLU(),
        )
        self.classifier = nn.Conv3d(dim, shape.classes, 1)

    @property
    def image_encoder(self) -> nn.Module:
        """Return the image encoder."""
        return self.encoder

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Map (B, D, 3, S, S) preprocessed slices to (B, D, C, h, w) embeddings."""
        volumes, depth = slices.shape[:2]
        flat = slices.flatten(0, 1)
        deep = isinstance(self.encoder, VolumeEncoder)
        out: Tensor = self.encoder(flat, depth) if deep else self.encoder(flat)
        return out.view(volumes, depth, *out.shape[1:])

    def classify(self, embeddings: Tensor) -> Tensor:
        """Map (B, D, C, h, w) embeddings to (B, classes, D, h', w') logits."""
        volumes, depth = embeddings.shape[:2]
        flat = embeddings.flatten(0, 1)
        some = flat.split(len(flat) if self.training else _AT_A_TIME)
        x = torch.cat([self.decode(part) for part in some])
        x = x.view(volumes, depth, *x.shape[1:]).transpose(1, 2)
        out: Tensor = self.classifier(self.fusion_3d(x))
        return out

    def forward(self, slices: Tensor) -> Tensor:
        """Map (B, D, 3, S, S) to (B, classes, D, h', w') logits."""
        return self.classify(self.encode(slices))


class Specialist(nn.Module):
    """A network of another making, all of which learns: to the loop its images are their embeddings.

    Args:
        network: (B, 3, S, S) -> (B, classes, S, S) logits, or (B, 3, D, S, S) -> (B, classes, D, S, S).
        depth: slices of a patch; 1 for a network of single slices.
    """

    def __init__(self, network: nn.Module, depth: int = 1) -> None:
        super().__init__()
        self.network, self.depth = network, depth
        self.encoder = nn.Identity()

    @property
    def image_encoder(self) -> nn.Module:
        """Return a layer that changes nothing: the slices are their own embeddings."""
        return self.encoder

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Return the slices as they are."""
        return slices

    def classify(self, embeddings: Tensor) -> Tensor:
        """Map (B[, D], 3, S, S) preprocessed slices to (B, classes[, D], S, S) logits."""
        deep = embeddings.ndim == 5
        out: Tensor = self.network(embeddings.transpose(1, 2) if deep else embeddings)
        return out

    def forward(self, slices: Tensor) -> Tensor:
        """Classify slices as `classify` does."""
        return self.classify(slices)


SemanticNetwork = Semantic2d | Semantic3d | Specialist


def build_semantic(shape: Shape, zero: bool = False) -> SemanticNetwork:
    """Build a network with random weights.

    Args:
        shape: what it is made of.
        zero: whether adapters change nothing at the start.

    Raises:
        ModelError: an input that the encoder has no grid for.
    """
    if shape.build in SPECIALISTS:
        network = specialist_network(
            shape.build, shape.classes, 3, shape.features, shape.side, shape.depth
        )
        return Specialist(network, shape.depth)
    sam: Any = family_named("sam").network(shape.build)
    encoder, channels = sam.image_encoder, sam.prompt_encoder.channels
    _resize(encoder, shape.side)
    if shape.depth == 1:
        return Semantic2d(encoder, shape, channels)
    return Semantic3d(VolumeEncoder(encoder, zero) if shape.adapters else encoder, shape, channels)


def encoder_state(shape: Shape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a SAM's encoder under the names that they have in a semantic network.

    Positions are interpolated where the network's input is of another size than the SAM's, as the
    official code does.

    Args:
        shape: of the network.
        tensors: of the SAM, under its own names.
    """
    with torch.device("meta"):
        network = build_semantic(shape)
    own = {k: tuple(v.shape) for k, v in network.encoder.state_dict().items()}
    deep = isinstance(network.encoder, VolumeEncoder)
    blocks = (
        {n for n, m in network.encoder.named_modules() if n.endswith(".block")} if deep else set()
    )
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not name.startswith("image_encoder."):
            continue
        inner = name if deep else name.removeprefix("image_encoder.")
        for block in blocks:
            before = block.removesuffix("block")
            if inner.startswith(before):
                inner = f"{block}.{inner.removeprefix(before)}"
                break
        found[f"encoder.{inner}"] = _positions(value, own.get(inner, tuple(value.shape)))
    return found


def doublings_for(side: int, grid: int) -> int:
    """Count the doublings that lead from the embedding's grid to the input's pixels, four at most."""
    return min(STAGES, max(0, (side // grid).bit_length() - 1))


def _resize(encoder: nn.Module, side: int) -> None:
    """Let an encoder with random weights take another input; TinyViT takes any."""
    known: int = encoder.img_size  # type: ignore[assignment]
    if side == known:
        return
    if side % 32 or side < 64:
        raise ModelError("an input whose side is a multiple of 32, at least 64", str(side))
    if isinstance(encoder, ViT):
        grid = side * encoder.pos_embed.shape[1] // known
        encoder.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, encoder.pos_embed.shape[-1]))
        for block in encoder.blocks:
            assert isinstance(block, Block)
            if not block.window:
                for name in ("rel_pos_h", "rel_pos_w"):
                    width = getattr(block.attn, name).shape[1]
                    setattr(block.attn, name, nn.Parameter(torch.zeros(2 * grid - 1, width)))
    encoder.img_size = side  # type: ignore[assignment]


def _positions(value: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Positions on a grid of another size; anything else as it is."""
    if tuple(value.shape) == wanted:
        return value
    if value.ndim == 4 and len(wanted) == 4:  # (1, grid, grid, dim)
        fine = F.interpolate(value.permute(0, 3, 1, 2), wanted[1:3], mode="bilinear")
        return fine.permute(0, 2, 3, 1)
    if value.ndim == 2 and len(wanted) == 2 and value.shape[1] == wanted[1]:  # (offsets, dim)
        return F.interpolate(value.T[None], wanted[0], mode="linear")[0].T.contiguous()
    return value
