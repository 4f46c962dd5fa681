"""The engines there are: torch's own here, the others in modules of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from promptseg.runtime.engine import Compiled, CompileError, Engine, Part
from promptseg.runtime.machine import has_bfloat16
from promptseg.runtime.names import ENGINES, TABLE

__all__ = [
    "ENGINES",
    "CompileError",
    "Compiled",
    "Eager",
    "Engine",
    "Part",
    "Torch",
    "engine_named",
]


@dataclass(frozen=True)
class Eager:
    """Torch, operation by operation."""

    name: str = "eager"
    dtype: torch.dtype = torch.float32
    parallel: ClassVar[bool] = False
    batches: ClassVar[bool] = True

    def missing(self, device: torch.device) -> str | None:
        """See `Engine`."""
        if self.dtype == torch.bfloat16 and device.type == "cpu" and not has_bfloat16():
            return "this processor has no bfloat16 arithmetic"
        return None

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        """See `Engine`."""
        if self.dtype == torch.float32:
            return part.module
        return _in_precision(part, self.dtype)


@dataclass(frozen=True)
class Torch:
    """`torch.compile`, which on a GPU records the kernels of a call and replays them at once."""

    name: str = "compile"
    dtype: torch.dtype = torch.float32
    parallel: ClassVar[bool] = False
    batches: ClassVar[bool] = False

    def missing(self, device: torch.device) -> str | None:
        """See `Engine`."""
        if device.type == "cuda":
            return None
        return "it pays on NVIDIA GPUs alone: on a CPU the fused operations of eager are as quick"

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        """See `Engine`."""
        changing = any(part.free)
        compiled = torch.compile(
            _in_precision(part, self.dtype),
            mode=None if changing else "reduce-overhead",  # CUDA graphs want fixed shapes
            dynamic=changing or None,
        )

        def run(*inputs: Tensor) -> Any:
            torch.compiler.cudagraph_mark_step_begin()
            answer = compiled(*inputs)
            if isinstance(answer, tuple):
                return tuple(a.clone() for a in answer)
            return answer.clone()

        try:
            run(*part.example)
        except Exception as error:  # whatever a compiler may raise
            raise CompileError("a part that torch.compile takes", _first_line(error)) from error
        return run


def engine_named(name: str) -> Engine:
    """Return the engine that users call `name`, one of `ENGINES`."""
    entry = next(entry for entry in TABLE if entry.name == name)
    kind = getattr(import_module(f"promptseg.runtime.{entry.module}"), entry.kind)
    engine: Engine = kind(name, getattr(torch, entry.dtype))
    return engine


def _in_precision(part: Part, dtype: torch.dtype) -> Compiled:
    """The part under autocast, but for what it keeps in float32; float32 comes out."""
    module = part.in_weights_of(dtype).module
    if dtype == torch.float32:
        return module
    device = next(module.parameters()).device.type
    kept = [m for name, m in module.named_modules() if _is_kept(name, part.keep_float32)]

    def run(*inputs: Tensor) -> Any:
        with torch.autocast(device, dtype), _in_float32(kept, device):
            answer = module(*inputs)
        if isinstance(answer, tuple):
            return tuple(a.float() for a in answer)
        return answer.float()

    return run


def _is_kept(name: str, kept: tuple[str, ...]) -> bool:
    """Whether a submodule is one of those kept: by its own name, or the end of it."""
    return any(name == k or name.endswith(f".{k}") for k in kept)


@contextmanager
def _in_float32(modules: list[nn.Module], device: str) -> Iterator[None]:
    """Autocast is off inside these modules."""
    off = torch.autocast(device, enabled=False)

    def begin(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        off.__enter__()
        return tuple(x.float() for x in inputs)

    def end(*_: object) -> None:
        off.__exit__(None, None, None)

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(begin).remove)
            hooks.callback(module.register_forward_hook(end, always_call=True).remove)
        yield


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[
        :200
    ]
