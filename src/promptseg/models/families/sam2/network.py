"""A SAM 2 put together from its parts: encode a frame, decode prompts, remember, attend to memory.

Ravi et al., SAM 2: segment anything in images and videos (2024), under the official parameter names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import MLP
from promptseg.models.families.sam2.mask_decoder import Decoded, MaskDecoder
from promptseg.models.families.sam2.memory_attention import MemoryAttention
from promptseg.models.families.sam2.memory_encoder import MemoryEncoder
from promptseg.models.families.sam2.neck import ImageEncoder
from promptseg.models.families.sam2.positions import grid_sines, time_sines
from promptseg.models.families.sam2.prompt_encoder import IGNORED, PromptEncoder
from promptseg.models.families.sam2.trunk import TrunkSize

__all__ = [
    "ABSENT",
    "MAPS",
    "POINTERS",
    "Features",
    "Memory",
    "MemoryTokens",
    "Sam2",
    "Sam2Steps",
    "Seen",
    "Shape",
]

MAPS = 7
"""Ages of memory maps that a network tells apart: conditioning frames have none, others 1 to 6."""
POINTERS = 16
"""Frames whose object pointers it attends to, this one included."""
ABSENT = -1024.0
"""Mask logits where the object is said not to be on the frame."""

_SURE = 10.0  # logit of a mask that somebody drew
_ACROSS = 16  # pixels of a mask that is remembered along a cell of the grid


class Features(NamedTuple):
    """What the image encoder makes of B frames.

    Attributes:
        fine: (B, C / 8, 4 h, 4 w), as the mask decoder adds it.
        middle: (B, C / 4, 2 h, 2 w), likewise.
        coarse: (B, C, h, w).
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor


class Seen(NamedTuple):
    """An object on one frame.

    Attributes:
        logits: (1, 1, 4 h, 4 w) mask logits; `ABSENT` throughout where it is not there.
        iou: (1,) predicted IoU.
        pointer: (1, C) what stands for the object in later frames.
        presence: (1, 1) logit that it is there.
    """

    logits: Tensor
    iou: Tensor
    pointer: Tensor
    presence: Tensor


class Memory(NamedTuple):
    """What is remembered of an object, for one frame.

    Attributes:
        maps: ((1, M, h, w) map, its age) each; 0 of conditioning frames, else 1..6 frames ago.
        pointers: ((1, C) pointer, how many frames ago) each.
        horizon: the longest ago that a pointer may be.
    """

    maps: Sequence[tuple[Tensor, int]]
    pointers: Sequence[tuple[Tensor, int]]
    horizon: int


class MemoryTokens(NamedTuple):
    """Memory as memory attention takes it, with M channels.

    Attributes:
        maps: (1, maps * h * w, M) tokens of maps.
        places: the same shape: where and when they are.
        pointers: (1, m, M) tokens that pointers are cut into; m may be 0.
        times: the same shape: when they are from.
    """

    maps: Tensor
    places: Tensor
    pointers: Tensor
    times: Tensor


@dataclass(frozen=True)
class Shape:
    """What a network's tensors are shaped by.

    Attributes:
        trunk: size of the trunk; None where the encoder of images is another one.
        image_size: pixels along each side of the input.
        dated_pointers: whether pointers say when they are from, and maps whether the object was there;
            so in 2.1.
        dim: channels of features.
        memory: channels of memory.
        stride: pixels of the input along a cell of the grid.
        sure, clears: see `Bank`.
    """

    trunk: TrunkSize | None
    image_size: int = 1024
    dated_pointers: bool = True
    dim: int = 256
    memory: int = 64
    stride: int = 16
    sure: float | None = None
    clears: int = 0


class Sam2Steps(nn.Module):
    """What a SAM 2 does with frames, prompts and memory, whatever runs its three large parts."""

    features_position: Tensor
    memory_position: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, narrow, side = shape.dim, shape.memory, shape.image_size // shape.stride
        self.shape, self.image_size, self.grid = shape, shape.image_size, side
        self.memory_encoder = MemoryEncoder(dim, narrow)
        self.sam_prompt_encoder = PromptEncoder(shape.image_size, side, dim)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(MAPS, 1, 1, narrow))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))  # in the files, never used
        self.mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.obj_ptr_proj = MLP(dim, dim, dim, 3)
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        self.obj_ptr_tpos_proj = nn.Linear(dim, narrow) if shape.dated_pointers else None
        self.no_obj_embed_spatial: nn.Parameter | None = None
        if shape.dated_pointers:
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, narrow))
        self.register_buffer("features_position", grid_sines(dim, side), persistent=False)
        self.register_buffer("memory_position", grid_sines(narrow, side), persistent=False)

    @property
    def mask_size(self) -> int:
        """Pixels along each side of masks that are remembered: those of the input, or close to it."""
        return _ACROSS * self.grid

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """(B, 3, S, S) preprocessed slices -> their features.

        Args:
            slices: what to encode.
            parallel: whether other threads encode at the same time.
        """
        raise NotImplementedError

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        """(1, C, h, w) coarse features after memory attention."""
        raise NotImplementedError

    def read(
        self, features: Features, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> Decoded:
        """Embedded prompts of B objects -> their masks; `dense` is None where no mask is given."""
        raise NotImplementedError

    def alone(self, coarse: Tensor) -> Tensor:
        """(B, C, h, w) coarse features as they are decoded where nothing is remembered."""
        return coarse + self.no_mem_embed.view(1, -1, 1, 1)

    def decode(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> Decoded:
        """Prompts of B objects on one frame -> their masks; see the two parts for shapes.

        `features.coarse` must have gone through `alone` or `attend`.
        """
        sparse, dense = self.sam_prompt_encoder(points, masks)
        return self.read(features, sparse, dense if masks is not None else None, multimask)

    def see(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
    ) -> Seen:
        """One object on a frame of a sequence, by prompts, memory, or both.

        Without any prompt, or with a single click, the best of three readings is taken.
        """
        coarse = features.coarse
        if points is None:
            points = coarse.new_zeros(1, 1, 2), coarse.new_full((1, 1), IGNORED)
            multimask = masks is None
        else:
            multimask = points[1].shape[1] == 1
        return self.settle(self.decode(features, points, masks, multimask))

    def settle(self, decoded: Decoded) -> Seen:
        """One object by what was decoded of it: its best reading, or that it is not there."""
        best = decoded.iou.argmax(dim=1)
        there = decoded.presence > 0
        logits = decoded.logits[:, best[0], None].where(there[..., None, None], ABSENT)
        pointer = self._pointer(self.obj_ptr_proj(decoded.tokens[:, best[0]]), there)
        return Seen(logits, decoded.iou[:, best[0]], pointer, decoded.presence)

    def take(self, features: Features, mask: Tensor) -> Seen:
        """One object whose mask somebody drew.

        Args:
            features: of the frame, with `coarse` as it is.
            mask: (1, 1, 16 h, 16 w), 0 or 1.
        """
        high = 2 * _SURE * mask - _SURE
        side = 4 * self.grid
        logits = F.interpolate(high, size=(side, side), mode="bilinear", antialias=True)
        pointer = self.see(features, masks=self.mask_downsample(mask)).pointer
        there = mask.flatten(1).any(dim=1, keepdim=True)
        presence = torch.where(there, _SURE, -_SURE)
        return Seen(logits, mask.new_ones(1), self._pointer(pointer, there), presence)

    def remember(self, coarse: Tensor, seen: Seen, prompted: bool) -> Tensor:
        """(1, M, h, w) memory map of an object.

        Args:
            coarse: (1, C, h, w) features of the frame as they are.
            seen: the object there.
            prompted: whether somebody said something there; then the mask is cut, not shaded.
        """
        size = (self.image_size, self.image_size)
        high = F.interpolate(seen.logits, size=size, mode="bilinear")
        mask = (high > 0).to(high.dtype) if prompted else high.sigmoid()
        if self.mask_size != self.image_size:  # convolutions halve it to the grid
            across = (self.mask_size, self.mask_size)
            mask = F.interpolate(mask, size=across, mode="bilinear", antialias=True)
        memory: Tensor = self.memory_encoder(coarse, 2 * _SURE * mask - _SURE)
        if self.no_obj_embed_spatial is not None:
            gone = (seen.presence <= 0).to(memory.dtype)[..., None, None]
            memory = memory + gone * self.no_obj_embed_spatial[..., None, None]
        return memory

    def attend(self, coarse: Tensor, memory: Memory) -> Tensor:
        """(1, C, h, w) coarse features of a frame, conditioned on what is remembered."""
        return self.condition(coarse, self.tokens_of(memory))

    def tokens_of(self, memory: Memory) -> MemoryTokens:
        """What is remembered, as tokens."""
        tokens, places = [], []
        here = self.memory_position.flatten(2).transpose(1, 2)
        for map_, age in memory.maps:
            tokens.append(map_.flatten(2).transpose(1, 2))
            places.append(here + self.maskmem_tpos_enc[age - 1].view(1, 1, -1))
        return MemoryTokens(
            torch.cat(tokens, dim=1), torch.cat(places, dim=1), *self._pointer_tokens(memory)
        )

    def _pointer_tokens(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """(1, n, M) tokens that pointers are cut into, and when they are from."""
        narrow = self.maskmem_tpos_enc.shape[-1]
        if not memory.pointers:
            none = self.no_obj_ptr.new_empty(1, 0, narrow)
            return none, none
        pointers = torch.stack([pointer for pointer, _ in memory.pointers], dim=1)
        tokens = pointers.unflatten(2, (-1, narrow)).flatten(1, 2)
        if self.obj_ptr_tpos_proj is None:
            return tokens, torch.zeros_like(tokens)
        ago = torch.tensor([t for _, t in memory.pointers], device=tokens.device)
        times = self.obj_ptr_tpos_proj(time_sines(ago / memory.horizon, pointers.shape[-1]))
        return tokens, times.repeat_interleave(pointers.shape[-1] // narrow, dim=0)[None]

    def _pointer(self, pointer: Tensor, there: Tensor) -> Tensor:
        """(1, C) pointer of an object that is there; the one of no object where it is not."""
        return torch.where(there, pointer, self.no_obj_ptr)


class Sam2(Sam2Steps):
    """Image encoder, prompt encoder, mask decoder and memory.

    Args:
        shape: what its tensors are shaped by.
        image_encoder: another one than SAM 2's, which gives features as `ImageEncoder` does.
    """

    def __init__(self, shape: Shape, image_encoder: nn.Module | None = None) -> None:
        super().__init__(shape)
        if image_encoder is None:
            assert shape.trunk is not None, "its own image encoder has a trunk"
            image_encoder = ImageEncoder(shape.trunk, shape.dim)
        self.image_encoder = image_encoder
        self.memory_attention = MemoryAttention(shape.dim, shape.memory, self.grid)
        self.sam_mask_decoder = MaskDecoder(shape.dim)

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """See `Sam2Steps`."""
        fine, middle, coarse = self.image_encoder(slices)
        return Features(*self.sam_mask_decoder.narrow(fine, middle), coarse)

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        """See `Sam2Steps`."""
        conditioned: Tensor = self.memory_attention(
            coarse,
            self.features_position,
            torch.cat([memory.maps, memory.pointers], dim=1),
            torch.cat([memory.places, memory.times], dim=1),
            memory.pointers.shape[1],
        )
        return conditioned

    def read(
        self, features: Features, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> Decoded:
        """See `Sam2Steps`."""
        prompts = self.sam_prompt_encoder
        decoded: Decoded = self.sam_mask_decoder(
            features.coarse,
            (features.fine, features.middle),
            prompts.dense_position(),
            sparse,
            prompts.dense(None, len(sparse)) if dense is None else dense,
            multimask,
        )
        return decoded
