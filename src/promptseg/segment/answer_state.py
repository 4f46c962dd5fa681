"""An answer as arrays of numbers, bit for bit: what a tracker that was cut off goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import Answer

__all__ = ["answer_as_arrays", "answer_from_arrays"]


def answer_as_arrays(answer: Answer, name: str, logits: bool = True) -> dict[str, NDArray[Any]]:
    """Pack an answer into arrays whose names begin with `name`.

    Args:
        answer: to keep; whether the object is there at all is not kept.
        name: what the names of the arrays begin with.
        logits: whether its logits are asked for again.
    """
    kept = answer.logits if logits else None
    return {
        f"{name}.mask": np.packbits(answer.mask, axis=1),
        f"{name}.columns": np.array(answer.mask.shape[1]),
        f"{name}.iou": np.array(answer.iou),
        f"{name}.logits": np.empty(0) if kept is None else kept.float().cpu().numpy(),
    }


def answer_from_arrays(state: Mapping[str, NDArray[Any]], name: str, device: Any) -> Answer:
    """Unpack the answer that was kept under a name, its logits on `device`."""
    import torch

    logits = state[f"{name}.logits"]
    mask = np.unpackbits(state[f"{name}.mask"], axis=1, count=int(state[f"{name}.columns"]))
    kept = torch.from_numpy(logits.copy()).to(device) if logits.size else None
    return Answer(mask.astype(bool), float(state[f"{name}.iou"]), kept)
