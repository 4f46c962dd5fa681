"""Files beside the weights of an nnU-Net: its plans, which are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.checkpoint import require_numbers
from promptseg.models.nnunet.external import Answering
from promptseg.parsing import parse_json

__all__ = ["NNUNET", "PLANS", "WORK", "answering", "channels_of", "read_plans"]

NNUNET = "nnunet"
"""What the specialist is called."""

PLANS = "nnunet.json"
"""File beside the weights with plans, dataset.json and configuration."""

WORK = "nnunet"
"""Folder in that of a training that nnU-Net works in."""

_LARGEST = 8 << 20  # bytes


def read_plans(weights: Path) -> dict[str, Any]:
    """Read the plans that lie beside some weights, and check them.

    Raises:
        ModelError: there are none, or they are something else.
    """
    path = weights.with_name(PLANS)
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes")
        said = parse_json(path.read_bytes())
        plans, dataset = said["plans"], said["dataset"]
        channels_of(said)
        if said["configuration"] not in ("2d", "3d_fullres") or not isinstance(plans, dict):
            raise ValueError("another configuration")
        return {"plans": plans, "dataset": dataset, "configuration": said["configuration"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{PLANS} beside the weights of an nnU-Net", f"{path} ({error})", "keep both together"
        ) from None


def channels_of(said: Mapping[str, Any]) -> int:
    """Count the channels of the network's input."""
    return len(said["dataset"]["channel_names"])


def answering(
    file: Path, tensors: Mapping[str, Tensor], device: torch.device
) -> tuple[Answering, dict[str, Any]]:
    """Start nnU-Net with the weights of a file; return it and its plans.

    Raises:
        ModelError: plans that are missing, weights that do not fit, or no nnU-Net.
    """
    said = read_plans(file)
    require_numbers(dict(tensors), file)
    weights = {k.partition(".")[2]: v.float().numpy() for k, v in tensors.items()}
    asked = {**said, "device": str(device), "threads": torch.get_num_threads()}
    return Answering(asked, weights), said
