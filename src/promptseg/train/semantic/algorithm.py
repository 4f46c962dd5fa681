"""The objective of classes for one network, as the loop asks it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.models.heads.semantic.network import SemanticNetwork
from promptseg.train.objectives import SemanticObjective, Step
from promptseg.train.semantic.losses import class_loss
from promptseg.train.semantic.samples import ClassBatch

__all__ = ["ClassAlgorithm"]


class ClassAlgorithm:
    """See `Algorithm1`, whose place it takes: there is nothing to draw, and one round.

    Args:
        network: the network.
        objective: the hyperparameters.
        weights: of background and classes in the cross-entropy; None for all alike.
    """

    def __init__(
        self,
        network: SemanticNetwork,
        objective: SemanticObjective,
        weights: list[float] | None = None,
    ) -> None:
        self.network, self.objective = network, objective
        self.weights = None if weights is None else torch.tensor(weights)

    def draw(self, batch: ClassBatch, seed: int, iteration: int) -> None:
        """Draw nothing: there is no prompt and no chance."""

    def steps(self, embeddings: Tensor, batch: ClassBatch, u: None) -> Iterator[Step]:
        """Yield the loss of some images, repeated for each of them."""
        logits = self.network.classify(embeddings)
        size = batch.classes.shape[-2:]
        if logits.shape[-2:] != size:
            flat = logits if logits.ndim == 4 else logits.transpose(1, 2).flatten(0, 1)
            flat = F.interpolate(flat.float(), size, mode="bilinear")
            deep = logits.ndim == 5
            logits = flat.unflatten(0, (len(logits), -1)).transpose(1, 2) if deep else flat
        weights = None if self.weights is None else self.weights.to(logits.device)
        loss, dice = class_loss(logits, batch.classes, weights, self.objective.faithful)
        there = dice[1:][dice[1:].isfinite()]
        yield Step("classes", loss.expand(len(batch.classes)), None, there)
