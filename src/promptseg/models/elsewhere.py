"""Checkpoints of networks that are known, but not here: they are refused by name."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["name_elsewhere"]

_HIERA = "image_encoder.trunk.pos_embed_window"


def name_elsewhere(names: Collection[str]) -> str | None:
    """Whose checkpoint tensors of these names are, if it is one that no model here has."""

    def some(part: str) -> bool:
        return any(part in f".{name}" for name in names)

    if some(".detector.") and some(".tracker."):
        return "SAM 3"
    if some(".memory_attention.") and some(".image_encoder.trunk.") and not some(f".{_HIERA}"):
        return "a SAM 2 with another image encoder than Hiera, such as EfficientTAM"
    return None
