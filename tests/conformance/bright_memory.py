"""A SAM 2 without weights: it finds what is bright; memory bank and tracker are the real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.families.sam2.network import ABSENT, Features, Look, Memory, Seen, Shape
from promptseg.models.preprocess import Preprocessing

SIZE = 120  # an odd multiple of the sides of the tests' frames: their pixels come back exactly
_NEAR = 2  # pixels of the input that belong to a box beyond its corners


class BrightNetwork:
    """What `Sam2Memory` asks of a network, with pixels for features and masks for maps.

    Prompts mean the bright patches within a box, under clicks, or what is hinted at; a frame without
    any, the bright patches that touch the youngest mask that is not empty. A frame with nothing of
    them is one without the object. Pointers are masks too: they say how old they are.
    """

    image_size, grid, mask_size = SIZE, SIZE // 4, SIZE
    one_level = False
    shape = Shape(None, SIZE)
    maskmem_tpos_enc = torch.zeros(7, 1, 1, 16)

    def __init__(self) -> None:
        self.looked: list[tuple[int, ...]] = []

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        bright = (slices.mean(1, keepdim=True) > 0).float()
        return Features(bright, bright, bright)

    def alone(self, coarse: Tensor) -> Tensor:
        return coarse

    def attend(self, coarse: Tensor, memory: Memory) -> Tensor:
        """The frame, and beside it where the object was."""
        self.looked.append(tuple(age for _, age in memory.maps))
        where = [(ago, mask) for mask, ago in memory.pointers if mask.any()]
        _, mask = min(where, key=lambda one: one[0], default=(0, torch.zeros(1, SIZE * SIZE)))
        return torch.cat([coarse[:, :1], mask.view(1, 1, SIZE, SIZE)], dim=1)

    def look(self, features: Features, memory: Memory) -> Look:
        return Look(features._replace(coarse=self.attend(features.coarse, memory)))

    def propagate(self, features: Features, memory: Memory) -> Seen:
        return self.see(self.look(features, memory).features)

    def see(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
    ) -> Seen:
        bright = features.coarse[0, 0].numpy() > 0
        patches, _ = ndimage.label(bright)
        found = np.zeros_like(bright)
        boxed = points is not None and 2 in points[1].tolist()[0]
        if masks is not None and not boxed:  # a box says more
            found |= masks[0, 0].numpy() > 0
        if points is None and masks is None:
            where = features.coarse[0, 1].numpy() > 0
            found |= np.isin(patches, patches[where & bright]) & bright
        elif points is not None:
            xy, labels = points[0][0].numpy(), points[1][0].tolist()
            if boxed:
                (x0, y0), (x1, y1) = xy[:2]
                y, x = np.indices(bright.shape)
                across = (x0 - _NEAR <= x) & (x <= x1 + _NEAR)
                found |= bright & across & (y0 - _NEAR <= y) & (y <= y1 + _NEAR)
            for (x, y), label in zip(xy.round().astype(int), labels, strict=True):
                patch = (patches == patches[y, x]) & bright
                if label == 1:
                    found |= patch
                elif label == 0:
                    found &= ~patch
        return _seen(torch.from_numpy(found.astype(np.float32))[None, None])

    def decode(
        self,
        features: Features,
        points: tuple[Tensor, Tensor] | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> Decoded:
        """Each object as `see` sees it; all masks are the same."""
        given = points[0] if points else masks
        assert given is not None
        seen = [
            self.see(
                features,
                points and (points[0][k : k + 1], points[1][k : k + 1]),
                None if masks is None else masks[k : k + 1],
            )
            for k in range(len(given))
        ]
        count = 3 if multimask else 1
        logits = torch.cat([one.logits for one in seen]).repeat(1, count, 1, 1)
        iou = torch.stack([one.iou for one in seen]).repeat(1, count)
        return Decoded(logits, iou, logits.flatten(2), torch.cat([one.presence for one in seen]))

    def take(self, features: Features, mask: Tensor) -> Seen:
        return _seen(mask)

    def remember(self, coarse: Tensor, seen: Seen, prompted: bool) -> Tensor:
        return (seen.logits > 0).float()


def _seen(mask: Tensor) -> Seen:
    there = bool(mask.any())
    logits = 20 * mask - 10 if there else torch.full_like(mask, ABSENT)
    presence = torch.full((1, 1), 5.0 if there else -5.0)
    return Seen(logits, torch.full((1,), 0.9), mask.flatten(1), presence)


def bright_memory() -> Predictor:
    """A predictor with such a network, under the card of SAM 2.1."""
    card = replace(CARDS["sam2.1-t"], preprocessing=Preprocessing(SIZE, "imagenet", "stretch"))
    model = Sam2Model(card, BrightNetwork(), torch.device("cpu"))  # type: ignore[arg-type]
    return Predictor(model, Path("none.pt"), "0" * 64)
