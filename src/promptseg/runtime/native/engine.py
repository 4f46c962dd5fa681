"""The engine: TinyViT's first stage in C, everything else in OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from promptseg.runtime.engine import Compiled, CompileError, Part
from promptseg.runtime.native.first_stage import FirstStage
from promptseg.runtime.native.library import missing
from promptseg.runtime.openvino import OpenVINO
from promptseg.runtime.rewrite.ops import Pointwise
from promptseg.runtime.rewrite.tiny_vit import FusedTinyViT

__all__ = ["Native"]


class FromBfloat16(nn.Module):
    """A module whose input comes in bfloat16."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Convert a tensor of any shape."""
        out: Tensor = self.module(x.float())
        return out


@dataclass(frozen=True)
class Native:
    """Our own code for what takes LiteMedSAM and MobileSAM longest, bfloat16."""

    name: str = "native-bf16"
    dtype: torch.dtype = torch.bfloat16
    parallel: ClassVar[bool] = True
    batches: ClassVar[bool] = False

    @property
    def _others(self) -> OpenVINO:
        return OpenVINO(self.name, self.dtype)

    def missing(self, device: torch.device) -> str | None:
        """See `Engine`."""
        return self._others.missing(device) or missing()

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        """See `Engine`."""
        encoder = part.module
        if part.name != "encoder":
            return self._others.compile(part, threads, streams)
        if not isinstance(encoder, FusedTinyViT):
            raise CompileError("the encoder of LiteMedSAM or MobileSAM", type(encoder).__name__)
        embed = None
        if not isinstance(encoder.patch_embed, Pointwise):
            begin = replace(part, name="patch embedding", module=encoder.patch_embed)
            embed = OpenVINO(self.name).compile(begin, threads, streams)
        first = FirstStage(encoder, embed, max(1, threads // streams))
        features = first(*part.example)
        rest = replace(
            part,
            name="after the first stage",
            module=FromBfloat16(encoder.rest),
            example=(features,),
            inputs=("features",),
            channels_last=("features", "embedding"),
        )
        others = self._others.compile(rest, threads, streams)
        return lambda slices: others(first(slices))
