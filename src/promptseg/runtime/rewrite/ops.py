"""Layers as inference runs them: one pass over the memory where the model has several.

On a CPU in float32, oneDNN applies the activation, or adds the residual, while a product is still in
the cache; torch offers that under private names, which are used where they exist and mean the same
elsewhere. Graphs that other engines get are traced with the plain operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Depthwise", "Linear", "Pointwise", "after_norm", "arithmetic", "as_graph", "graph_in"]

_graph_in: ContextVar[torch.dtype] = ContextVar("graph_in", default=torch.float32)


def as_graph() -> bool:
    """Tell whether what runs is recorded for another engine: by the tracer, or by `torch.export`."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    tracing = bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
    return tracing or (exporting is not None and bool(exporting()))


@contextmanager
def graph_in(dtype: torch.dtype) -> Iterator[None]:
    """Let graphs that are recorded meanwhile be executed in `dtype`, which they do not say."""
    before = _graph_in.set(dtype)
    try:
        yield
    finally:
        _graph_in.reset(before)


def arithmetic(x: Tensor) -> torch.dtype:
    """Return the dtype that products of `x` are computed in."""
    return _graph_in.get() if as_graph() else x.dtype


def _fuses(x: Tensor) -> bool:
    """Whether the fused operations of this build may take `x`."""
    reduced = x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type)
    if x.device.type != "cpu" or reduced or torch.is_grad_enabled():
        return False
    if as_graph() or torch.compiler.is_compiling():
        return False
    available = bool(torch.backends.mkldnn.is_available())
    return available and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Multiply a normalisation's scale and shift into weight and bias of the linear layer after it."""
    weight, bias = linear.weight.detach(), linear.bias.detach()
    wide = weight.double()
    folded = bias.double() + wide @ norm.bias.detach().double()
    return (wide * norm.weight.detach().double()).to(weight.dtype), folded.to(bias.dtype)


class Linear(nn.Module):
    """A linear layer, with GELU or a residual in the same pass.

    Args:
        weight: (out, in).
        bias: (out,).
        gelu: whether GELU follows.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
        self.gelu = gelu

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (..., in) to (..., out), plus the residual of that shape."""
        if _fuses(x):
            if residual is not None and not self.gelu:
                fused: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                    x, residual, self.weight, self.bias, "add"
                )
                return fused
            if self.gelu:
                fused = torch.ops.mkldnn._linear_pointwise(
                    x, self.weight, self.bias, "gelu", [], "none"
                )
                return fused if residual is None else fused + residual
        y = F.linear(x, self.weight, self.bias)
        y = F.gelu(y) if self.gelu else y
        return y if residual is None else y + residual


class Pointwise(nn.Module):
    """A 1 x 1 convolution, which on channels-last memory is a linear layer.

    Args:
        conv: the convolution.
        gelu: whether GELU follows.
    """

    def __init__(self, conv: nn.Conv2d, gelu: bool = False) -> None:
        super().__init__()
        bias = conv.bias if conv.bias is not None else conv.weight.new_zeros(len(conv.weight))
        self.linear = Linear(conv.weight.detach().flatten(1), bias.detach(), gelu)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        if as_graph():
            y = F.conv2d(x, self.linear.weight[:, :, None, None], self.linear.bias)
            return F.gelu(y) if self.linear.gelu else y
        out: Tensor = self.linear(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class Depthwise(nn.Module):
    """A depthwise convolution.

    Args:
        conv: the convolution.
        gelu: whether GELU follows.
    """

    def __init__(self, conv: nn.Conv2d, gelu: bool = False) -> None:
        super().__init__()
        self.conv, self.gelu = conv, gelu

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H', W')."""
        c = self.conv
        if self.gelu and _fuses(x):
            assert isinstance(c.padding, tuple)
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x.contiguous(memory_format=torch.channels_last),
                c.weight,
                c.bias,
                c.padding,
                c.stride,
                c.dilation,
                c.groups,
                "gelu",
                [],
                "none",
            )
            return fused
        y: Tensor = c(x)
        return F.gelu(y) if self.gelu else y
