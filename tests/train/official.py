"""What is trained here, in the official code of SAM 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def loaded_strictly(path: Path) -> dict[str, Any]:
    """The weights of an official network of the small size that has loaded a file strictly."""
    from models.test_sam2_parity import small

    official = small("sam2.1")[1]
    tensors = torch.load(path, weights_only=True)
    official.load_state_dict(tensors.get("model", tensors), strict=True)
    found: dict[str, Any] = official.state_dict()
    return found
