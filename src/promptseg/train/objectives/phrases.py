"""SAM 3 learns to find what phrases name, and to say that there is nothing of it.

Each phrase is asked for by words, or by a box around one instance alone; all instances of the name
count as found or missed (`set_losses`). A micro-batch is one graph with all its phrases.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        """Return the same batch on another device."""
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)

    def of(self, image: int) -> tuple[Tensor, Instances]:
        """Return the numbers of the phrases that are asked of one image, and their instances."""
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

    def draw(self, batch: WordBatch, seed: int, iteration: int) -> int:
        """Draw the seed of dropout."""
        return int(generator(seed, "dropout", iteration, *batch.names[0]).integers(_LARGEST))

    def steps(self, embeddings: Tensor, batch: WordBatch, u: int) -> Iterator[Step]:
        """Yield the losses of all images, each by itself.

        Args:
            embeddings: (B, 21 C, h, w), of `WordSam3.encode`.
            batch: the phrases.
            u: chance.
        """
        torch.manual_seed(u)
        labels = torch.where(batch.asked, 1, PADDED)
        found = self.sam.answer(
            embeddings[batch.owner], batch.tokens, batch.examples[:, None], labels[:, None]
        )
        losses = []
        for image in range(len(batch.slices)):
            phrases, truth = batch.of(image)
            losses.append(set_loss(found.of(phrases), truth))
        yield Step(
            "words",
            torch.stack([one.mask for one in losses]),
            iou=None,
            overlap=torch.cat([one.overlap for one in losses]),
            presence=torch.stack([one.presence for one in losses]),
            others={
                name: torch.stack([getattr(one, name) for one in losses])
                for name in ("score", "box")
            },
            seen={"presence_right": torch.cat([one.right for one in losses]).float()},
        )
