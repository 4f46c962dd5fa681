"""A model that takes words of a closed vocabulary, besides all that its base takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.errors import UnsupportedPromptError
from promptseg.models.card import ModelCard
from promptseg.models.families.sam.model import SamEmbedding, SamModel
from promptseg.models.families.words.network import WordsHead
from promptseg.models.families.words.objects import boxes_of, objects_of
from promptseg.models.families.words.vocabulary import Concept
from promptseg.models.preprocess import InputTransform
from promptseg.models.protocol import Embedding, Findings, Instance, Phrase, SlicePrompt

__all__ = ["WordsModel", "inside"]

_CLEAR = 10.0  # logits of a hint, at most
_AT_ONCE = 32  # objects whose masks on the slice are made together


class WordsModel(SamModel):
    """One head for words with its base, on one device.

    Args:
        card: what the model is.
        network: the base in evaluation mode, or what runs it.
        device: where it is.
        head: for words.
    """

    def __init__(
        self, card: ModelCard, network: Any, device: torch.device, head: WordsHead
    ) -> None:
        super().__init__(card, network, device)
        self.head = head

    @property
    def known_words(self) -> tuple[Concept, ...]:
        """See `ClosedWords`."""
        return self.head.vocabulary.concepts

    def word(self, phrase: str) -> Concept:
        """See `ClosedWords`."""
        return self.head.vocabulary.look_up(phrase)

    def nearest_word(self, phrase: str) -> Concept:
        """See `ClosedWords`."""
        return self.head.vocabulary.look_up(self.head.vocabulary.nearest(phrase))

    @torch.inference_mode()
    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        """See `WordModel`.

        Raises:
            PromptError: a phrase that is none of its words.
            UnsupportedPromptError: boxes around examples.
        """
        assert isinstance(embedding, SamEmbedding), "an embedding of this model"
        if any(phrase.boxes or phrase.outside for phrase in phrases):
            raise UnsupportedPromptError(
                f"words alone for {self.card.name}",
                "boxes around examples",
                "leave them out, or use sam3, which looks for what is like an example",
            )
        concepts = [self.word(phrase.text) for phrase in phrases]
        if not concepts:
            return []
        rows = [self.head.vocabulary.index(concept) for concept in concepts]
        seen = self.head(
            embedding.features.float(),
            torch.tensor(rows, device=self.device),
            inside(embedding.transform).to(self.device),
        )
        presence = seen.presence[0].sigmoid().tolist()
        return [
            self._found(embedding, concept, sure, mask, depth, at_least)
            for concept, sure, mask, depth in zip(
                concepts, presence, seen.masks[0], seen.depth[0], strict=True
            )
        ]

    def _found(
        self,
        embedding: SamEmbedding,
        concept: Concept,
        presence: float,
        mask: Tensor,
        depth: Tensor,
        at_least: float,
    ) -> Findings:
        if presence <= at_least:
            return Findings((), presence, presence)
        mask, depth = (_finer(values) for values in (mask, depth))
        logits = mask.cpu().numpy()
        rows, columns = extent(embedding.transform, logits.shape[-1])
        logits[rows:] = logits[:, columns:] = -_CLEAR
        deep = depth.sigmoid().cpu().numpy()
        objects = objects_of(logits, deep, concept.instances)
        likely = 1 / (1 + np.exp(-logits))
        scores = [min(presence, float(likely[one].mean())) for one in objects]
        kept = [k for k in np.argsort([-s for s in scores], kind="stable") if scores[k] > at_least]
        if not kept:
            return Findings((), presence, max(scores, default=0.0))
        instances = []
        for first in range(0, len(kept), _AT_ONCE):
            some = kept[first : first + _AT_ONCE]
            alone = np.stack([np.where(objects[k], logits, -_CLEAR) for k in some])[:, None]
            masks = self._refined(
                embedding, torch.from_numpy(alone).float().to(self.device), concept
            )
            instances += [
                Instance(one, scores[k], _box(one))
                for k, one in zip(some, masks, strict=True)
                if one.any()
            ]
        return Findings(tuple(instances), presence, max(scores))

    def _refined(
        self, embedding: SamEmbedding, logits: Tensor, concept: Concept
    ) -> NDArray[np.bool_]:
        """(N, rows, columns) masks on the slice."""
        coarse: NDArray[np.bool_] = embedding.transform.masks(logits).cpu().numpy()
        if concept.refine == "none":
            return coarse
        boxes = boxes_of(coarse)
        asked = [k for k, box in enumerate(boxes) if box is not None]
        hint = concept.refine == "box+mask"
        prompts = [
            SlicePrompt(
                box=boxes[k],
                logits=logits[k : k + 1].clamp(-_CLEAR, _CLEAR) if hint else None,
            )
            for k in asked
        ]
        if prompts:
            answer = self.decode(embedding, prompts)
            for k, mask in zip(asked, answer.masks, strict=True):
                coarse[k] = mask
        return coarse


def inside(transform: InputTransform, side: int = 64) -> Tensor:
    """Return a mask, (1, side, side) boolean, of the part of the input that a slice takes."""
    rows, columns = extent(transform, side)
    found = torch.zeros(1, side, side, dtype=torch.bool)
    found[:, :rows, :columns] = True
    return found


def extent(transform: InputTransform, side: int) -> tuple[int, int]:
    """Count the rows and columns of a grid over the input that a slice takes, at least in part."""
    rows, columns = (-(-length * side // transform.size) for length in transform.resized)
    return rows, columns


def _finer(values: Tensor, side: int = 256) -> Tensor:
    """(h, w) logits on the grid of the base's own, (side, side)."""
    fine = F.interpolate(values.float()[None, None], (side, side), mode="bilinear")
    return fine[0, 0]


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    (found,) = boxes_of(mask[None])
    assert found is not None
    return found
