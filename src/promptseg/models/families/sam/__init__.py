"""The SAM-1 family: image encoder, prompt encoder and mask decoder, assembled by constructor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptseg.models.families.sam.build import (
        Sam,
        build_lite_medsam,
        build_mobile_sam,
        build_sam_vit_b,
        build_sam_vit_h,
        build_sam_vit_l,
    )

__all__ = [
    "Sam",
    "build_lite_medsam",
    "build_mobile_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
]


def __getattr__(name: str) -> Any:
    """Networks when they are first asked for: the family's cards load no torch."""
    if name in __all__:
        from promptseg.models.families.sam import build

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
