"""A SAM with the memory of SAM 2, on features of one level as EfficientTAM's (Xiong et al., 2024).

Encoder, prompt encoder and mask decoder are those of a SAM and answer prompts as it does. What memory
attention makes of a frame is a guess of where the object is. The decoder gets it as it gets a mask that
somebody drew roughly, with its box. Where it makes something else of it, the guess itself is the mask:
a stray bit of a guess makes its box large, the decoder fills it, and memory would go on from that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import MLP, LayerNorm2d
from promptseg.models.families.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.models.families.sam2.memory_attention import MemoryAttention
from promptseg.models.families.sam2.memory_encoder import Fuser
from promptseg.models.families.sam2.network import (
    MAPS,
    Features,
    Look,
    Memory,
    MemoryTokens,
    Sam2Steps,
    Seen,
    Shape,
)
from promptseg.models.families.sam2.positions import grid_sines
from promptseg.models.families.sam2.prompt_encoder import (
    BOTTOM_RIGHT,
    IGNORED,
    TOP_LEFT,
    PromptEncoder,
)

__all__ = ["MemorySam"]

_SHARE = 0.1  # of the sines of a place in what attention compares
_SURE = 10.0  # logit of an object that somebody showed
_LARGEST = 8.0  # logits of a guess
_AGREE = 0.6  # IoU of the decoder's mask and the guess; less is another object


class MemorySam(Sam2Steps):
    """TinyViT of MobileSAM with SAM's decoder, and memory.

    Args:
        image_size: pixels along each side of the input.
        dim: channels of the encoder's features.
        narrow: channels that are compared, and as many that are remembered of masks.
        encoder: another image encoder with 16 pixels along a cell, for tests.
    """

    guesses = True
    one_level = True

    def __init__(
        self,
        image_size: int = 512,
        dim: int = 256,
        narrow: int = 64,
        encoder: nn.Module | None = None,
        transformer: TwoWayTransformer | None = None,
    ) -> None:
        nn.Module.__init__(self)  # its parts are others
        self.shape = Shape(None, image_size, dim=dim, memory=narrow)
        self.image_size, self.grid = image_size, image_size // self.shape.stride
        kept = 2 * narrow
        self.image_encoder = nn.ModuleDict({"trunk": encoder or TinyViT(image_size, 4)})
        self.sam_prompt_encoder = _SamPrompts(image_size, self.grid, dim)
        self.sam_mask_decoder = MaskDecoder(transformer or TwoWayTransformer(dim=dim), dim)
        self.narrow = nn.Sequential(nn.Conv2d(dim, narrow, 1), LayerNorm2d(narrow))
        self.memory_attention = MemoryAttention(narrow, kept, self.grid, 2, 4 * narrow)
        self.memory_encoder = _MapEncoder(narrow)
        self.guess_head = _GuessHead(narrow)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(MAPS, 1, 1, kept))
        self.obj_ptr_proj = MLP(dim, dim, dim, 2)
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.obj_ptr_tpos_proj = nn.Linear(dim, kept)
        self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, kept))
        self.presence = nn.Linear(1, 1)
        place = grid_sines(narrow, self.grid), _SHARE * grid_sines(kept, self.grid)
        self.register_buffer("features_position", place[0], persistent=False)
        self.register_buffer("memory_position", place[1], persistent=False)

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """See `Sam2Steps`; the finer levels have no channels."""
        return Features.of_one_level(self.image_encoder["trunk"](slices))

    def alone(self, coarse: Tensor) -> Tensor:
        """See `Sam2Steps`: as they are."""
        return coarse

    def compared(self, coarse: Tensor) -> Tensor:
        """Map coarse features (B, C, h, w) to those that frames are compared by, (B, narrow, h, w)."""
        found: Tensor = self.narrow(coarse)
        return found

    def guess(self, coarse: Tensor, memory: Memory) -> Tensor:
        """Estimate where B objects are on a frame by memory alone, as (B, 1, 2 h, 2 w) logits.

        Args:
            coarse: (1 or B, C, h, w) features of the frame.
            memory: of the objects.
        """
        return self._guess(coarse, self.tokens_of(memory))

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        """See `Sam2Steps`: with the guess, as the decoder adds a mask."""
        return self._with_guess(coarse, self._guess(coarse, memory))

    def look(self, features: Features, memory: Memory) -> Look:
        """See `Sam2Steps`: with the box of the guess."""
        return self._look_at(features, self.guess(features.coarse, memory))

    def guessed(self, features: Features, memory: Memory) -> Decoded:
        """Return the masks of B objects by memory alone, in the form of the decoder's answer."""
        return self._as_decoded(features, self.guess(features.coarse, memory))

    def propagate(self, features: Features, memory: Memory) -> Seen:
        """See `Sam2Steps`; the guess itself where the decoder's mask is another."""
        guess = self.guess(features.coarse, memory)
        look = self._look_at(features, guess)
        seen = self.settle(look.judged(self.read_alone(look.features, look.clicks)))
        alone = self.settle(self._as_decoded(features, guess))
        agree = _iou(seen.logits > 0, alone.logits > 0) >= _AGREE
        return seen if agree else alone._replace(iou=seen.iou)

    def read(
        self, features: Features, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> Decoded:
        """See `Sam2Steps`; whoever prompts it says that the object is there."""
        logits, iou = self.masks_of(features.coarse, sparse, dense, multimask)
        pointer = _mean_inside(features.coarse, logits)
        return Decoded(logits, iou, pointer, logits.new_full((len(logits), 1), _SURE))

    def masks_of(
        self, coarse: Tensor, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Map embedded prompts of B objects to (B, k, 4 h, 4 w) mask logits and (B, k) predicted
        IoU.
        """
        prompts = self.sam_prompt_encoder
        logits, iou = self.sam_mask_decoder(
            coarse,
            prompts.dense_position(),
            sparse,
            prompts.dense(None, len(sparse)) if dense is None else dense,
            multimask,
        )
        return logits, iou

    def take(self, features: Features, mask: Tensor) -> Seen:
        """See `Sam2Steps`."""
        side = 4 * self.grid
        high = 2 * _SURE * mask - _SURE
        logits = F.interpolate(high, size=(side, side), mode="bilinear", antialias=True)
        there = mask.flatten(1).any(dim=1, keepdim=True)
        pointer = self.obj_ptr_proj(_mean_inside(features.coarse, logits)[:, 0])
        presence = torch.where(there, _SURE, -_SURE)
        return Seen(logits, mask.new_ones(len(mask)), self._pointer(pointer, there), presence)

    def remember(self, coarse: Tensor, seen: Seen, prompted: bool) -> Tensor:
        """See `Sam2Steps`."""
        mask = (seen.logits > 0).to(seen.logits.dtype) if prompted else seen.logits.sigmoid()
        return self.map_of(self.compared(coarse), mask, seen.presence)

    def map_of(self, compared: Tensor, mask: Tensor, presence: Tensor) -> Tensor:
        """Build the memory maps of B objects, (B, 2 narrow, h, w).

        Args:
            compared: (1 or B, narrow, h, w) features.
            mask: (B, 1, 4 h, 4 w) in 0..1.
            presence: (B, 1) logits.
        """
        value = self.memory_encoder(compared, 2 * mask - 1)
        memory = torch.cat([compared.expand(len(value), -1, -1, -1), value], dim=1)
        gone = (presence <= 0).to(memory.dtype)[..., None, None]
        absent = self.no_obj_embed_spatial
        assert absent is not None
        return memory + gone * absent[..., None, None]

    def _look_at(self, features: Features, guess: Tensor) -> Look:
        coarse = self._with_guess(features.coarse, guess)
        return Look(features._replace(coarse=coarse), self._box_of(guess), self._presence(guess))

    def _as_decoded(self, features: Features, guess: Tensor) -> Decoded:
        side = 4 * self.grid
        logits = F.interpolate(guess, size=(side, side), mode="bilinear")
        presence = self._presence(guess)
        inside = _mean_inside(features.coarse, logits)
        return Decoded(logits, torch.ones_like(presence), inside, presence)

    def _presence(self, guess: Tensor) -> Tensor:
        found: Tensor = self.presence(guess.flatten(1).amax(1, keepdim=True))
        return found

    def _guess(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        own = self.compared(coarse)
        seen = self.memory_attention(
            own,
            self.features_position,
            torch.cat([memory.maps, memory.pointers], dim=1),
            torch.cat([memory.places, memory.times], dim=1),
            memory.pointers.shape[1],
        )
        logits: Tensor = self.guess_head(seen, own)
        return logits.clamp(-_LARGEST, _LARGEST)

    def _with_guess(self, coarse: Tensor, guess: Tensor) -> Tensor:
        """Features to which the decoder adds that there is no mask, with a mask."""
        side = 4 * self.grid
        prompts = self.sam_prompt_encoder
        mask = F.interpolate(guess, size=(side, side), mode="bilinear")
        nothing = prompts.no_mask_embed.weight.view(1, -1, 1, 1)
        return coarse + prompts.dense(mask, len(mask)) - nothing

    def _box_of(self, guess: Tensor) -> tuple[Tensor, Tensor]:
        """The corners of each guess's box, as clicks; none where the guess is nothing."""
        places = guess.new_zeros(len(guess), 2, 2)
        labels = guess.new_full((len(guess), 2), IGNORED)
        side = 4 * self.grid
        found = F.interpolate(guess.detach(), size=(side, side), mode="bilinear")[:, 0] > 0
        step = self.image_size / side
        for number, mask in enumerate(found):
            if bool(mask.any()):
                rows, columns = mask.nonzero(as_tuple=True)
                places[number, 0] = torch.stack([columns.min(), rows.min()]) * step
                places[number, 1] = (torch.stack([columns.max(), rows.max()]) + 1) * step - 1
                labels[number] = labels.new_tensor([TOP_LEFT, BOTTOM_RIGHT])
        return places, labels


class _SamPrompts(PromptEncoder):
    """Prompts as SAM embeds them: what says nothing stands beside clicks, and not beside boxes."""

    def _embed(self, xy: Tensor, labels: Tensor) -> Tensor:
        embedded = super()._embed(xy, labels)
        return embedded[:, :-1] if bool((labels >= TOP_LEFT).any()) else embedded


class _MapEncoder(nn.Module):
    """A mask and features -> what is remembered of the mask."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in ((1, 4), (4, narrow)):
            layers += [nn.Conv2d(given, made, 3, 2, 1), LayerNorm2d(made), nn.GELU()]
        self.mask_downsampler = nn.Sequential(*layers, nn.Conv2d(narrow, narrow, 1))
        self.pix_feat_proj = nn.Conv2d(narrow, narrow, 1)
        self.fuser = Fuser(narrow)
        self.out_proj = nn.Conv2d(narrow, narrow, 1)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """(1 or B, narrow, h, w) and (B, 1, 4 h, 4 w) -> (B, narrow, h, w)."""
        fused = self.fuser(self.pix_feat_proj(features) + self.mask_downsampler(masks))
        value: Tensor = self.out_proj(fused)
        return value


class _GuessHead(nn.Module):
    """From what attention found, with the frame's own features, to logits."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        self.seen = nn.Conv2d(narrow, narrow, 1)
        self.own = nn.Conv2d(narrow, narrow, 1)
        self.around = nn.Conv2d(narrow, narrow, 5, padding=2, groups=narrow)
        self.norm = LayerNorm2d(narrow)
        self.out = nn.ConvTranspose2d(narrow, 1, 2, 2)

    def forward(self, seen: Tensor, own: Tensor) -> Tensor:
        """(B, narrow, h, w) and (1 or B, narrow, h, w) -> (B, 1, 2 h, 2 w)."""
        both = self.seen(seen) + self.own(own)
        logits: Tensor = self.out(F.gelu(self.norm(both + self.around(F.gelu(both)))))
        return logits


def _mean_inside(coarse: Tensor, logits: Tensor) -> Tensor:
    """(B, k, C) mean features inside of each of k masks."""
    shade = F.interpolate(logits.detach().sigmoid(), size=coarse.shape[-2:], mode="area")
    weights = shade.flatten(2)
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-3)
    return weights @ coarse.expand(len(logits), -1, -1, -1).flatten(2).transpose(1, 2)


def _iou(a: Tensor, b: Tensor) -> float:
    """IoU of two boolean masks; 1 where both are empty."""
    both, either = int((a & b).sum()), int((a | b).sum())
    return both / either if either else 1.0
