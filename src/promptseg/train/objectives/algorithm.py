"""Algorithm 1 of MedicoSAM: the training objective of SAM, and its simpler relatives as settings of it.

A round's prompts depend on what the model answered before, but no gradient flows through them: a user
draws them. So the rounds are independent of each other given the embedding, and each can be taken back
through the decoder as soon as it is there (`Step`): the memory is that of one round, not of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam import Sam
from promptseg.models.families.specialist.build import BoxChannel
from promptseg.train.image_sam2 import ImageSam2
from promptseg.train.objectives.batch import Batch
from promptseg.train.objectives.losses import iou, iou_loss, mask_loss
from promptseg.train.objectives.prompts import Prompts
from promptseg.train.objectives.settings import Objective
from promptseg.train.objectives.uniforms import Uniforms

__all__ = ["Algorithm1", "Step"]


class _Answer(NamedTuple):
    """What the model says to one round of prompts.

    Attributes:
        logits: (N, 1, 4h, 4w) of the masks, at least float32.
        iou: (N,) predicted, at least float32.
    """

    logits: Tensor
    iou: Tensor


@dataclass(frozen=True)
class Step:
    """Entries of the list L.

    Attributes:
        name: "first", "correction 1", ..., or "semantic"; of all answers about an object in a clip,
            "clip"; about phrases on an image, "words".
        mask: losses of masks, one per object (of the union: per image).
        iou: squared errors of the predicted IoU, one per object; None where they do not count.
        overlap: (N,) true IoU of the answers, for the log.
        presence: losses of whether the object is there; None where that is not asked.
        others: losses of other kinds, by name.
        seen: more numbers for the log, by name.
    """

    name: str
    mask: Tensor
    iou: Tensor | None
    overlap: Tensor
    presence: Tensor | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Mapping[str, Tensor] = field(default_factory=dict)

    def total(self) -> Tensor:
        """Return the sum of the entries."""
        total = self.mask.sum() if self.iou is None else self.mask.sum() + self.iou.sum()
        total = total if self.presence is None else total + self.presence.sum()
        return total + sum(each.sum() for each in self.others.values())


class Algorithm1:
    """The objective for one network.

    Args:
        sam: the network.
        objective: the hyperparameters.
        semantic: decoder of the union of all targets, (B, C, h, w) -> (B, 1, H, W) logits; needed if
            the objective trains one.
    """

    def __init__(
        self,
        sam: Sam | ImageSam2 | BoxChannel,
        objective: Objective,
        semantic: nn.Module | None = None,
    ) -> None:
        if objective.joint_decoder and semantic is None:
            raise ValueError("a joint decoder is to be trained, and none is given")
        self.sam, self.objective, self.semantic = sam, objective, semantic
        self.side = sam.prompt_encoder.image_size

    def draw(self, batch: Batch, seed: int, iteration: int) -> Uniforms:
        """Draw all random numbers of one iteration."""
        return Uniforms.draw(self.objective, batch.names, seed, iteration)

    def steps(self, embeddings: Tensor, batch: Batch, u: Uniforms) -> Iterator[Step]:
        """Yield the losses of one iteration, round by round (lines 4-33).

        Their sum over all steps and micro-batches, divided by `Objective.terms`, is what line 34 takes
        back through the network.

        Args:
            embeddings: (B, C, h, w), line 3.
            batch: the objects.
            u: chance.
        """
        objective, u = self.objective, u.to(batch.masks.device)
        inside = batch.inside()
        around = inside[batch.owner]
        prompts = Prompts.first(batch, objective, u, self.side)
        answer: _Answer | None = None
        for j in range(objective.n_steps + 1):
            if answer is not None:
                found = (_on_grid(answer.logits, batch.masks) > 0) & around
                prompts.correct(batch, found, u, j - 1, objective, self.side)
                prompts.add_mask(answer.logits, u.mask[:, j - 1] < objective.p_mask)
            answer = self._answer(embeddings, batch, prompts, objective.learn_corrections or j == 0)
            fine = _on_grid(answer.logits, batch.masks)
            true = iou((fine > 0) & around, batch.masks)
            yield Step(
                f"correction {j}" if j else "first",
                mask_loss(objective.mask_loss, fine, batch.masks, around),
                iou_loss(answer.iou, true) if objective.iou_loss else None,
                true,
            )
        if objective.joint_decoder:
            assert self.semantic is not None
            fine = _on_grid(self.semantic(embeddings), batch.union)
            loss = mask_loss(objective.mask_loss, fine, batch.union, inside)
            yield Step("semantic", loss, None, iou((fine > 0) & inside, batch.union))

    def _answer(self, embeddings: Tensor, batch: Batch, prompts: Prompts, learns: bool) -> _Answer:
        """Masks and predicted IoU for the present prompts (lines 12-17).

        Args:
            embeddings: (B, C, h, w).
            batch: the objects.
            prompts: what is asked.
            learns: whether the prompt encoder gets gradients.
        """
        logits: list[Tensor] = []
        predicted: list[Tensor] = []
        groups = prompts.groups()
        for group in groups:
            with (  # positions are sines of large phases: in bf16 a box would lie a pixel off
                torch.set_grad_enabled(torch.is_grad_enabled() and learns),
                torch.autocast(embeddings.device.type, enabled=False),
            ):
                sparse, dense = self.sam.prompt_encoder(*prompts.of(group))
            several, quality = self.sam.mask_decoder(
                embeddings[batch.owner[group]],
                self.sam.prompt_encoder.dense_position(),
                sparse,
                dense,
                prompts.is_single_point(group),
            )
            best = quality.argmax(1)
            rows = torch.arange(len(best), device=best.device)
            logits.append(_precise(several[rows, best][:, None]))
            predicted.append(_precise(quality[rows, best]))
        order = torch.cat(groups).argsort()
        return _Answer(torch.cat(logits)[order], torch.cat(predicted)[order])


def _precise(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _on_grid(logits: Tensor, masks: Tensor) -> Tensor:
    """(N, 1, m, m) logits on the grid of (N, R, R) masks: (N, R, R), bilinear where they differ."""
    logits = _precise(logits)
    if logits.shape[-2:] != masks.shape[-2:]:
        logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
    return logits[:, 0]
