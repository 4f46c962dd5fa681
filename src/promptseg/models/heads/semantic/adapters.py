"""Adapters that let the encoder of slices see along depth (MedicoSAM, II-D, after MA-SAM).

In every block of attention, before attention and after it: layer normalisation, down to fewer channels,
a convolution along depth, GELU, up again, added. Parameter names are those of micro-sam's wrapper of a
ViT; TinyViT, which it does not wrap, gets the same in its three stages of attention.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.tiny_vit import TinyViTBlock
from promptseg.models.families.sam.vit import Block

__all__ = ["VolumeEncoder"]

_OF_VIT = 384  # channels of an adapter of any ViT, as published


class _Adapted(nn.Module):
    """A block with its two adapters.

    Args:
        block: of a ViT or a TinyViT.
        dim: width of its tokens.
        channels: of the adapters.
    """

    def __init__(self, block: nn.Module, dim: int, channels: int) -> None:
        super().__init__()
        self.depth = 1
        self.block = block
        for end in ("", "_2"):
            setattr(self, f"adapter_linear_down{end}", nn.Linear(dim, channels, bias=False))
            setattr(self, f"adapter_linear_up{end}", nn.Linear(channels, dim, bias=False))
            conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
            setattr(self, f"adapter_conv{end}", conv)
            setattr(self, f"adapter_norm{end}", nn.LayerNorm(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B * depth, H, W, dim) -> the same shape."""
        x = self._along_depth(x, "")
        if isinstance(self.block, Block):
            y = self.block.norm1(x)
            x = x + (self.block.in_windows(y) if self.block.window else self.block.attn(y))
            x = self._along_depth(x, "_2")
            out: Tensor = x + self.block.mlp(self.block.norm2(x))
            return out
        assert isinstance(self.block, TinyViTBlock)
        x = x + self.block.attend(x)
        x = self._along_depth(x, "_2")
        x = self.block.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out = x + self.block.mlp(x)
        return out  # noqa: RET504 (a module gives Any)

    def _along_depth(self, x: Tensor, end: str) -> Tensor:
        part = {
            n: getattr(self, f"adapter_{n}{end}")
            for n in ("norm", "linear_down", "conv", "linear_up")
        }
        y = part["linear_down"](part["norm"](x))
        y = y.view(-1, self.depth, *y.shape[1:]).permute(0, 4, 1, 2, 3)
        y = part["conv"](y).permute(0, 2, 3, 4, 1).flatten(0, 1)
        out: Tensor = x + part["linear_up"](F.gelu(y))
        return out


class VolumeEncoder(nn.Module):
    """An encoder of slices with adapters in its blocks of attention.

    Args:
        image_encoder: a ViT or a TinyViT, which is changed.
        zero: whether adapters change nothing at the start; not so as published.
    """

    def __init__(self, image_encoder: nn.Module, zero: bool = False) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.adapted: list[_Adapted] = []
        found = [
            (name, layer)
            for name, layer in image_encoder.named_modules()
            if isinstance(layer, Block | TinyViTBlock)
        ]
        for name, block in found:
            parent, _, number = name.rpartition(".")
            dim, channels = _widths(block)
            adapted = _Adapted(block, dim, channels)
            blocks = image_encoder.get_submodule(parent)
            assert isinstance(blocks, nn.ModuleList)
            blocks[int(number)] = adapted
            self.adapted.append(adapted)
            if zero:
                for up in (adapted.adapter_linear_up, adapted.adapter_linear_up_2):
                    assert isinstance(up, nn.Linear)
                    nn.init.zeros_(up.weight)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """Map (B * depth, 3, S, S) preprocessed slices, those of a volume in a row, to embeddings."""
        for adapted in self.adapted:
            adapted.depth = depth
        out: Tensor = self.image_encoder(x)
        return out


def _widths(block: Block | TinyViTBlock) -> tuple[int, int]:
    """Width of the tokens, and channels of the adapters."""
    if isinstance(block, Block):
        dim = block.norm1.normalized_shape[0]
        return dim, min(_OF_VIT, dim)
    dim = block.attn.norm.normalized_shape[0]
    return dim, dim // 2
