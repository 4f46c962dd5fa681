"""The prompts of an iteration, for all its objects at once (Algorithm 1, lines 6-11 and 22-28)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from promptseg.train.objectives.batch import Batch
from promptseg.train.objectives.settings import Objective
from promptseg.train.objectives.uniforms import Uniforms

__all__ = ["NetworkPrompts", "Prompts", "draw_pixel", "near"]

_NEGATIVE, _POSITIVE, _IGNORED = 0, 1, -1
_REACH = 4  # background counts as near within a quarter of the object's longer side


class NetworkPrompts(NamedTuple):
    """Prompts of objects that have the same kinds, in the order that SAM's prompt encoder takes them.

    Attributes:
        points: (N, P, 2) x, y in pixels of the input and (N, P) labels.
        boxes: (N, 4) XYXY in pixels of the input.
        masks: (N, 1, 4h, 4w) mask logits.
    """

    points: tuple[Tensor, Tensor] | None
    boxes: Tensor | None
    masks: Tensor | None


def draw_pixel(region: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a pixel of each region, by a random number.

    Args:
        region: (N, R, R) boolean.
        u: (N,) in [0, 1): which of its pixels in reading order.

    Returns:
        (N, 2) x, y indices and (N,) whether the region has a pixel at all.
    """
    flat = region.flatten(1)
    counts = flat.sum(1)
    number = (u * counts).long().clamp(max=(counts - 1).clamp(min=0))
    place = torch.searchsorted(flat.cumsum(1), number[:, None] + 1)[:, 0]
    place = place.clamp(max=flat.shape[1] - 1)
    side = region.shape[-1]
    return torch.stack([place % side, place // side], dim=1), counts > 0


def near(masks: Tensor) -> Tensor:
    """Return the surroundings of each object: its box, enlarged by a quarter of the longer side.

    Args:
        masks: (N, R, R) boolean, none empty.

    Returns:
        (N, R, R) boolean; at least one pixel is added on each side.
    """
    steps = torch.arange(masks.shape[-1], device=masks.device)
    along = []
    sides = []
    for axis in (2, 1):
        taken = masks.any(axis)
        first = taken.long().argmax(1)
        last = masks.shape[-1] - 1 - taken.flip(1).long().argmax(1)
        sides.append((first, last))
    longer = torch.stack([last - first + 1 for first, last in sides]).amax(0)
    reach = (longer // _REACH).clamp(min=1)
    for first, last in sides:
        along.append((steps >= (first - reach)[:, None]) & (steps <= (last + reach)[:, None]))
    return along[0][:, :, None] & along[1][:, None]


@dataclass
class Prompts:
    """The list p of every object.

    Attributes:
        boxed: (N,) boolean, on the CPU: the first prompt is a box.
        boxes: (N, 4) XYXY in pixels of the input; counts where `boxed`.
        points: (N, P, 2) x, y in pixels of the input; the first one counts where not `boxed`.
        labels: (N, P) 1, 0, or -1 for a click there was no place for.
        mask_prompts: (N, 1, 4h, 4w) mask logits.
        has_mask: (N,) boolean, on the CPU: the mask is part of the prompt.
    """

    boxed: Tensor
    boxes: Tensor
    points: Tensor
    labels: Tensor
    mask_prompts: Tensor | None = None
    has_mask: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def __post_init__(self) -> None:
        if not len(self.has_mask):
            self.has_mask = torch.zeros_like(self.boxed)

    @classmethod
    def first(cls, batch: Batch, objective: Objective, u: Uniforms, side: int) -> Prompts:
        """Draw the first prompt of each object, a box or a click (lines 6-11).

        Args:
            batch: the objects.
            objective: how often which.
            u: chance.
            side: of the network's input, in pixels.
        """
        device = batch.masks.device
        xy, _ = draw_pixel(batch.masks, u.point)
        points = _in_input(xy, batch.masks.shape[-1], side)[:, None]
        labels = torch.full((batch.objects, 1), float(_POSITIVE), device=device)
        boxes = _distorted(batch, objective, u.distortion, side)
        return cls(u.box < objective.p_box, boxes, points, labels)

    def correct(
        self, batch: Batch, found: Tensor, u: Uniforms, step: int, objective: Objective, side: int
    ) -> None:
        """Add the clicks of one round (lines 23-24).

        Line 23 is printed with the region m & m_hat, where nothing is to be corrected; the text (II-E)
        has the positive click in what is missing, m & !m_hat, and so has this.

        Args:
            batch: the objects.
            found: (N, R, R) boolean answer of the round before, without padding.
            u: chance.
            step: number of the round, from 0.
            objective: how many clicks.
            side: of the network's input, in pixels.
        """
        masks = batch.masks
        clicks = u.clicks[:, step]
        missing, false = masks & ~found, ~masks & found
        if options := objective.points_per_step:
            count = options[min(int(u.count[step] * len(options)), len(options) - 1)]
            for k in range(count):
                self._add(*_anywhere(missing | false, masks, clicks[:, k]), side, masks)
            return
        positive, there = draw_pixel(missing, clicks[:, 0])
        fallback, _ = draw_pixel(masks, clicks[:, 0])
        positive = torch.where(there[:, None], positive, fallback)
        self._add(positive, torch.full_like(clicks[:, 0], _POSITIVE), side, masks)
        inside = batch.inside()[batch.owner]
        negative, there = draw_pixel(false, clicks[:, 1])
        fallback, background = draw_pixel(near(masks) & ~masks & inside, clicks[:, 1])
        negative = torch.where(there[:, None], negative, fallback)
        label = torch.where(there | background, float(_NEGATIVE), float(_IGNORED))
        self._add(negative, label, side, masks)

    def add_mask(self, logits: Tensor, given: Tensor) -> None:
        """Replace the mask prompt (lines 25-28).

        Args:
            logits: (N, 1, 4h, 4w) of the round before.
            given: (N,) boolean: who gets them.
        """
        self.mask_prompts, self.has_mask = logits.detach(), given

    def groups(self) -> list[Tensor]:
        """Return groups of objects with the same kinds of prompts, as indices on the CPU."""
        kinds = self.boxed.long() * 2 + self.has_mask.long()
        return [(kinds == kind).nonzero()[:, 0] for kind in kinds.unique()]

    def of(self, group: Tensor) -> NetworkPrompts:
        """Return the prompts of one of the `groups`."""
        one = int(group[0])
        boxed = bool(self.boxed[one])
        points, labels = self.points[group, int(boxed) :], self.labels[group, int(boxed) :]
        has_mask = self.mask_prompts is not None and bool(self.has_mask[one])
        return NetworkPrompts(
            points=(points, labels) if points.shape[1] else None,
            boxes=self.boxes[group] if boxed else None,
            masks=self.mask_prompts[group] if has_mask and self.mask_prompts is not None else None,
        )

    def is_single_point(self, group: Tensor) -> bool:
        """Tell whether a group's prompt is a single click (line 13)."""
        one = int(group[0])
        return self.points.shape[1] == 1 and not self.boxed[one] and not self.has_mask[one]

    def _add(self, xy: Tensor, labels: Tensor, side: int, masks: Tensor) -> None:
        points = _in_input(xy, masks.shape[-1], side)
        self.points = torch.cat([self.points, points[:, None]], dim=1)
        self.labels = torch.cat([self.labels, labels.to(self.labels.dtype)[:, None]], dim=1)


def _anywhere(error: Tensor, masks: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A click anywhere in the error, or in the object where there is none; with its label."""
    xy, there = draw_pixel(error, u)
    fallback, _ = draw_pixel(masks, u)
    xy = torch.where(there[:, None], xy, fallback)
    rows = torch.arange(len(masks), device=masks.device)
    return xy, masks[rows, xy[:, 1], xy[:, 0]].float()


def _in_input(xy: Tensor, grid: int, side: int) -> Tensor:
    """Indices on the grid -> the same places as pixel indices of the input."""
    return (xy.float() + 0.5) * (side / grid) - 0.5


def _distorted(batch: Batch, objective: Objective, u: Tensor, side: int) -> Tensor:
    """The boxes with every edge moved, within the image; see `Jitter`."""
    jitter = objective.distortion
    reach = jitter.pixels * side / 1024
    moves = (u if jitter.sign == "outward" else 2 * u - 1) * reach
    boxes = batch.boxes.to(u.dtype)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    moves = torch.maximum(moves, -half.repeat(1, 2))
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=boxes.device, dtype=boxes.dtype)
    moved = boxes + sign * moves
    rows, columns = (batch.extent[batch.owner].to(u.dtype) * (side / batch.masks.shape[-1])).unbind(
        1
    )
    most = torch.stack([columns, rows, columns, rows], dim=1) - 1
    # an exact box may end in the last, half-filled pixel of the image: it is never made smaller
    return torch.minimum(moved.clamp(min=0), torch.maximum(most, boxes)).float()
