"""Finder of words on an embedding: a query for each, its presence, its mask, how deep inside.

All words share a small trunk. A query looks at the whole image (attention) and becomes the weights of a
mask on finer features, as in MaskFormer (Cheng et al., 2021). Each word has a branch of its own beside:
a word that is taught later trains its own parts alone, so that the others stay what they were. But for
the attention every place of the embedding is read by itself, as the encoder has looked around already;
so some places of an image are enough to learn from.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.words.vocabulary import MOST

__all__ = ["OWN", "PRESENCE", "Seen", "WordHead"]

OWN = ("queries", "own_")
"""How the names of parameters begin that have a row for each word."""

PRESENCE = "own_presence"
"""How the names of those begin that say whether a word is there."""

_CHANNELS, _WIDTH, _HEADS = 256, 128, 4
_FINE, _PRIVATE, _FINER = 32, 40, 2
_TOP = 0.002  # of the pixels of a mask: so many say whether there is any


class Seen(NamedTuple):
    """Answers to words on images.

    Attributes:
        presence: (B, K) logits.
        masks: (B, K, 128, 128) logits.
        depth: (B, K, 128, 128) logits of how deep in its object a pixel lies.
    """

    presence: Tensor
    masks: Tensor
    depth: Tensor


class _Block(nn.Module):
    """What a place says, thought over once more."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 2 * channels)
        self.back = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        changed: Tensor = x + self.back(F.relu(self.wide(self.norm(x))))
        return changed


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class WordHead(nn.Module):
    """Finder of concepts on embeddings of SAM's size.

    Args:
        words: rows there are room for.
        blocks: of the trunk.
    """

    def __init__(self, words: int = MOST, blocks: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_CHANNELS)
        self.stem = nn.Linear(_CHANNELS, _WIDTH)
        self.blocks = nn.Sequential(*(_Block(_WIDTH) for _ in range(blocks)))
        self.keys = nn.Linear(_WIDTH, _WIDTH)
        self.values = nn.Linear(_WIDTH, _WIDTH)
        self.look = nn.Linear(_WIDTH, _WIDTH)
        self.think = _mlp(_WIDTH, 2 * _WIDTH, _WIDTH)
        self.context_norm = nn.LayerNorm(_WIDTH)
        self.to_mask = _mlp(_WIDTH, _WIDTH, _FINE + 1)
        self.to_depth = _mlp(_WIDTH, _WIDTH, _FINE + 1)
        self.to_presence = _mlp(_WIDTH + 2, 64, 1)
        self.up = nn.Linear(_WIDTH, _FINE * _FINER**2)
        self.queries = nn.Parameter(0.5 * torch.randn(words, _WIDTH))
        self.own_look = nn.Parameter(torch.randn(words, _CHANNELS, _PRIVATE) * _CHANNELS**-0.5)
        self.own_draw = nn.Parameter(torch.zeros(words, _PRIVATE, 2 * _FINER**2))
        self.own_bias = nn.Parameter(torch.zeros(words, 2 * _FINER**2))
        self.own_presence = nn.Parameter(torch.zeros(words, _WIDTH + 2))
        self.own_presence_bias = nn.Parameter(torch.zeros(words))

    def forward(self, features: Tensor, words: Tensor, inside: Tensor) -> Seen:
        """Find some words on images.

        Args:
            features: (B, 256, 64, 64) embeddings.
            words: (K,) their rows.
            inside: (B, 64, 64) boolean: where the image lies in the input, not its padding.
        """
        rows, columns = features.shape[2:]
        places = features.flatten(2).transpose(1, 2)
        presence, masks, depth = self.places(places, words, inside.flatten(1))

        def on_grid(values: Tensor) -> Tensor:
            parts = values.unflatten(2, (rows, columns)).unflatten(4, (_FINER, _FINER))
            whole: Tensor = parts.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
            return whole

        return Seen(presence, on_grid(masks), on_grid(depth))

    def places(self, places: Tensor, words: Tensor, inside: Tensor) -> Seen:
        """Find words at some places of images, each of which has 2 x 2 pixels of the grid of masks.

        Args:
            places: (B, N, 256) of embeddings.
            words: (K,) their rows.
            inside: (B, N) boolean: which count.

        Returns:
            Presence (B, K); masks and depth (B, K, N, 4).
        """
        normal = self.norm(places)
        trunk = self.blocks(self.stem(normal))
        context = self._context(trunk, words, inside)
        fine = F.relu(self.up(trunk)).unflatten(2, (_FINER**2, _FINE))
        own = self._own(normal, words)
        masks = _drawn(self.to_mask(context), fine) + own[..., 0]
        depth = _drawn(self.to_depth(context), fine) + own[..., 1]
        return Seen(self._presence(context, masks, words, inside), masks, depth)

    def _context(self, trunk: Tensor, words: Tensor, inside: Tensor) -> Tensor:
        """(B, K, C) what each query sees in the whole image, of (B, places, C)."""
        query = self.queries[words]
        parts = (_HEADS, _WIDTH // _HEADS)
        keys, values = (each(trunk).unflatten(2, parts) for each in (self.keys, self.values))
        asked = self.look(query).unflatten(1, parts)
        likeness = torch.einsum("khc,bnhc->bhkn", asked, keys) * parts[1] ** -0.5
        likeness = likeness.masked_fill(~inside[:, None, None], float("-inf"))
        seen = torch.einsum("bhkn,bnhc->bkhc", likeness.softmax(-1), values).flatten(2)
        context = query + seen
        found: Tensor = self.context_norm(context + self.think(context))
        return found

    def _own(self, normal: Tensor, words: Tensor) -> Tensor:
        """(B, K, N, 4, 2) what the branches of the words say."""
        inner = F.relu(normal[:, None] @ self.own_look[words])
        drawn = inner @ self.own_draw[words] + self.own_bias[words][:, None]
        apart: Tensor = drawn.unflatten(3, (_FINER**2, 2))
        return apart

    def _presence(self, context: Tensor, masks: Tensor, words: Tensor, inside: Tensor) -> Tensor:
        """(B, K) logits; of the masks the surest pixels count, and how large they are."""
        logits = masks.masked_fill(~inside[:, None, :, None], -20).flatten(2)
        most = max(1, min(logits.shape[-1], round(_TOP * logits.shape[-1])))
        surest = logits.topk(most, dim=-1).values.mean(-1, keepdim=True).clamp(-10, 10) / 4
        share = inside.float().mean(-1)[:, None, None]
        extent = (logits.sigmoid().mean(-1, keepdim=True) / share + 1e-4).log() / 4
        known = torch.cat([context, surest, extent], dim=-1)
        own = torch.einsum("bkc,kc->bk", known, self.own_presence[words])
        found: Tensor = self.to_presence(known)[..., 0] + own + self.own_presence_bias[words]
        return found


def _drawn(weights: Tensor, fine: Tensor) -> Tensor:
    """(B, K, N, 4) of (B, K, C + 1) weights and (B, N, 4, C) features."""
    drawn = torch.einsum("bkc,bnsc->bkns", weights[..., :-1], fine)
    logits: Tensor = drawn * weights.shape[-1] ** -0.5 + weights[..., -1, None, None]
    return logits
