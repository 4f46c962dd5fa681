"""SAM 2 learns to follow an object through a clip, as MedSAM2 was trained.

Boxes on one frame or two, corrections by clicks on up to two, memory on all others; every answer is
judged (`clip_losses`). Frames that somebody said something of are conditioning frames. Gradients flow
through memory, but not through clicks and the masks that are given back with them: a user draws those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from promptseg.models.families.sam2.bank import Bank, Remembered
from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.models.families.sam2.network import Features, Sam2
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, IGNORED, TOP_LEFT
from promptseg.train.objectives.clip_losses import ClipLoss, clip_loss
from promptseg.train.objectives.prompts import draw_pixel

__all__ = ["ClipPlan", "clip_losses"]

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
        decoded = network.decode(asked, clicks or _nothing(coarse), None, clicks is None)
        yield clip_loss(decoded, target)
        for _ in range(plan.clicks if frame in plan.corrected else 0):
            hint = _best(decoded).detach().clamp(-_LARGEST, _LARGEST)
            clicks = _joined(clicks, _click(hint > 0, target, network.image_size, chance))
            decoded = network.decode(asked, clicks, hint, False)
            yield clip_loss(decoded, target)
        said = frame in plan.boxed or frame in plan.corrected
        seen = network.settle(decoded)
        map_ = network.remember(features.coarse, seen, prompted=False)  # shaded while learning
        (bank.conditioning if said else bank.followed)[frame] = Remembered(seen, map_, said)


def _map(one: Remembered) -> Tensor:
    assert one.map is not None
    return one.map


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
