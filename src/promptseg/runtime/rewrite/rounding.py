"""Convolution weights in bfloat16 whose answers are, on average, those in float32.

Rounded each to the nearest, the weights and the bias of one output are wrong by a sum that is much the
same at every pixel, as features are smooth and seldom have a mean of 0; that sum goes through the
whole network. So weights are rounded together: up or down, whichever makes the squared error of the
answers to an example smaller.
"""

from __future__ import annotations

from contextlib import ExitStack
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.runtime.rewrite.ops import Depthwise, Pointwise

__all__ = ["rounded"]

_SWEEPS = 2
_EVERY = 7  # of the pixels of a layer; more change nothing
_ULP = 1 << 16  # between neighbours in bfloat16, in the bits of a float32

_Module = TypeVar("_Module", bound=nn.Module)


@torch.no_grad()
def rounded(module: _Module, example: tuple[Tensor, ...]) -> _Module:
    """Convert depthwise and pointwise convolutions of a module to weights that bfloat16 can hold.

    Args:
        module: in float32; what it names in `keep_float32` is left as it is.
        example: inputs like those to come.

    Returns:
        A copy; the module itself if there is nothing to round.
    """
    kept = set(getattr(module, "keep_float32", ()))
    layers = {
        name: m
        for name, m in module.named_modules()
        if isinstance(m, Depthwise | Pointwise) and not kept & set(name.split("."))
    }
    if not layers:
        return module
    moments: dict[int, Tensor] = {}  # by where the weight lies: strips share theirs

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, Depthwise | Pointwise)
        found, key = _moments(layer, inputs[0]), _parameters(layer)[0].data_ptr()
        moments[key] = moments[key] + found if key in moments else found

    with ExitStack() as hooks:
        for layer in layers.values():
            hooks.callback(layer.register_forward_pre_hook(record).remove)
        module(*example)
    done: dict[int, Tensor] = {}
    own = deepcopy(module)
    for name, layer in layers.items():
        weight, bias = _parameters(layer)
        key, copied = weight.data_ptr(), own.get_submodule(name)
        if key not in done:
            done[key] = _rounded(weight.flatten(1), bias, moments[key]).view_as(weight)
        assert isinstance(copied, Depthwise | Pointwise)
        _parameters(copied)[0].copy_(done[key])
    return own


def _parameters(layer: Depthwise | Pointwise) -> tuple[Tensor, Tensor]:
    source = layer.conv if isinstance(layer, Depthwise) else layer.linear
    assert source.bias is not None
    return source.weight, source.bias


def _moments(layer: Depthwise | Pointwise, x: Tensor) -> Tensor:
    """Second moments of what an output's weights and bias are multiplied with.

    Returns:
        (outputs or 1, inputs + 1, inputs + 1); the last input is the 1 of the bias.
    """
    if isinstance(layer, Pointwise):
        pixels = x.flatten(2)[:, :, ::_EVERY].movedim(1, 0).flatten(1)[None]
    else:
        conv = layer.conv
        assert isinstance(conv.padding, tuple)
        (down, across), (n, m) = conv.padding, conv.kernel_size
        windows = F.pad(x, (across, across, down, down)).unfold(2, n, conv.stride[0])
        windows = windows.unfold(3, m, conv.stride[1])[:, :, :, ::_EVERY]
        pixels = windows.permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(1, 2)
    pixels = F.pad(pixels, (0, 0, 0, 1), value=1)
    return (pixels @ pixels.transpose(1, 2)).double()


def _rounded(weight: Tensor, bias: Tensor, moments: Tensor) -> Tensor:
    """(outputs, inputs) weights, each at one of its two neighbours in bfloat16.

    Coordinate descent on the squared error, from the nearest on.
    """
    nearest = weight.bfloat16().float()
    bits = nearest.view(torch.int32)
    other = torch.where(nearest.abs() > weight.abs(), bits - _ULP, bits + _ULP).view(torch.float32)
    step = torch.where(nearest == weight, 0, other - nearest).double()
    error = torch.cat([nearest - weight, (bias.bfloat16() - bias)[:, None]], dim=1).double()
    slope = (error[:, None] @ moments)[:, 0]
    for _ in range(_SWEEPS):
        for k in range(weight.shape[1]):
            move = step[:, k] * (step[:, k] * (2 * slope[:, k] + step[:, k] * moments[:, k, k]) < 0)
            error[:, k] += move
            slope += move[:, None] * moments[:, k]
            step[:, k] = torch.where(move != 0, -step[:, k], step[:, k])
    return (weight.double() + error[:, :-1]).float()
