"""Engines: each a way to execute a part of a model, behind one interface.

Each takes a part as a torch module with example inputs and gives back a function of tensors. No module
knows of any engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from promptseg.errors import PromptsegError
from promptseg.runtime.rewrite.rounding import rounded

__all__ = ["CompileError", "Compiled", "Engine", "NotInstalled", "Part"]

Compiled = Callable[..., Any]


class CompileError(PromptsegError):
    """A part of a model that an engine cannot run."""


class NotInstalled(str):
    """Reason why an engine cannot be used: it lacks a program that could be installed."""


@dataclass(frozen=True)
class Part:
    """A part of a model, to be compiled.

    Attributes:
        name: "encoder" or "decoder".
        module: in evaluation mode; in its `keep_float32` it may name submodules that reduced precision
            would harm most.
        example: inputs like those to come; of images, the synthetic phantom.
        free: axes of each input whose length may change from call to call.
        identity: hash of the weights; "" if they have none.
        inputs: names of the inputs.
        outputs: names of the outputs.
        channels_last: which of those are images (B, C, H, W) that lie channels last in memory, here
            and in other parts, if the engine can have them so.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    free: tuple[tuple[int, ...], ...] = ()
    identity: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    channels_last: tuple[str, ...] = ()

    @property
    def keep_float32(self) -> tuple[str, ...]:
        """Return the names of the submodules to be kept in float32."""
        return tuple(getattr(self.module, "keep_float32", ()))

    def in_weights_of(self, dtype: torch.dtype) -> Part:
        """Return the same part with weights that `dtype` can hold, where that needs care."""
        if dtype != torch.bfloat16:
            return self
        return replace(self, module=rounded(self.module, self.example))


class Engine(Protocol):
    """One way to execute parts of models."""

    @property
    def name(self) -> str:
        """Return the name that users call it by."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the arithmetic; inputs and outputs are float32."""

    @property
    def parallel(self) -> bool:
        """Tell whether it pays to encode a slice on each thread, rather than one on all of them."""

    @property
    def batches(self) -> bool:
        """Tell whether one call may take any number of slices; if not, each slice gets a call of its
        own.
        """

    def missing(self, device: torch.device) -> str | None:
        """Tell why it cannot be used on a device of this machine; None if it can.

        A reason that an installation would remove is `NotInstalled`.
        """

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        """Compile the part into a function of tensors.

        Args:
            part: what to run.
            threads: CPU threads for all streams.
            streams: calls that may run at the same time, from as many threads.

        Raises:
            CompileError: it cannot.
        """
