"""Answers of a model to prompts on one slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Candidates", "Grid", "Prediction", "joined"]


class Grid(Protocol):
    """Place of a slice in its network's input."""

    def masks(self, logits: Tensor) -> Tensor:
        """Turn (N, 1, h, w) low-resolution logits into (N, rows, columns) masks on the slice."""


@dataclass(frozen=True)
class Candidates:
    """The multimask output of N single points: the part, the whole, and something between.

    Attributes:
        logits: (N, 3, h, w) low-resolution mask logits, in the network's input.
        iou: (N, 3) predicted IoU.
        transform: how the slice lies in the network's input.
    """

    logits: Tensor
    iou: NDArray[np.float32]
    transform: Grid

    def masks(self) -> NDArray[np.bool_]:
        """Return the masks on the slice's own grid, (N, 3, rows, columns) boolean; computed at every
        call.
        """
        import torch

        with torch.inference_mode():
            flat: NDArray[np.bool_] = (
                self.transform.masks(self.logits.flatten(0, 1)[:, None]).cpu().numpy()
            )
        return flat.reshape(*self.logits.shape[:2], *flat.shape[1:])


@dataclass(frozen=True)
class Prediction:
    """Masks of N prompts on one slice.

    Attributes:
        logits: (N, 1, h, w) low-resolution mask logits, of the network's input: a mask prompt for the
            same model, see `SlicePrompt.logits`. SAM's are 256 x 256.
        masks: (N, rows, columns) boolean, on the slice's own grid.
        iou: (N,) predicted IoU.
        candidates: what single points were chosen from; None for other prompts.
    """

    logits: Tensor
    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    candidates: Candidates | None = None


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Join answers to prompts on one slice that came from several calls, in their order."""
    import torch

    candidates = None
    several = [part.candidates for part in parts if part.candidates]
    if len(several) == len(parts):
        logits = torch.cat([each.logits for each in several])
        candidates = Candidates(
            logits, np.concatenate([each.iou for each in several]), several[0].transform
        )
    return Prediction(
        torch.cat([part.logits for part in parts]),
        np.concatenate([part.masks for part in parts]),
        np.concatenate([part.iou for part in parts]),
        candidates,
    )
