"""SAM 3 learns to find what phrases name, and to say that there is nothing of it.

Each phrase is asked for by words, or by a box around one instance alone; all instances of the name
count as found or missed (`set_losses`). An image is one graph with all its phrases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from promptseg.models.families.sam3.detect import PADDED
from promptseg.simulate.seeds import generator
from promptseg.train.objectives.algorithm import Step
from promptseg.train.objectives.set_losses import Instances, set_loss
from promptseg.train.objectives.settings import WordObjective

if TYPE_CHECKING:
    from promptseg.train.networks import WordSam3

__all__ = ["WordAlgorithm", "WordBatch"]

_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class WordBatch:
    """B images with P phrases and N instances of them, in the frame of the network's input.

    Attributes:
        slices: (B, 3, S, S) preprocessed slices.
        tokens: (P, L) numbers of the words of each phrase.
        owner: (P,) which image a phrase is asked of, in order.
        examples: (P, 4) a box to ask by, centre, width and height in parts of the input.
        asked: (P,) whether there is one.
        boxes: (N, 4) of the instances, in the same form.
        masks: (N, R, R) boolean.
        phrase: (N,) what an instance is of, in order.
        names: of the images, for what is drawn by chance.
        embeddings: none are kept.
    """

    slices: Tensor
    tokens: Tensor
    owner: Tensor
    examples: Tensor
    asked: Tensor
    boxes: Tensor
    masks: Tensor
    phrase: Tensor
    names: tuple[tuple[str, ...], ...]
    embeddings: None = None

    def to(self, device: torch.device) -> WordBatch:
        """The same on another device."""
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)

    def of(self, image: int) -> tuple[Tensor, Instances]:
        """Of one image, which of the P phrases are asked of it, and their instances."""
        phrases = (self.owner == image).nonzero()[:, 0]
        first = int(phrases[0])
        own = (self.phrase >= first) & (self.phrase < first + len(phrases))
        truth = Instances(self.boxes[own], self.masks[own], self.phrase[own] - first, len(phrases))
        return phrases, truth


class WordAlgorithm:
    """The objective of phrases for one network; see `Algorithm1`, whose place in the loop it takes.

    Args:
        sam: the network.
        objective: the hyperparameters.
    """

    def __init__(self, sam: WordSam3, objective: WordObjective) -> None:
        self.sam, self.objective = sam, objective

    def draw(self, batch: WordBatch, seed: int, iteration: int) -> list[int]:
        """Of each image, where the generator of dropout begins: the same in whatever batch it is."""
        return [
            int(generator(seed, "dropout", iteration, *name).integers(_LARGEST))
            for name in batch.names
        ]

    def steps(self, embeddings: Tensor, batch: WordBatch, u: Sequence[int]) -> Iterator[Step]:
        """The losses of one image after the other.

        Args:
            embeddings: (B, 21 C, h, w), of `WordSam3.encode`.
            batch: the phrases.
            u: chance.
        """
        for image, seed in enumerate(u):
            phrases, truth = batch.of(image)
            torch.manual_seed(seed)
            asked = batch.asked[phrases]
            labels = torch.where(asked, torch.ones_like(asked, dtype=torch.long), PADDED)
            found = self.sam.answer(
                embeddings[image, None],
                batch.tokens[phrases],
                batch.examples[phrases, None],
                labels[:, None],
            )
            loss = set_loss(found, truth)
            yield Step(
                "words",
                loss.mask[None],
                None,
                loss.overlap,
                loss.presence[None],
                {"score": loss.score[None], "box": loss.box[None]},
                {"presence_right": loss.right.float()},
            )
