"""A SAM 2 put together from its parts: encode a frame, decode prompts, remember, attend to memory.

Ravi et al., SAM 2: segment anything in images and videos (2024), under the official parameter names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import MLP
from promptseg.models.families.sam2.mask_decoder import Decoded, MaskDecoder
from promptseg.models.families.sam2.memory_attention import MemoryAttention
from promptseg.models.families.sam2.memory_encoder import MemoryEncoder
from promptseg.models.families.sam2.neck import ImageEncoder
from promptseg.models.families.sam2.plain import PlainEncoder, PlainSize
from promptseg.models.families.sam2.positions import grid_sines, time_sines
from promptseg.models.families.sam2.prompt_encoder import IGNORED, PromptEncoder
from promptseg.models.families.sam2.trunk import TrunkSize

__all__ = [
    "ABSENT",
    "MAPS",
    "POINTERS",
    "Features",
    "Look",
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
    """Features of B frames, as the image encoder makes them.

    Attributes:
        fine: (B, C / 8, 4 h, 4 w), as the mask decoder adds it; without channels where it adds none.
        middle: (B, C / 4, 2 h, 2 w), likewise.
        coarse: (B, C, h, w).
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor

    @classmethod
    def of_one_level(cls, coarse: Tensor) -> Features:
        """Make features of an encoder that has no finer levels."""
        batch, _, h, w = coarse.shape
        fine, middle = (coarse.new_empty(batch, 0, k * h, k * w) for k in (4, 2))
        return cls(fine, middle, coarse)

    @property
    def one_level(self) -> bool:
        """Tell whether there are no finer levels."""
        return self.fine.shape[1] == 0


class Look(NamedTuple):
    """A frame as the mask decoder is asked about it, in the light of what is remembered of B objects.

    Attributes:
        features: of the frame, `coarse` conditioned on memory.
        clicks: (B, N, 2) places and (B, N) labels that memory says; None where it says none.
        presence: (B, 1) logits that the objects are there, beside those of the decoder; None where
            memory does not say.
    """

    features: Features
    clicks: tuple[Tensor, Tensor] | None = None
    presence: Tensor | None = None

    def judged(self, decoded: Decoded) -> Decoded:
        """Return the decoded objects, which are there only if memory says so too."""
        if self.presence is None:
            return decoded
        return replace(decoded, presence=torch.minimum(decoded.presence, self.presence))


class Seen(NamedTuple):
    """An object on one frame, or B objects that are propagated together.

    Attributes:
        logits: (B, 1, 4 h, 4 w) mask logits; `ABSENT` throughout where it is not there.
        iou: (B,) predicted IoU.
        pointer: (B, C) what stands for the object in later frames.
        presence: (B, 1) logit that it is there.
    """

    logits: Tensor
    iou: Tensor
    pointer: Tensor
    presence: Tensor


class Memory(NamedTuple):
    """Memory of an object, or of B objects at the same ages, for one frame.

    Attributes:
        maps: ((B, M, h, w) map, its age) each; 0 of conditioning frames, else 1..6 frames ago.
        pointers: ((B, C) pointer, how many frames ago) each.
        horizon: the longest ago that a pointer may be.
    """

    maps: Sequence[tuple[Tensor, int]]
    pointers: Sequence[tuple[Tensor, int]]
    horizon: int


class MemoryTokens(NamedTuple):
    """Memory as memory attention takes it, with M channels.

    Attributes:
        maps: (B, maps * h * w, M) tokens of maps.
        places: (1, maps * h * w, M): where and when they are.
        pointers: (B, m, M) tokens that pointers are cut into; m may be 0.
        times: (B or 1, m, M): when they are from.
    """

    maps: Tensor
    places: Tensor
    pointers: Tensor
    times: Tensor


@dataclass(frozen=True)
class Shape:
    """Sizes that give a network's tensors their shapes.

    Attributes:
        trunk: size of the trunk, a Hiera or a plain one; None where the encoder of images is another
            one.
        image_size: pixels along each side of the input.
        dated_pointers: whether pointers say when they are from, and maps whether the object was there;
            so in 2.1.
        dim: channels of features.
        memory: channels of memory.
        stride: pixels of the input along a cell of the grid.
        sure, clears: see `Bank`.
    """

    trunk: TrunkSize | PlainSize | None
    image_size: int = 1024
    dated_pointers: bool = True
    dim: int = 256
    memory: int = 64
    stride: int = 16
    sure: float | None = None
    clears: int = 0


class Sam2Steps(nn.Module):
    """Steps of a SAM 2 with frames, prompts and memory, whatever runs its three large parts."""

    features_position: Tensor
    memory_position: Tensor
    memory_encoder: nn.Module
    guesses: bool = False
    """Whether memory says where an object is without the mask decoder (`MemorySam`)."""
    one_level: bool = False
    """Whether features have no finer levels."""

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
        """Return the pixels along each side of remembered masks: those of the input, or close to it."""
        return _ACROSS * self.grid

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """Map (B, 3, S, S) preprocessed slices to their features.

        Args:
            slices: what to encode.
            parallel: whether other threads encode at the same time.
        """
        raise NotImplementedError

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        """Map (1 or B, C, h, w) coarse features to (B, C, h, w) after memory attention."""
        raise NotImplementedError

    def read(
        self, features: Features, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> Decoded:
        """Map embedded prompts of B objects to their masks; `dense` is None where no mask is given."""
        raise NotImplementedError

    def alone(self, coarse: Tensor) -> Tensor:
        """Return the coarse features (B, C, h, w) as they are decoded where nothing is remembered."""
        return coarse + self.no_mem_embed.view(1, -1, 1, 1)

    def decode(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> Decoded:
        """Map prompts of B objects on one frame to their masks; see the two parts for shapes.

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
        """Segment one object on a frame of a sequence, by prompts, memory, or both.

        Without any prompt, or with a single point, the best of three masks is taken.
        """
        return self.settle(self.read_alone(features, points, masks))

    def propagate(self, features: Features, memory: Memory) -> Seen:
        """Segment one object by memory, on a frame that nobody said anything of."""
        look = self.look(features, memory)
        return self.settle(look.judged(self.read_alone(look.features, look.clicks)))

    def read_alone(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
    ) -> Decoded:
        """Decode one object on a frame as `see` does, and return all masks."""
        coarse = features.coarse
        if points is None:
            points = coarse.new_zeros(1, 1, 2), coarse.new_full((1, 1), IGNORED)
            multimask = masks is None
        else:
            multimask = points[1].shape[1] == 1
        return self.decode(features, points, masks, multimask)

    def settle(self, decoded: Decoded) -> Seen:
        """Choose the best mask of each decoded object, or settle that it is not there."""
        best = decoded.iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        there = decoded.presence > 0
        logits = decoded.logits[rows, best][:, None].where(there[..., None, None], ABSENT)
        pointer = self._pointer(self.obj_ptr_proj(decoded.tokens[rows, best]), there)
        return Seen(logits, decoded.iou[rows, best], pointer, decoded.presence)

    def take(self, features: Features, mask: Tensor) -> Seen:
        """Take over the mask of one object that somebody drew.

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
        """Build the memory maps of B objects, (B, M, h, w).

        Args:
            coarse: (1 or B, C, h, w) features of the frame as they are.
            seen: the objects there.
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
        """Map (1 or B, C, h, w) coarse features of a frame to (B, C, h, w), conditioned on memory."""
        return self.condition(coarse, self.tokens_of(memory))

    def look(self, features: Features, memory: Memory) -> Look:
        """Return a frame conditioned on what is remembered of objects; see `Look`."""
        return Look(features._replace(coarse=self.attend(features.coarse, memory)))

    def tokens_of(self, memory: Memory) -> MemoryTokens:
        """Convert a memory to tokens."""
        tokens, places = [], []
        here = self.memory_position.flatten(2).transpose(1, 2)
        for map_, age in memory.maps:
            tokens.append(map_.flatten(2).transpose(1, 2))
            places.append(here + self.maskmem_tpos_enc[age - 1].view(1, 1, -1))
        return MemoryTokens(
            torch.cat(tokens, dim=1), torch.cat(places, dim=1), *self._pointer_tokens(memory)
        )

    def _pointer_tokens(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """(B, n, M) tokens that pointers are cut into, and when they are from."""
        narrow = self.maskmem_tpos_enc.shape[-1]
        if not memory.pointers:
            none = self.no_obj_ptr.new_empty(len(memory.maps[0][0]), 0, narrow)
            return none, none
        pointers = torch.stack([pointer for pointer, _ in memory.pointers], dim=1)
        tokens = pointers.unflatten(2, (-1, narrow)).flatten(1, 2)
        if self.obj_ptr_tpos_proj is None:
            return tokens, torch.zeros_like(tokens[:1])
        ago = torch.tensor([t for _, t in memory.pointers], device=tokens.device)
        times = self.obj_ptr_tpos_proj(time_sines(ago / memory.horizon, pointers.shape[-1]))
        return tokens, times.repeat_interleave(pointers.shape[-1] // narrow, dim=0)[None]

    def _pointer(self, pointer: Tensor, there: Tensor) -> Tensor:
        """(B, C) pointers of objects that are there; the one of no object where one is not."""
        return torch.where(there, pointer, self.no_obj_ptr)


class Sam2(Sam2Steps):
    """Image encoder, prompt encoder, mask decoder and memory.

    Args:
        shape: what its tensors are shaped by.
        image_encoder: another one than SAM 2's, which gives features as `ImageEncoder` does.
    """

    def __init__(self, shape: Shape, image_encoder: nn.Module | None = None) -> None:
        super().__init__(shape)
        self.one_level = isinstance(shape.trunk, PlainSize)
        if image_encoder is None:
            assert shape.trunk is not None, "its own image encoder has a trunk"
            if isinstance(shape.trunk, PlainSize):
                image_encoder = PlainEncoder(shape.trunk, shape.dim)
            else:
                image_encoder = ImageEncoder(shape.trunk, shape.dim)
        self.image_encoder = image_encoder
        self.memory_attention = MemoryAttention(shape.dim, shape.memory, self.grid)
        self.sam_mask_decoder = MaskDecoder(shape.dim, finer=not self.one_level)

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """See `Sam2Steps`."""
        if self.one_level:
            return Features.of_one_level(self.image_encoder(slices))
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
