"""The decoders of torch-em and the adapters of micro-sam as independent references.

Each wheel is fetched once with pip; single modules of it are imported, past the `__init__` of their
packages, which want much that is not needed here. Nothing of it is installed.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models.peer import SEGMENT_ANYTHING, fetch, import_peer

TORCH_EM = ("torch-em==0.10.9", "torch_em")
MICRO_SAM = ("micro-sam==1.8.14", "micro_sam")


def torch_em(module: str) -> Any:
    """A module of torch-em's models, such as "unetr"."""
    with _packages(*TORCH_EM, "model"):
        return importlib.import_module(f"torch_em.model.{module}")


def adapters() -> Any:
    """micro-sam's module with the encoder that has adapters along depth."""
    import_peer(*SEGMENT_ANYTHING, ".modeling")
    stand_ins = {
        name: types.ModuleType(name) for name in ("micro_sam.util", "micro_sam.models.peft_sam")
    }
    stand_ins["micro_sam.util"].get_sam_model = None  # type: ignore[attr-defined]
    stand_ins["micro_sam.models.peft_sam"].LoRASurgery = None  # type: ignore[attr-defined]
    with _packages(*MICRO_SAM, "models"):
        sys.modules.update(stand_ins)
        try:
            return importlib.import_module("micro_sam.models.sam_3d_wrapper")
        finally:
            for name in stand_ins:
                del sys.modules[name]


@contextmanager
def _packages(requirement: str, package: str, inner: str) -> Iterator[None]:
    """The packages of a wheel with nothing but their folders in them."""
    wheel = fetch(requirement)
    sys.path.insert(0, str(wheel))
    names = (package, f"{package}.{inner}")
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules[name] = module
    try:
        yield
    finally:
        sys.path.remove(str(wheel))
        for name in names:
            sys.modules.pop(name, None)
