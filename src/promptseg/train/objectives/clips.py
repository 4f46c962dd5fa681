"""SAM 2 learns to follow objects through clips, as MedSAM2 was trained.

Boxes on one frame or two, corrections by clicks on up to two, memory on all others; every answer is
judged (`clip_losses`). Frames that somebody said something of are conditioning frames. Gradients flow
through memory, but not through clicks and the masks that are given back with them: a user draws those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from promptseg.models.families.sam2.bank import Bank, Remembered
from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.models.families.sam2.network import Features, Sam2
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, IGNORED, TOP_LEFT
from promptseg.simulate.seeds import generator
from promptseg.train.objectives.algorithm import Step
from promptseg.train.objectives.clip_losses import ClipLoss, clip_loss
from promptseg.train.objectives.prompts import draw_pixel
from promptseg.train.objectives.settings import ClipObjective
from promptseg.train.pictures import PictureSam2, unpacked

__all__ = ["ClipAlgorithm", "ClipBatch", "ClipPlan", "clip_losses"]

_LARGEST = 32.0  # logits that are given back

Clicks = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ClipPlan:
    """What is said of one object in a clip.

    Attributes:
        boxed: frames with a box, the first of them first.
        corrected: frames that clicks correct, whether boxed or followed.
        clicks: how many clicks each of these gets.
    """

    boxed: tuple[int, ...]
    corrected: frozenset[int]
    clicks: int = 7

    @classmethod
    def draw(cls, there: Sequence[bool], chance: np.random.Generator, clicks: int = 7) -> ClipPlan:
        """One or two boxed frames and up to two corrected ones.

        Args:
            there: whether the object is on each frame; on one at least.
            chance: decides.
            clicks: on a corrected frame.
        """
        possible = [frame for frame, seen in enumerate(there) if seen]
        second = chance.choice(possible, size=int(chance.integers(0, 2)))
        boxed = dict.fromkeys((possible[0], *map(int, second)))
        corrected = chance.permutation(possible)[: int(chance.integers(0, 3))]
        return cls(tuple(boxed), frozenset(map(int, corrected)), clicks)


def clip_losses(
    network: Sam2,
    frames: Sequence[Features],
    masks: Tensor,
    plan: ClipPlan,
    chance: np.random.Generator,
) -> Iterator[ClipLoss]:
    """The losses of all answers about one object, in the order in which they are given.

    Args:
        network: in training mode.
        frames: features of each frame, of one image each.
        masks: (T, 4 h, 4 w) boolean on the grid of the logits; empty where the object is not there.
        plan: what is said.
        chance: where clicks fall.

    Yields:
        Of one object each.
    """
    bank = Bank(limit=None, forgetful=False)
    others = (frame for frame in range(len(frames)) if frame not in plan.boxed)
    for frame in (*plan.boxed, *others):
        target, features = masks[frame, None], frames[frame]
        clicks = _box(target, network.image_size) if frame in plan.boxed else None
        if clicks is not None:
            coarse = network.alone(features.coarse)
        else:
            memory = bank.for_frame(frame, len(frames), -1, lambda _, one: _map(one))
            coarse = network.attend(features.coarse, memory)
        asked = features._replace(coarse=coarse)
        decoded = _decoded(network, asked, clicks or _nothing(coarse), None, clicks is None)
        yield clip_loss(decoded, target)
        for _ in range(plan.clicks if frame in plan.corrected else 0):
            hint = _best(decoded).detach().clamp(-_LARGEST, _LARGEST)
            clicks = _joined(clicks, _click(hint > 0, target, network.image_size, chance))
            decoded = _decoded(network, asked, clicks, hint, False)
            yield clip_loss(decoded, target)
        said = frame in plan.boxed or frame in plan.corrected
        seen = network.settle(decoded)
        map_ = network.remember(features.coarse, seen, prompted=False)  # shaded while learning
        (bank.conditioning if said else bank.followed)[frame] = Remembered(seen, map_, said)


@dataclass(frozen=True)
class ClipBatch:
    """Some clips with N objects, in the frame of the network's input.

    Attributes:
        slices: (F, 3, S, S) preprocessed frames of all clips, one clip after the other.
        masks: of each object, (T, 4 h, 4 w) boolean on the T frames of its clip and the grid of the
            logits; empty where it is not there.
        first: of each object, which of the F frames its clip begins with.
        names: of the objects, for what is drawn by chance: (clip, object, position).
        embeddings: none are kept of clips.
    """

    slices: Tensor
    masks: tuple[Tensor, ...]
    first: tuple[int, ...]
    names: tuple[tuple[str, ...], ...]
    embeddings: None = None

    def to(self, device: torch.device) -> ClipBatch:
        """The same on another device."""
        masks = tuple(each.to(device) for each in self.masks)
        return replace(self, slices=self.slices.to(device), masks=masks)


class ClipAlgorithm:
    """The objective of clips for one network; see `Algorithm1`, whose place in the loop it takes.

    Args:
        sam: the network.
        objective: the hyperparameters.
    """

    def __init__(self, sam: PictureSam2, objective: ClipObjective) -> None:
        self.sam, self.objective = sam, objective

    def draw(self, batch: ClipBatch, seed: int, iteration: int) -> list[np.random.Generator]:
        """What draws for each object: the same in whatever batch or process it is."""
        return [generator(seed, "clip", iteration, *name) for name in batch.names]

    def steps(
        self, embeddings: Tensor, batch: ClipBatch, u: Sequence[np.random.Generator]
    ) -> Iterator[Step]:
        """The losses of one object after the other: an object is one graph through all its frames.

        Args:
            embeddings: (F, 4 C, h, w), see `promptseg.train.pictures.packed`.
            batch: the objects.
            u: chance.
        """
        for masks, first, chance in zip(batch.masks, batch.first, u, strict=True):
            levels = unpacked(embeddings[first : first + len(masks)])
            frames = [Features(*one) for one in zip(*(x.split(1) for x in levels), strict=True)]
            there = masks.flatten(1).any(1).tolist()
            plan = ClipPlan.draw(there, chance, self.objective.n_steps)
            found = list(clip_losses(self.sam, frames, masks, plan, chance))
            overlap = torch.cat([one.overlap for one in found])
            yield Step(
                "clip",
                torch.cat([one.focal + one.dice for one in found]),
                torch.cat([one.iou for one in found]),
                overlap[~overlap.isnan()],
                torch.cat([one.presence for one in found]),
            )


def _decoded(
    network: Sam2, features: Features, clicks: Clicks, hint: Tensor | None, multimask: bool
) -> Decoded:
    """As `Sam2Steps.decode`; positions are sines of large phases, and need all their bits."""
    xy, labels = clicks
    with torch.autocast(xy.device.type, enabled=False):
        sparse, dense = network.sam_prompt_encoder(
            (_precise(xy), labels), None if hint is None else _precise(hint)
        )
    return network.read(features, sparse, None if hint is None else dense, multimask)


def _map(one: Remembered) -> Tensor:
    assert one.map is not None
    return one.map


def _precise(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _best(decoded: Decoded) -> Tensor:
    """(1, 1, h, w) logits of the reading with the highest predicted IoU."""
    return decoded.logits[:, decoded.iou.argmax(1)[0], None]


def _nothing(like: Tensor) -> Clicks:
    return like.new_zeros(1, 1, 2), like.new_full((1, 1), IGNORED)


def _box(target: Tensor, size: int) -> Clicks:
    """The corners of the box of a (1, h, w) mask, as pixel indices of the input."""
    step = size / target.shape[-1]
    rows, columns = target[0].nonzero(as_tuple=True)
    first = torch.stack([columns.min(), rows.min()]) * step
    last = (torch.stack([columns.max(), rows.max()]) + 1) * step - 1
    return torch.stack([first, last])[None].float(), first.new_tensor([[TOP_LEFT, BOTTOM_RIGHT]])


def _click(found: Tensor, target: Tensor, size: int, chance: np.random.Generator) -> Clicks:
    """A click anywhere in the error, or in the object where there is none."""
    error = found[:, 0] ^ target
    u = torch.tensor([chance.random()], dtype=torch.float64, device=target.device)
    xy, _ = draw_pixel(error if bool(error.any()) else target, u)
    inside = target[0, xy[0, 1], xy[0, 0]]
    places = (xy.float() + 0.5) * (size / target.shape[-1]) - 0.5
    return places[None], inside.float().view(1, 1)


def _joined(before: Clicks | None, new: Clicks) -> Clicks:
    if before is None:
        return new
    return torch.cat([before[0], new[0]], dim=1), torch.cat([before[1], new[1]], dim=1)
