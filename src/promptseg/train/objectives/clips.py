"""SAM 2 learns to propagate objects through clips, as MedSAM2 was trained.

Boxes on one frame or two, corrections by clicks on up to two, memory on all others; every answer is
judged (`clip_losses`). Frames that somebody said something of are conditioning frames. Gradients flow
through memory, but not through clicks and the masks that are given back with them: a user draws those.

All objects of a clip have one plan of what is said on which frame, and so have all clips of an update
that are of as many frames, wherever their objects are on the same ones. What has one plan goes through
the network as one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from promptseg.models.families.sam2.bank import Bank, Remembered
from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Features, Look, Sam2Steps
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, IGNORED, TOP_LEFT
from promptseg.simulate.seeds import generator
from promptseg.train.image_sam2 import ImageSam2
from promptseg.train.objectives.algorithm import Step
from promptseg.train.objectives.clip_losses import ClipLoss, clip_loss
from promptseg.train.objectives.prompts import draw_pixel
from promptseg.train.objectives.settings import ClipObjective

__all__ = ["ClipAlgorithm", "ClipBatch", "ClipChance", "ClipPlan", "clip_losses"]

_LARGEST = 32.0  # logits that are given back

Clicks = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ClipPlan:
    """The prompts on a clip: frames with a box, and frames that clicks correct.

    Attributes:
        boxed: frames with a box, the first of them first.
        corrected: frames that clicks correct, whether boxed or propagated.
        clicks: how many clicks each of these gets.
        frames: of the clip; 0 where nobody asks.
    """

    boxed: tuple[int, ...]
    corrected: frozenset[int]
    clicks: int = 7
    frames: int = 0

    @classmethod
    def draw(cls, there: Sequence[bool], chance: np.random.Generator, clicks: int = 7) -> ClipPlan:
        """Draw one or two frames with a box and up to two that are corrected.

        Args:
            there: whether all objects are on each frame; on one at least.
            chance: decides.
            clicks: on a corrected frame.
        """
        possible = [frame for frame, seen in enumerate(there) if seen]
        second = chance.choice(possible, size=int(chance.integers(0, 2)))
        boxed = dict.fromkeys((possible[0], *map(int, second)))
        corrected = chance.permutation(possible)[: int(chance.integers(0, 3)) if clicks else 0]
        return cls(tuple(boxed), frozenset(map(int, corrected)), clicks)


def clip_losses(
    network: Sam2Steps,
    frames: Sequence[Features],
    masks: Tensor,
    plan: ClipPlan,
    chances: Sequence[np.random.Generator],
    guess: bool = False,
) -> Iterator[ClipLoss]:
    """Yield the losses of all answers about B objects, in the order in which they are given.

    Args:
        network: in training mode.
        frames: features of each frame: of one image that all objects are on, or of B images.
        masks: (B, T, 4 h, 4 w) boolean on the grid of the logits; empty where an object is not there.
        plan: what is said.
        chances: where clicks fall, of each object.
        guess: see `ClipObjective`; of a `MemorySam`.

    Yields:
        Of B objects each.
    """
    bank = Bank(limit=None, forgetful=False)
    others = (frame for frame in range(len(frames)) if frame not in plan.boxed)
    for frame in (*plan.boxed, *others):
        target, features = masks[:, frame], frames[frame]
        clicks = _boxes(target, network.image_size) if frame in plan.boxed else None
        if clicks is not None:
            look = Look(features._replace(coarse=network.alone(features.coarse)))
        else:
            memory = bank.for_frame(frame, len(frames), -1, lambda _, one: _map(one))
            if guess and isinstance(network, MemorySam) and frame not in plan.corrected:
                decoded = network.guessed(features, memory)
                yield clip_loss(decoded, target)
                _remember(bank, network, frame, features, decoded, False)
                continue
            look = network.look(features, memory)
        asked = look.features
        said = clicks or look.clicks
        decoded = _decoded(network, asked, said or _nothing(asked.coarse), None, said is None)
        decoded = look.judged(decoded)
        yield clip_loss(decoded, target)
        for _ in range(plan.clicks if frame in plan.corrected else 0):
            mask_prompt = _best(decoded).detach().clamp(-_LARGEST, _LARGEST)
            clicks = _joined(clicks, _clicks(mask_prompt > 0, target, network.image_size, chances))
            decoded = _decoded(network, asked, clicks, mask_prompt, False)
            yield clip_loss(decoded, target)
        prompted = frame in plan.boxed or frame in plan.corrected
        _remember(bank, network, frame, features, decoded, prompted)


@dataclass(frozen=True)
class ClipBatch:
    """Some clips with N objects, in the frame of the network's input.

    Attributes:
        slices: (F, 3, S, S) preprocessed frames of all clips, one clip after the other; None where
            embeddings are kept.
        masks: of each object, (T, 4 h, 4 w) boolean on the T frames of its clip and the grid of the
            logits; empty where it is not there.
        first: of each object, which of the F frames its clip begins with.
        names: of the objects, for what is drawn by chance: (clip, object, position).
        embeddings: (F, C, h, w) of the frames; None where they are not kept.
    """

    slices: Tensor | None
    masks: tuple[Tensor, ...]
    first: tuple[int, ...]
    names: tuple[tuple[str, ...], ...]
    embeddings: Tensor | None = None

    def to(self, device: torch.device) -> ClipBatch:
        """Return the same batch on another device."""
        masks = tuple(each.to(device) for each in self.masks)
        slices, embeddings = (
            None if x is None else x.to(device) for x in (self.slices, self.embeddings)
        )
        return replace(self, slices=slices, embeddings=embeddings, masks=masks)


class ClipAlgorithm:
    """The objective of clips for one network; see `Algorithm1`, whose place in the loop it takes.

    Args:
        sam: the network.
        objective: the hyperparameters.
    """

    def __init__(self, sam: ImageSam2, objective: ClipObjective) -> None:
        self.sam, self.objective = sam, objective

    def draw(self, batch: ClipBatch, seed: int, iteration: int) -> ClipChance:
        """Return the random generators: the same for an object in whatever batch or process it is."""
        return ClipChance(
            (seed, "plan", iteration),
            [generator(seed, "clip", iteration, *name) for name in batch.names],
        )

    def steps(self, embeddings: Tensor, batch: ClipBatch, u: ClipChance) -> Iterator[Step]:
        """Yield the losses of clips that go through the network together, in one graph over all frames.

        Args:
            embeddings: one tensor of F frames, see `promptseg.train.image_sam2`.
            batch: the objects.
            u: chance.
        """
        for plan, numbers in self._together(batch, u).items():
            masks = torch.stack([batch.masks[number] for number in numbers])
            first = [batch.first[number] for number in numbers]
            frames = list(self._frames(embeddings, first, masks.shape[1]))
            chances = [u.objects[number] for number in numbers]
            guess = self.objective.guess
            found = list(clip_losses(self.sam, frames, masks, plan, chances, guess))
            overlap = torch.cat([one.overlap for one in found])
            yield Step(
                "clip",
                torch.cat([one.focal + one.dice for one in found]),
                torch.cat([one.iou for one in found]),
                overlap[~overlap.isnan()],
                torch.cat([one.presence for one in found]),
            )

    def _together(self, batch: ClipBatch, u: ClipChance) -> dict[ClipPlan, list[int]]:
        """The numbers of objects that have one plan.

        The objects of a clip that are never on a frame all at once go apart; those that are on none,
        as they are smaller than a cell, are left out.
        """
        clips: dict[int, list[int]] = defaultdict(list)
        for number, first in enumerate(batch.first):
            if batch.masks[number].any():
                clips[first].append(number)
        planned: dict[ClipPlan, list[int]] = defaultdict(list)
        for numbers in clips.values():
            there = torch.stack([batch.masks[number].flatten(1).any(1) for number in numbers])
            once = bool(there.all(0).any())
            for some in [numbers] if once else [[number] for number in numbers]:
                on = there.all(0) if once else there[numbers.index(some[0])]
                plan = ClipPlan.draw(on.tolist(), generator(*u.plan), self.objective.n_steps)
                planned[replace(plan, frames=len(on))] += some
        return planned

    def _frames(self, embeddings: Tensor, first: Sequence[int], count: int) -> Iterator[Features]:
        """The features of each frame of some clips, by where the clip of each object begins.

        Objects of one clip share the features of its one image.
        """
        starts = first[:1] if len(set(first)) == 1 else first
        for frame in range(count):
            yield self.sam.unpacked(embeddings[[start + frame for start in starts]])


@dataclass(frozen=True)
class ClipChance:
    """The random generators of some clips.

    Attributes:
        plan: seeds of the generator that draws plans, for each clip anew.
        objects: where clicks fall, of each object.
    """

    plan: tuple[int, str, int]
    objects: Sequence[np.random.Generator]


def _decoded(
    network: Sam2Steps,
    features: Features,
    clicks: Clicks,
    mask_prompt: Tensor | None,
    multimask: bool,
) -> Decoded:
    """As `Sam2Steps.decode`; positions are sines of large phases, and need all their bits."""
    xy, labels = clicks
    with torch.autocast(xy.device.type, enabled=False):
        sparse, dense = network.sam_prompt_encoder(
            (_precise(xy), labels), None if mask_prompt is None else _precise(mask_prompt)
        )
    return network.read(features, sparse, None if mask_prompt is None else dense, multimask)


def _remember(
    bank: Bank,
    network: Sam2Steps,
    frame: int,
    features: Features,
    decoded: Decoded,
    prompted: bool,
) -> None:
    """Put what was decided of a frame into the memory of the objects."""
    seen = network.settle(decoded)
    map_ = network.remember(features.coarse, seen, prompted=False)  # shaded while learning
    (bank.conditioning if prompted else bank.propagated)[frame] = Remembered(seen, map_, prompted)


def _map(one: Remembered) -> Tensor:
    assert one.map is not None
    return one.map


def _precise(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _best(decoded: Decoded) -> Tensor:
    """(B, 1, h, w) logits of the masks with the highest predicted IoU."""
    rows = torch.arange(len(decoded.iou), device=decoded.iou.device)
    return decoded.logits[rows, decoded.iou.argmax(1)][:, None]


def _nothing(coarse: Tensor) -> Clicks:
    return coarse.new_zeros(len(coarse), 1, 2), coarse.new_full((len(coarse), 1), IGNORED)


def _boxes(target: Tensor, size: int) -> Clicks:
    """The corners of the boxes of (B, h, w) masks, as pixel indices of the input."""
    step = size / target.shape[-1]
    corners = []
    for mask in target:
        rows, columns = mask.nonzero(as_tuple=True)
        first = torch.stack([columns.min(), rows.min()]) * step
        last = (torch.stack([columns.max(), rows.max()]) + 1) * step - 1
        corners.append(torch.stack([first, last]))
    boxes = torch.stack(corners).float()
    return boxes, boxes.new_tensor([TOP_LEFT, BOTTOM_RIGHT]).expand(len(boxes), -1)


def _clicks(
    found: Tensor, target: Tensor, size: int, chances: Sequence[np.random.Generator]
) -> Clicks:
    """A click on each object anywhere in the error, or in the object where there is none."""
    error = found[:, 0] ^ target
    wrong = error.flatten(1).any(1)[:, None, None]
    u = torch.tensor([c.random() for c in chances], dtype=torch.float64, device=target.device)
    xy, _ = draw_pixel(torch.where(wrong, error, target), u)
    inside = target[torch.arange(len(xy), device=xy.device), xy[:, 1], xy[:, 0]]
    places = (xy.float() + 0.5) * (size / target.shape[-1]) - 0.5
    return places[:, None], inside.float()[:, None]


def _joined(before: Clicks | None, new: Clicks) -> Clicks:
    if before is None:
        return new
    return torch.cat([before[0], new[0]], dim=1), torch.cat([before[1], new[1]], dim=1)
