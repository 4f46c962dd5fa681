"""The official SAM 2 as an independent reference: its source distribution, imported in place.

Nothing of it is installed. Its configurations are read with PyYAML in place of hydra; what it imports
from torchvision and iopath is never called here. On a CPU without autocast its memory, kept in
bfloat16, has to be brought back to float32 before memory attention.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from promptseg import assets

REQUIREMENT = "sam2==1.1.0"

PREDICTOR = {  # what the official builder sets beside the configuration
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}


def official_sam2(config: str, **changes: Any) -> Any:
    """An official network with random weights, in evaluation mode, as the predictor of videos.

    Args:
        config: such as "sam2.1/sam2.1_hiera_t".
        changes: to the configuration, by path, such as `image_encoder__trunk__embed_dim=8`.
    """
    with peer() as root:
        said = yaml.safe_load((root / "sam2" / "configs" / f"{config}.yaml").read_text())["model"]
        said["_target_"] = "sam2.sam2_video_predictor.SAM2VideoPredictor"
        for path, value in {**PREDICTOR, **changes}.items():
            *outer, last = path.split("__")
            node = said
            for name in outer:
                node = node[name]
            node[last] = value
        network = _made(said).eval().requires_grad_(False)
    network.memory_attention.register_forward_pre_hook(_in_float32, with_kwargs=True)
    return network


@contextmanager
def peer() -> Iterator[Path]:
    """The folder of the source distribution, importable; skips where it cannot be fetched."""
    root = _fetched()
    # `benchmarks/sam2.py` bears the same name and may have been imported before.
    if not hasattr(sys.modules.get("sam2"), "__path__"):
        sys.modules.pop("sam2", None)
    sys.path.insert(0, str(root))
    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    try:
        yield root
    finally:
        sys.path.remove(str(root))
        for name in stand_ins:
            del sys.modules[name]


def _in_float32(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, given | {"memory": given["memory"].float()}


def _made(said: Any) -> Any:
    """What hydra's `instantiate` makes of a configuration."""
    if isinstance(said, list):
        return [_made(each) for each in said]
    if isinstance(said, str) and said.endswith("e-6"):  # to PyYAML no number
        return float(said)
    if not isinstance(said, dict):
        return said
    values = {key: _made(value) for key, value in said.items() if key != "_target_"}
    if "_target_" not in said:
        return values
    module, _, name = said["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**values)


def _fetched() -> Path:
    folder = assets.cache_folder() / "peers"
    name = REQUIREMENT.replace("==", "-")
    archive, root = folder / f"{name}.tar.gz", folder / name
    if not archive.is_file():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        command += ["--no-build-isolation", "--no-binary", ":all:", REQUIREMENT]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not archive.is_file():
            pytest.skip(f"{REQUIREMENT} cannot be fetched: {done.stderr.strip()[-200:]}")
    if not root.is_dir():
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
    return root


def _stand_ins() -> dict[str, types.ModuleType]:
    """Modules that are imported by it, and hold nothing that the tests get to."""
    names = (
        *("hydra", "hydra.core", "hydra.core.global_hydra", "iopath", "iopath.common"),
        *("iopath.common.file_io", "torchvision", "torchvision.transforms", "tqdm"),
    )
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["hydra"].initialize_config_module = lambda *args, **given: None
    modules["hydra.core.global_hydra"].GlobalHydra = types.SimpleNamespace(
        instance=lambda: types.SimpleNamespace(is_initialized=lambda: True)
    )
    modules["iopath.common.file_io"].g_pathmgr = None
    for name in ("Normalize", "Resize", "ToTensor"):
        setattr(modules["torchvision.transforms"], name, torch.nn.Identity)
    modules["tqdm"].tqdm = lambda frames, **given: frames
    return modules


def official_frames(network: Any, images: torch.Tensor, side: int) -> Any:
    """The official predictor's state of a video.

    Args:
        network: of `official_sam2`.
        images: (frames, 3, S, S) as its preprocessing leaves them.
        side: rows and columns that the video is said to have.
    """
    module = sys.modules["sam2.sam2_video_predictor"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_video_frames", lambda **given: (images, side, side))
        return network.init_state("frames")
