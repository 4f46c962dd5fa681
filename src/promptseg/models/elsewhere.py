"""Checkpoints of networks that are known, but not here: they are refused by name."""

from __future__ import annotations

from collections.abc import Collection

from promptseg.models.families.sam3.keys import OWN_TRACKER_TRUNK

__all__ = ["NOT_HERE", "POOLED", "SAM3_1", "name_elsewhere"]

SAM3_1 = (
    "SAM 3.1, whose tracker of many objects at once has no network here (its detector is said to be "
    "that of sam3)"
)
POOLED = "an EfficientTAM that attends to a pooled memory, which has no network here"
NOT_HERE: dict[str, tuple[str, str]] = {
    "sam3.1": (SAM3_1, "sam3"),
    "sam3-1": (SAM3_1, "sam3"),
    "sam3.1-multiplex": (SAM3_1, "sam3"),
    "efficienttam-ti-1": (POOLED, "efficienttam-ti"),
    "efficienttam-ti-2": (POOLED, "efficienttam-ti"),
    "efficienttam-s-1": (POOLED, "efficienttam-s"),
    "efficienttam-s-2": (POOLED, "efficienttam-s"),
}
"""Names that a user may ask for -> what they are, and a model to use in their place."""

_SAM3 = ".backbone.vision_backbone."
_HIERA = "image_encoder.trunk.pos_embed_window"
_PLAIN = "image_encoder.neck.convs.0.conv_1x1."  # EfficientTAM's
_OURS = ".guess_head."


def name_elsewhere(names: Collection[str]) -> str | None:
    """Say whose checkpoint has tensors of these names, if it is one that no model here has."""

    def some(part: str) -> bool:
        return any(part in f".{name}" for name in names)

    if some("multiplex"):
        return SAM3_1
    if some(".detector.") and some(".tracker.") and not some(_SAM3):
        return "a SAM 3 without the detector that is known here"
    trunks = (_HIERA, _PLAIN, OWN_TRACKER_TRUNK)
    ours = some(_OURS) or any(some(f".{trunk}") for trunk in trunks)
    if some(".memory_attention.") and some(".image_encoder.trunk.") and not ours:
        return "a SAM 2 with another image encoder than Hiera or a plain ViT, such as EdgeTAM"
    return None
