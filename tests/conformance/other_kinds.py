"""Doubles of the kinds that no network of ours is yet: a reader of words, a semantic model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fakes import BrightEmbedding, BrightModel
from promptseg.errors import PromptError
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.models.protocol import Embedding, Findings, Instance, Patch, Phrase
from promptseg.prompts import box_of_mask


class BrightWords(BrightModel):
    """ "bright" means every bright patch, "liver" very bright ones; a larger one is surer.

    Nothing else means anything. It remembers what it was asked.
    """

    def __init__(self, level: int = 128, card: str = "sam3") -> None:
        super().__init__(level, card)
        self.phrases: list[Phrase] = []

    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        return [self._findings(embedding, phrase, at_least) for phrase in phrases]

    def _findings(self, embedding: Embedding, phrase: Phrase, at_least: float) -> Findings:
        if not phrase.text.strip() and not phrase.boxes:
            raise PromptError("a phrase", repr(phrase.text), "say what to look for")
        self.phrases.append(phrase)
        assert isinstance(embedding, BrightEmbedding)
        level = {"bright": self.level, "": self.level, "liver": 220}.get(phrase.text, 256)
        pixels = embedding.pixels.numpy()
        bright = pixels if pixels.ndim == 2 else pixels.max(axis=2)
        labels, count = ndimage.label(bright >= level)
        found = []
        for k in range(1, count + 1):
            mask: NDArray[np.bool_] = labels == k
            box = box_of_mask(mask)
            assert box
            found.append(Instance(mask, float(1 - 1 / (1 + mask.sum())), box))
        for x0, y0, x1, y1 in phrase.outside:
            found = [
                i for i in found if not i.mask[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].any()
            ]
        found.sort(key=lambda instance: -instance.score)
        sure = tuple(instance for instance in found if instance.score > at_least)
        return Findings(sure, float(bool(found)), max((i.score for i in found), default=0.0))


class BrightVocabulary(BrightWords):
    """Bright patches by a closed list of words; it takes boxes, clicks and masks, too."""

    words = Vocabulary(
        [
            Concept("bright", ("US", "CT"), ("light patch",)),
            Concept("liver", ("MR",), ("LIV",), "10200004"),
            Concept("spleen", ("CT",)),
        ]
    )

    def __init__(self, level: int = 128, card: str = "promptseg-words") -> None:
        super().__init__(level, card)

    @property
    def known_words(self) -> tuple[Concept, ...]:
        return self.words.concepts

    def word(self, phrase: str) -> Concept:
        return self.words.look_up(phrase)

    def nearest_word(self, phrase: str) -> Concept:
        return self.words.look_up(self.words.nearest(phrase))

    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        asked = [replace(p, text=self.word(p.text).name) for p in phrases]
        return super().find(embedding, asked, at_least - 0.01)  # a single pixel counts, too


class BrightClasses:
    """Dark, bright or neither, voxel by voxel."""

    classes = ("bright", "dark")

    def __init__(self, *shape: int) -> None:
        self.patch = Patch(shape)

    def classify(self, patches: NDArray[np.float32]) -> Tensor:
        x = torch.from_numpy(patches)
        return torch.stack([torch.full_like(x, 0.2), x - 0.5, 0.5 - x], dim=1)
