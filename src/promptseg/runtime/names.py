"""The engines there are, by name: one table, without torch, so that help texts can list it.

A new engine is a module with a class (see `promptseg.runtime.engine.Engine`) and one line here.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AUTO", "ENGINES", "TABLE", "EngineEntry"]

AUTO = "auto"


class EngineEntry(NamedTuple):
    """An engine in one precision.

    Attributes:
        name: what users call it.
        dtype: of its arithmetic, as torch calls it.
        module: module under `promptseg.runtime` with its class.
        kind: the class; it is made with the name and the dtype.
        devices: kinds of devices on which "auto" tries it.
        tolerance: relative L2 distance that is allowed to eager float32, of embeddings and mask logits.
    """

    name: str
    dtype: str
    module: str
    kind: str
    devices: tuple[str, ...] = ()
    tolerance: float = 1e-3


_HALF = 0.035  # of numbers of 16 bits

TABLE = (
    EngineEntry("eager", "float32", "engines", "Eager", ("cpu", "cuda", "mps")),
    EngineEntry("eager-bf16", "bfloat16", "engines", "Eager", ("cpu", "cuda"), _HALF),
    EngineEntry("openvino", "float32", "openvino", "OpenVINO", ("cpu",)),
    EngineEntry("openvino-bf16", "bfloat16", "openvino", "OpenVINO", ("cpu",), _HALF),
    EngineEntry("native-bf16", "bfloat16", "native", "Native", ("cpu",), _HALF),
    EngineEntry("compile", "float32", "engines", "Torch"),
    EngineEntry("compile-bf16", "bfloat16", "engines", "Torch", ("cuda",), _HALF),
    EngineEntry("compile-fp16", "float16", "engines", "Torch", (), _HALF),
)
ENGINES: tuple[str, ...] = tuple(entry.name for entry in TABLE)
