"""TinyViT's first stage in C: weights as it wants them, rows shared out to threads."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from promptseg.runtime.engine import Compiled, CompileError
from promptseg.runtime.native.library import library
from promptseg.runtime.rewrite.ops import Pointwise
from promptseg.runtime.rewrite.tiny_vit import FusedMBConv, FusedTinyViT

__all__ = ["FirstStage"]

_LANES, _DEPTH = 16, 32  # outputs and inputs of a tile of weights
_OUT = 4 * _LANES


@dataclass(frozen=True)
class Block:
    """An inverted residual's weights.

    Attributes:
        wide: channels between its layers.
        weights: widen, its bias, depthwise, its bias, narrow and residual, as `inverted_residual` in
            C describes them.
        parts: of the residual.
        bias: of the layer that narrows, with that of the residual.
    """

    wide: int
    weights: tuple[Tensor, ...]
    parts: int
    bias: Tensor


class FirstStage:
    """(1, 3, S, S) slices -> (1, 64, side, side) bfloat16, channels last.

    Each thread that calls it has memory of its own, which its next call uses again: taken anew for
    every slice, among embeddings that stay, it would be new to the process every time. Pointwise
    weights are rounded each to the nearest bfloat16: with exact biases that comes closer than
    `rounded`, which makes up for those of OpenVINO.

    Args:
        encoder: the encoder, in float32.
        embed: runs the patch embedding; None where it is pointwise, which is done here.
        threads: CPU threads of one call.

    Raises:
        CompileError: layers of other sizes than the code is written for, or it does not compile.
    """

    def __init__(self, encoder: FusedTinyViT, embed: Compiled | None, threads: int) -> None:
        self.library, self.side, self.threads = library(), encoder.side, threads
        self.shape = (1, 3, encoder.img_size, encoder.img_size)
        self.blocks = [_block(block) for block in encoder.first]
        if self.side % _LANES:
            raise CompileError(f"a grid of a multiple of {_LANES} pixels", f"{self.side}")
        self.embed = embed
        self.pixels: list[Tensor] = []
        if isinstance(encoder.patch_embed, Pointwise):
            linear = encoder.patch_embed.linear
            _require(tuple(linear.weight.shape), (2 * _LANES, 3))
            self.pixels = [linear.weight.detach().T.contiguous(), linear.bias.detach()]
        self._pool = ThreadPoolExecutor(threads, "first-stage") if threads > 1 else None
        self._memory = threading.local()

    def __call__(self, slices: Tensor) -> Tensor:
        """One preprocessed slice, float32; what is given back holds until the thread's next call.

        Raises:
            ValueError: anything else.
        """
        if slices.shape != self.shape or slices.dtype != torch.float32:
            given = f"{tuple(slices.shape)} of {slices.dtype}"
            raise ValueError(f"expected {self.shape} of torch.float32, got {given}")
        x = self._embedded(slices)
        for number, block in enumerate(self.blocks):
            x = self._inverted_residual(block, x, number)
        return x.permute(0, 3, 1, 2)

    def _embedded(self, slices: Tensor) -> Tensor:
        """(1, side, side, channels) bfloat16."""
        if self.embed is not None:
            image: Tensor = self.embed(slices)
            last = image.permute(0, 2, 3, 1).to(torch.bfloat16).contiguous()
            if last.shape != (1, self.side, self.side, _OUT):
                raise ValueError(f"expected {_OUT} x {self.side} x {self.side}, got {image.shape}")
            return last
        x = slices.permute(0, 2, 3, 1).contiguous()
        out = self._own("embedded", (*x.shape[:3], 2 * _LANES), torch.bfloat16)

        def rows(_: int, first: int, last: int) -> None:
            pixels = (last - first) * self.side
            part, into = x[0, first:], out[0, first:]
            self._call("embed_pixels", part, pixels, *self.pixels, into)

        self._share_out(rows)
        return out

    def _inverted_residual(self, block: Block, x: Tensor, number: int) -> Tensor:
        out = self._own(f"block {number}", (*x.shape[:3], _OUT), torch.bfloat16)
        height, width, channels = x.shape[1:]
        size = 3 * block.wide * (width + 2) + block.wide * width // 2
        scratch = self._own("scratch", (self.threads, -(-size // _LANES) * _LANES), torch.float32)

        def rows(share: int, first: int, last: int) -> None:
            sizes = [height, first, last, width, channels, block.wide]
            given: list[Tensor | int] = [x, *sizes, *block.weights, block.parts, block.bias]
            self._call("inverted_residual", *given, scratch[share], out)

        self._share_out(rows)
        return out

    def _own(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """This thread's memory of that name."""
        held: Tensor | None = getattr(self._memory, name, None)
        if held is None or held.shape != shape:
            held = torch.empty(shape, dtype=dtype)
            setattr(self._memory, name, held)
        return held

    def _share_out(self, rows: Callable[[int, int, int], None]) -> None:
        """Call `rows` with the number of each share, its first row and the one after its last."""
        bounds = [k * self.side // self.threads for k in range(self.threads + 1)]
        if self._pool is None:
            rows(0, 0, self.side)
        else:
            shares = zip(range(self.threads), bounds[:-1], bounds[1:], strict=True)
            begun = [self._pool.submit(rows, *share) for share in shares]
            wait(begun)  # all of them, whatever happens: they write where the next call does
            for share in begun:
                share.result()

    def _call(self, name: str, *arguments: Tensor | int) -> None:
        getattr(self.library, name)(*map(_as_c, arguments))


def _as_c(x: Tensor | int) -> Any:
    return ctypes.c_void_p(x.data_ptr()) if isinstance(x, Tensor) else ctypes.c_long(x)


def _block(block: nn.Module) -> Block:
    assert isinstance(block, FusedMBConv)
    strip: Any = block.strips[0]  # all have the same weights
    widen, narrow, embed = strip.widen.linear, strip.narrow.linear, strip.embed
    wide, inputs = widen.weight.shape
    _require((wide % _DEPTH, inputs % _DEPTH, len(narrow.weight)), (0, 0, _OUT))
    bias = narrow.bias
    if embed is None:
        _require((inputs,), (_OUT,))
        residual = [torch.eye(_OUT)]
    else:  # as the sum of two, its weights lose next to nothing
        high = embed.linear.weight.bfloat16().float()
        residual = [high, embed.linear.weight - high]
        bias = bias + embed.linear.bias
    weights = (
        _tiles(widen.weight),
        widen.bias,
        strip.depthwise.conv.weight.flatten(1).T.contiguous(),
        strip.depthwise.conv.bias.contiguous(),
        _tiles(narrow.weight).transpose(0, 1).contiguous(),
        torch.stack([_tiles(part).transpose(0, 1) for part in residual]).contiguous(),
    )
    return Block(wide, tuple(w.detach() for w in weights), len(residual), bias.detach())


def _tiles(weight: Tensor) -> Tensor:
    """(out, in) -> (out / 16, in / 32, 16, 16, 2) bfloat16; the last axes: pair of inputs, output, one
    of the pair."""
    outputs, inputs = weight.shape
    tiles = weight.detach().bfloat16().view(outputs // _LANES, _LANES, inputs // _DEPTH, -1, 2)
    return tiles.permute(0, 2, 3, 1, 4).contiguous()


def _require(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise CompileError("TinyViT's own sizes in the first stage", str(found))
