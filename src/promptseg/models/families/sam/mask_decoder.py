"""SAM's mask decoder: two-way attention between prompts and image, then masks and their quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import MLP, LayerNorm2d, MLPBlock

__all__ = ["MaskDecoder", "TwoWayTransformer", "upscaling"]


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one."""

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map (B, n, dim) queries, (B, m, dim) keys and values to (B, n, dim)."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out


class TwoWayAttentionBlock(nn.Module):
    """Tokens attend to themselves, tokens to the image, a feed-forward, the image to the tokens."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, 2)

    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map (B, n, dim) tokens and (B, m, dim) image with their positions to both updated."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_position
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        keys = image + image_position
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_position, keys, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        q = tokens + token_position
        image = self.norm4(image + self.cross_attn_image_to_token(keys, q, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """The blocks, and a last look of the tokens at the image."""

    def __init__(self, depth: int = 2, dim: int = 256, heads: int = 8, mlp_dim: int = 2048):
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(dim, heads, mlp_dim, first=k == 0) for k in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads, 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image: Tensor, position: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) image and position, (B, n, C) tokens to (B, n, C), (B, h*w, C)."""
        image = image.flatten(2).transpose(1, 2)
        position = position.flatten(2).transpose(1, 2)
        token_position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, position)
        attended = self.final_attn_token_to_image(tokens + token_position, image + position, image)
        return self.norm_final_attn(tokens + attended), image


def upscaling(dim: int) -> nn.Sequential:
    """Build the layers from the grid of embeddings to that of mask logits, four times as fine."""
    return nn.Sequential(
        nn.ConvTranspose2d(dim, dim // 4, 2, 2),
        LayerNorm2d(dim // 4),
        nn.GELU(),
        nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2),
        nn.GELU(),
    )


class MaskDecoder(nn.Module):
    """Decoder of embeddings and prompts into mask logits.

    Token 0 of the masks answers an unambiguous prompt; tokens 1-3 are the three masks of an
    ambiguous one (a single point).
    """

    def __init__(self, transformer: TwoWayTransformer, dim: int = 256, multimask: int = 3) -> None:
        super().__init__()
        self.transformer = transformer
        self.mask_count = multimask + 1
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.mask_count, dim)
        self.output_upscaling = upscaling(dim)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.mask_count)
        )
        self.iou_prediction_head = MLP(dim, dim, self.mask_count, 3)

    def forward(
        self, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Decode the masks of B objects in one image, or in B images.

        Args:
            embedding: (1 or B, C, h, w) image embeddings.
            position: (1, C, h, w) dense position.
            sparse: (B, tokens, C) prompt embeddings.
            dense: (B, C, h, w) prompt embeddings.
            multimask: three masks instead of one.

        Returns:
            (B, 1 or 3, 4h, 4w) mask logits and (B, 1 or 3) predicted IoU.
        """
        batch = sparse.shape[0]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), sparse], dim=1)
        source = embedding + dense
        h, w = source.shape[-2:]
        tokens, source = self.transformer(source, position.expand_as(source), tokens)
        chosen = range(1, self.mask_count) if multimask else range(1)
        weights = torch.stack(
            [self.output_hypernetworks_mlps[k](tokens[:, 1 + k]) for k in chosen], dim=1
        )
        quality = self.iou_prediction_head(tokens[:, 0])[:, list(chosen)]
        if self.training:
            return self._logits_channels_last(source, weights, (h, w)), quality
        upscaled = self.output_upscaling(source.transpose(1, 2).unflatten(2, (h, w)))
        return torch.einsum("bkc,bchw->bkhw", weights, upscaled), quality

    def _logits_channels_last(
        self, source: Tensor, weights: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """The same masks, twice as quick to go back through on a CPU.

        A 2 x 2 transposed convolution with stride 2 is a linear layer whose outputs are four
        sub-pixels, and all that follows acts on single pixels: they are put in their places at the
        end, and of the masks alone.

        Args:
            source: (B, h*w, C) tokens of the image.
            weights: (B, k, C / 8) of the masks.
            size: h, w.
        """
        up1, norm, _, up2, _ = self.output_upscaling
        assert isinstance(up1, nn.ConvTranspose2d)
        assert isinstance(up2, nn.ConvTranspose2d)
        assert isinstance(norm, LayerNorm2d)
        fine = _sub_pixels(up1, source)  # (B, h*w, 4, C / 4)
        fine = F.gelu(F.layer_norm(fine, (fine.shape[-1],), norm.weight, norm.bias, norm.eps))
        fine = F.gelu(_sub_pixels(up2, fine)).flatten(1, 3)  # (B, h*w*4*4, C / 8)
        logits = weights @ fine.transpose(-1, -2)
        logits = logits.unflatten(-1, (*size, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        h, w = size
        placed: Tensor = logits.reshape(*logits.shape[:2], 4 * h, 4 * w)
        return placed


def _sub_pixels(up: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A 2 x 2 transposed convolution with stride 2: (..., in) -> (..., 4 sub-pixels, out)."""
    assert up.bias is not None
    weight = up.weight.permute(2, 3, 1, 0).flatten(0, 2)
    four: Tensor = F.linear(x, weight).unflatten(-1, (4, -1)) + up.bias
    return four
