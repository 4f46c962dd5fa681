"""SAM's mask decoder for inference: the same function of the same weights, in another order.

- Prompts on one image share it until it has attended to them: what the first block makes of the image
  alone is made once, not once per prompt.
- A 2 x 2 transposed convolution with stride 2 is a linear layer whose outputs are four sub-pixels. All
  steps up to the masks act on single pixels, so sub-pixels are put in their places once, at the end,
  and of the masks alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d
from promptseg.models.families.sam.mask_decoder import Attention, MaskDecoder, TwoWayAttentionBlock
from promptseg.models.families.sam2.mask_decoder import MaskDecoder as Sam2MaskDecoder
from promptseg.runtime.rewrite.ops import Linear

__all__ = ["FusedMaskDecoder", "as_linear", "tokens_of"]


class FusedAttention(nn.Module):
    """Multi-head attention in which queries or keys may be shared by all prompts.

    Between a few tokens and thousands of places in the image, only the tokens are split into heads:
    each becomes one token per head, with zeros in the channels of the others, so that the image stays
    as it lies in memory.

    Args:
        attention: the layer it takes its weights from.
        position: (1, m, dim) what is added to the image's tokens where they are queries or keys.
        image: which side the image is: "keys", "queries" or neither.
    """

    def __init__(self, attention: Attention, position: Tensor, image: str = "") -> None:
        super().__init__()
        self.heads, self.image = attention.heads, image
        q, k, v, out = (getattr(attention, f"{name}_proj") for name in ("q", "k", "v", "out"))
        width = q.out_features // self.heads
        scale = width**-0.5
        self.q = Linear(q.weight.detach() * scale, q.bias.detach() * scale)
        self.k = Linear(k.weight.detach(), k.bias.detach())
        self.v = Linear(v.weight.detach(), v.bias.detach())
        self.out = Linear(out.weight.detach(), out.bias.detach())
        side = self.q if image == "queries" else self.k
        there = position @ side.weight.T if image else position.new_zeros(1, 1, 1)
        self.register_buffer("position", there.detach().clone())
        channels = torch.eye(self.heads).repeat_interleave(width, 1)[:, None].to(position)
        self.register_buffer("channels", channels)
        self.position: Tensor
        self.channels: Tensor  # (heads, 1, inner): 1 where a channel is the head's own

    def forward(self, q: Tensor, k: Tensor, v: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (B or 1, n, dim) queries, (B or 1, m, dim) keys and values to (B, n, dim)."""
        q, k, v = self.q(q), self.k(k), self.v(v)
        if self.image == "keys":
            scores = self._one_per_head(q) @ (k + self.position).transpose(-1, -2)
            y = (torch.softmax(scores, -1) @ v).unflatten(1, (self.heads, -1))
            y = (y * self.channels).sum(1)
        elif self.image == "queries":
            scores = self._one_per_head(k) @ (q + self.position).transpose(-1, -2)
            weights = torch.softmax(scores.unflatten(1, (self.heads, -1)), 2).flatten(1, 2)
            y = weights.transpose(-1, -2) @ self._one_per_head(v)
        else:
            q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
            y = (torch.softmax(q @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).flatten(2)
        out: Tensor = self.out(y)
        return out if residual is None else out + residual

    def _one_per_head(self, x: Tensor) -> Tensor:
        """(B, n, inner) tokens -> (B, heads * n, inner), each with the channels of one head alone."""
        return (x[:, None] * self.channels).flatten(1, 2)


class FusedBlock(nn.Module):
    """Tokens attend to themselves, tokens to the image, a feed-forward, the image to the tokens."""

    def __init__(self, block: TwoWayAttentionBlock, position: Tensor) -> None:
        super().__init__()
        self.first = block.first
        self.to_tokens = FusedAttention(block.self_attn, position)
        self.to_image = FusedAttention(block.cross_attn_token_to_image, position, "keys")
        self.from_image = FusedAttention(block.cross_attn_image_to_token, position, "queries")
        self.norm1, self.norm2, self.norm3 = block.norm1, block.norm2, block.norm3
        self.norm4, self.mlp = block.norm4, block.mlp

    def forward(self, tokens: Tensor, image: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens, (B, n, dim), with positions of their own, and the image, (B or 1, m, dim), to new
        ones.
        """
        if self.first:
            tokens = self.to_tokens(tokens, tokens, tokens)
        else:
            q = tokens + own
            tokens = self.to_tokens(q, q, tokens, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(self.to_image(tokens + own, image, image, tokens))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(self.from_image(image, tokens + own, tokens, image))
        return tokens, image


class FusedMaskDecoder(nn.Module):
    """The mask decoder for inference.

    Args:
        decoder: the decoder it takes its weights from, in evaluation mode.
        position: (1, C, h, w) dense position.
        first: (n, C) tokens that come before all others.
    """

    keep_float32: tuple[str, ...] = ()

    def __init__(
        self, decoder: MaskDecoder | Sam2MaskDecoder, position: Tensor, first: Tensor | None = None
    ) -> None:
        super().__init__()
        flat = position.detach().flatten(2).transpose(1, 2)
        transformer = decoder.transformer
        blocks = (b for b in transformer.layers if isinstance(b, TwoWayAttentionBlock))
        self.blocks = nn.ModuleList(FusedBlock(block, flat) for block in blocks)
        self.last = FusedAttention(transformer.final_attn_token_to_image, flat, "keys")
        self.norm = transformer.norm_final_attn
        self.count = decoder.mask_count
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).detach()
        own = own if first is None else torch.cat([first.detach(), own])
        self.register_buffer("own", own[None].clone())
        self.own: Tensor
        up1, norm, _, up2, _ = decoder.output_upscaling
        assert isinstance(up1, nn.ConvTranspose2d)
        assert isinstance(up2, nn.ConvTranspose2d)
        assert isinstance(norm, LayerNorm2d)
        self.up1, self.up2 = as_linear(up1), as_linear(up2, gelu=True)
        self.up_norm = nn.LayerNorm(len(norm.weight), norm.eps, dtype=norm.weight.dtype)
        self.up_norm.load_state_dict(norm.state_dict())
        self.hypernetworks = decoder.output_hypernetworks_mlps
        self.quality = decoder.iou_prediction_head

    def forward(self, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return all masks of B prompts on one image.

        Args:
            embedding: (1, C, h, w) image embedding.
            sparse: (B, tokens, C) prompt embeddings.
            dense: (1 or B, C, h, w) prompt embeddings, or (1 or B, C, 1, 1) where all places have one.

        Returns:
            (B, 4, 4h, 4w) mask logits and (B, 4) predicted IoU: first the answer to an unambiguous
            prompt, then the three masks of an ambiguous one.
        """
        h, w = (int(n) for n in embedding.shape[-2:])
        tokens, image = self.attended(tokens_of(embedding) + tokens_of(dense), sparse)
        fine = self.up1(image).view(-1, *self.up_norm.normalized_shape)
        fine = self.up2(F.gelu(self.up_norm(fine)))
        fine = fine.view(-1, h * w * 16, fine.shape[-1] // 4)  # sub-pixels of sub-pixels
        weights = torch.stack(
            [mlp(tokens[:, 1 + k]) for k, mlp in enumerate(self.hypernetworks)], dim=1
        )
        return self.placed(weights @ fine.transpose(-1, -2), h, w), self.quality(tokens[:, 0])

    def attended(self, image: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor]:
        """Run the transformer: (B or 1, h * w, C) image and (B, n, C) prompts to (B, tokens, C) and
        image.
        """
        own = torch.cat([self.own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        tokens = own
        for block in self.blocks:
            tokens, image = block(tokens, image, own)
        return self.norm(self.last(tokens + own, image, image, tokens)), image

    def placed(self, logits: Tensor, h: int, w: int) -> Tensor:
        """Map (B, k, h * w * 16) logits of sub-pixels of sub-pixels to (B, k, 4 h, 4 w)."""
        logits = logits.view(-1, self.count, h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(-1, self.count, 4 * h, 4 * w)


def tokens_of(x: Tensor) -> Tensor:
    """Map (B, C, h, w) to (B, h * w, C); nothing is moved where channels lie last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_linear(up: nn.ConvTranspose2d, gelu: bool = False) -> Linear:
    """Convert a 2 x 2 transposed convolution of stride 2 to a linear one: in -> 4 sub-pixels x out."""
    assert up.kernel_size == up.stride == (2, 2)
    assert up.bias is not None
    weight = up.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)
    return Linear(weight, up.bias.detach().repeat(4), gelu)
