"""A network of another making with the box as one more channel, asked as a SAM is.

MedSAM's specialists: "we also added the bounding box as an additional channel". There is no embedding
to keep: the whole network runs for every box.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptseg.errors import UnsupportedPromptError

__all__ = ["BoxChannel", "box_channel", "expected_iou", "not_a_box"]

_NOTHING = torch.zeros(0)


class BoxChannel(nn.Module):
    """A specialist for boxes; to those who train and ask it, its images are their own embeddings.

    Args:
        network: (B, 4, S, S) -> (B, 1, S, S) logits.
        side: of its input.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.boxed, self.side = network, side
        self.image_encoder = nn.Identity()

    @property
    def prompt_encoder(self) -> _Boxes:
        """Return the part that takes prompts in; it has no weights."""
        return _Boxes(self.side)

    @property
    def mask_decoder(self) -> _Masks:
        """Return the part that answers with masks."""
        return _Masks(self)

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Return (B, 3, S, S) preprocessed slices as they are: they are their own embeddings."""
        return slices

    def answer(self, slices: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, S, S) slices and (N, 4) boxes on them to (N, 1, S, S) logits, (N, 1) expected
        IoU.
        """
        channel = box_channel(boxes, self.side).to(slices.dtype)
        logits: Tensor = self.boxed(torch.cat([slices, channel], dim=1))
        return logits, expected_iou(logits)

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode as `Sam.decode`, of one slice (1, 3, S, S) and the boxes on it.

        Raises:
            UnsupportedPromptError: anything but boxes alone.
        """
        asked, _ = self.prompt_encoder(points, boxes, masks)
        answers = [self.answer(embedding, box[None]) for box in asked]  # memory: of one at a time
        logits, quality = zip(*answers, strict=True)
        return torch.cat(logits), torch.cat(quality)


class _Boxes:
    """See `BoxChannel.prompt_encoder`."""

    def __init__(self, side: int) -> None:
        self.image_size, self.grid = side, side // 4  # logits of a SAM are four times as fine

    def __call__(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The boxes, and nothing in place of a dense embedding."""
        if boxes is None or points is not None or masks is not None:
            raise not_a_box()
        return boxes, _NOTHING

    def dense_position(self) -> Tensor:
        """Nothing: the channel says where the box is."""
        return _NOTHING


class _Masks:
    """See `BoxChannel.mask_decoder`."""

    def __init__(self, whole: BoxChannel) -> None:
        self.whole = whole

    def __call__(
        self, slices: Tensor, position: Tensor, boxes: Tensor, dense: Tensor, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `BoxChannel.answer`."""
        return self.whole.answer(slices, boxes)


def not_a_box() -> UnsupportedPromptError:
    """Return the error that refuses any prompt but a box."""
    return UnsupportedPromptError(
        "a box alone for a specialist, whose input has a channel for it",
        "another prompt",
        "give a box, and correct with another model",
    )


def box_channel(boxes: Tensor, side: int) -> Tensor:
    """Draw boxes as pictures: 1 on the pixels inside, 0 elsewhere.

    Args:
        boxes: (N, 4) XYXY in pixels of the input, both ends inside; at least one pixel each.
        side: of the input.

    Returns:
        (N, 1, side, side) of the boxes' type.
    """
    steps = torch.arange(side, device=boxes.device, dtype=boxes.dtype)
    low = (boxes[:, :2].clamp(0, side - 1) - 0.5)[..., None]
    high = (boxes[:, 2:].clamp(0, side - 1) + 0.5)[..., None]
    inside = (steps >= low) & (steps <= high)  # (N, 2, side): columns, rows
    return (inside[:, 1, :, None] & inside[:, 0, None, :])[:, None].to(boxes.dtype)


def expected_iou(logits: Tensor) -> Tensor:
    """Return the IoU that a mask has with the truth if its own probabilities are right; (N, 1).

    Args:
        logits: (N, 1, S, S).
    """
    chance = logits.detach().sigmoid().flatten(1)
    found = chance > 0.5
    both = (chance * found).sum(1)
    either = found.sum(1) + (chance * ~found).sum(1)
    return (both / either.clamp(min=1e-6))[:, None].to(logits.dtype)
