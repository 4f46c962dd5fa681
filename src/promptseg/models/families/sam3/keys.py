"""Names of the official parameters -> those of the networks that compute here.

The official builder writes `detector.` and `tracker.` in front; copies for `transformers`
`detector_model.` and `tracker_model.`; trainings put names of their own before those. Only the detector
is used. Whatever has no counterpart keeps its name, so that strict loading refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "OFFICIAL_TRUNK",
    "OWN_TRACKER_TRUNK",
    "own_names",
    "prefix_of",
    "tracker_names",
    "without_prefix",
]

OFFICIAL_TRUNK = "backbone.vision_backbone.trunk.patch_embed.proj.weight"
OWN_TRACKER_TRUNK = "image_encoder.trunk.embeddings.patch_embeddings.projection.weight"
_OWN_TRUNK = "vision_encoder.backbone.embeddings.patch_embeddings.projection.weight"
_CLIP = r"text_encoder.text_model.encoder.layers.\1"
_DECODER = r"detr_decoder.layers.\1"
_TRUNK = r"^backbone\.vision_backbone\.trunk\."
_NECK = r"^backbone\.vision_backbone\.convs\.(\d+)\."
_LANGUAGE = r"^backbone\.language_backbone\."
_BLOCK = _LANGUAGE + r"encoder\.transformer\.resblocks\.(\d+)\."
_LAYER = r"^transformer\.decoder\.layers\.(\d+)\."
_VIT = r"vision_encoder.backbone.layers.\1"
_FPN = r"vision_encoder.neck.fpn_layers.\1"

_RULES: tuple[tuple[str, str], ...] = (
    (
        _TRUNK + r"patch_embed\.proj\.",
        "vision_encoder.backbone.embeddings.patch_embeddings.projection.",
    ),
    (_TRUNK + r"pos_embed$", "vision_encoder.backbone.embeddings.position_embeddings"),
    (_TRUNK + r"ln_pre\.", "vision_encoder.backbone.layer_norm."),
    (_TRUNK + r"blocks\.(\d+)\.norm(\d)\.", _VIT + r".layer_norm\2."),
    (_TRUNK + r"blocks\.(\d+)\.attn\.proj\.", _VIT + ".attention.o_proj."),
    (_TRUNK + r"blocks\.(\d+)\.attn\.qkv\.", _VIT + ".attention.QKV."),
    (_TRUNK + r"blocks\.(\d+)\.mlp\.", _VIT + ".mlp."),
    (_NECK + r"dconv_2x2(?:_0)?\.", _FPN + ".scale_layers.0."),
    (_NECK + r"dconv_2x2_1\.", _FPN + ".scale_layers.2."),
    (_NECK + r"conv_1x1\.", _FPN + ".proj1."),
    (_NECK + r"conv_3x3\.", _FPN + ".proj2."),
    (
        _LANGUAGE + r"encoder\.positional_embedding$",
        "text_encoder.text_model.embeddings.position_embedding.weight",
    ),
    (
        _LANGUAGE + r"encoder\.token_embedding\.",
        "text_encoder.text_model.embeddings.token_embedding.",
    ),
    (_LANGUAGE + r"encoder\.ln_final\.", "text_encoder.text_model.final_layer_norm."),
    (_LANGUAGE + r"encoder\.text_projection$", "text_encoder.text_projection.weight"),
    (_LANGUAGE + r"resizer\.", "text_projection."),
    (_BLOCK + r"attn\.in_proj_", _CLIP + ".self_attn.QKV."),
    (_BLOCK + r"attn\.out_proj\.", _CLIP + ".self_attn.out_proj."),
    (_BLOCK + r"ln_(\d)\.", _CLIP + r".layer_norm\2."),
    (_BLOCK + r"mlp\.c_fc\.", _CLIP + ".mlp.fc1."),
    (_BLOCK + r"mlp\.c_proj\.", _CLIP + ".mlp.fc2."),
    (r"^geometry_encoder\.encode\.(\d+)\.", r"geometry_encoder.layers.\1."),
    (r"^geometry_encoder\.norm\.", "geometry_encoder.prompt_layer_norm."),
    (r"^geometry_encoder\.img_pre_norm\.", "geometry_encoder.vision_layer_norm."),
    (r"^geometry_encoder\.encode_norm\.", "geometry_encoder.output_layer_norm."),
    (r"^transformer\.encoder\.", "detr_encoder."),
    (_LAYER + r"cross_attn\.", _DECODER + ".vision_cross_attn."),
    (_LAYER + r"norm1\.", _DECODER + ".vision_cross_attn_layer_norm."),
    (_LAYER + r"ca_text\.", _DECODER + ".text_cross_attn."),
    (_LAYER + r"catext_norm\.", _DECODER + ".text_cross_attn_layer_norm."),
    (_LAYER + r"norm2\.", _DECODER + ".self_attn_layer_norm."),
    (_LAYER + r"norm3\.", _DECODER + ".mlp_layer_norm."),
    (r"^transformer\.decoder\.norm\.", "detr_decoder.output_layer_norm."),
    (r"^transformer\.decoder\.bbox_embed\.", "detr_decoder.box_head."),
    (r"^transformer\.decoder\.boxRPB_embed_([xy])\.", r"detr_decoder.box_rpb_embed_\1."),
    (r"^transformer\.decoder\.presence_token_head\.", "detr_decoder.presence_head."),
    (r"^transformer\.decoder\.presence_token_out_norm\.", "detr_decoder.presence_layer_norm."),
    (r"^transformer\.decoder\.", "detr_decoder."),
    (
        r"^segmentation_head\.mask_predictor\.mask_embed\.layers\.",
        "mask_decoder.mask_embedder.layers.",
    ),
    (r"^segmentation_head\.cross_attend_prompt\.", "mask_decoder.prompt_cross_attn."),
    (r"^segmentation_head\.cross_attn_norm\.", "mask_decoder.prompt_cross_attn_norm."),
    (r"^segmentation_head\.semantic_seg_head\.", "mask_decoder.semantic_projection."),
    (r"^segmentation_head\.instance_seg_head\.", "mask_decoder.instance_projection."),
    (r"^segmentation_head\.pixel_decoder\.", "mask_decoder.pixel_decoder."),
    (r"^dot_prod_scoring\.prompt_mlp\.out_norm\.", "dot_product_scoring.text_mlp_out_norm."),
    (r"^dot_prod_scoring\.prompt_mlp\.", "dot_product_scoring.text_mlp."),
    (r"^dot_prod_scoring\.prompt_proj\.", "dot_product_scoring.text_proj."),
    (r"^dot_prod_scoring\.hs_proj\.", "dot_product_scoring.query_proj."),
)
_COMPILED = tuple((re.compile(pattern), name) for pattern, name in _RULES)
_UNUSED = re.compile(
    r"^geometry_encoder\.points_|^backbone\.vision_backbone\.sam2_convs\.|\.freqs_cis$"
)
_DETECTOR, _TRACKER, _VISION = "detector.", "tracker.", "backbone.vision_backbone."
_TRACKER_PARTS = (
    ("transformer.encoder.", "memory_attention."),
    ("maskmem_backbone.", "memory_encoder."),
)
_PERCEPTRONS = ((".mlp.lin1.", ".mlp.layers.0."), (".mlp.lin2.", ".mlp.layers.1."))
_WITH_LAYERS = ("mask_decoder.mask_embedder.", "detr_encoder.", "geometry_encoder.")


def prefix_of(names: Iterable[str]) -> str | None:
    """Return the prefix of the names of the detector's tensors; None if there is no detector among
    them.

    Of several (an average of the weights beside them) the one under `model` counts, else the first.
    """
    found = [
        name.removesuffix(trunk)
        for name in names
        for trunk in (OFFICIAL_TRUNK, _OWN_TRUNK)
        if name.endswith(trunk)
    ]
    usual = [prefix for prefix in found if prefix.startswith("model.")]
    return next(iter(usual or found), None)


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the detector's tensors to the names of the networks here, without what those do not use.

    Args:
        tensors: of a checkpoint, with whatever stands before the names.

    Returns:
        Views of the same memory, but for a few small ones.
    """
    own = without_prefix(tensors)
    if OFFICIAL_TRUNK not in own:
        return {
            n: t for n, t in own.items() if not n.startswith(("tracker_model.", "tracker_neck."))
        }
    return dict(pair for name, tensor in own.items() for pair in _renamed(name, tensor))


def tracker_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tracker's tensors, the image encoder that it shares among them, to the names of its
    network.

    Args:
        tensors: of an official checkpoint of videos, with whatever stands before the names; or under
            the names here.

    Returns:
        Views of the same memory, but for a few small ones; as they are where there is no tracker.
    """
    prefix = prefix_of(tensors)
    if prefix is None or not prefix.endswith(_DETECTOR):
        return dict(tensors)
    around, found = prefix.removesuffix(_DETECTOR), {}
    for name, tensor in tensors.items():
        if name.startswith(f"{around}{_TRACKER}"):
            own = name.removeprefix(f"{around}{_TRACKER}")
            if own.endswith("freqs_cis"):
                continue
            for official, ours in _TRACKER_PARTS:
                own = own.replace(official, ours, 1) if own.startswith(official) else own
            if own.startswith("sam_mask_decoder.transformer."):
                for official, ours in _PERCEPTRONS:
                    own = own.replace(official, ours)
            found[own] = tensor
        elif name.startswith(f"{prefix}{_VISION}trunk."):
            for own, values in _renamed(name.removeprefix(prefix), tensor):
                found[own.replace("vision_encoder.backbone.", "image_encoder.trunk.", 1)] = values
        elif name.startswith(f"{prefix}{_VISION}sam2_convs."):
            second = name.removeprefix(prefix).replace("sam2_convs.", "convs.", 1)
            for own, values in _renamed(second, tensor):
                found[own.replace("vision_encoder.", "image_encoder.", 1)] = values
    return found


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the detector's tensors, without the prefix of their names; all tensors where there is
    none.
    """
    prefix = prefix_of(tensors) or ""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One official tensor as those that stand for it."""
    if _UNUSED.search(name) or name.startswith("inst_interactive_predictor."):
        return
    new = _name_of(name)
    if "QKV" in new:
        for part, values in zip(("q_proj.", "k_proj.", "v_proj."), tensor.chunk(3), strict=True):
            yield new.replace("QKV.", part), values
    elif new == "text_encoder.text_projection.weight":
        yield new, tensor.T.contiguous()
    elif new == "vision_encoder.backbone.embeddings.position_embeddings":
        yield new, tensor[:, 1:]  # without the class token
    else:
        yield new, tensor


def _name_of(name: str) -> str:
    for pattern, new in _COMPILED:
        changed, count = pattern.subn(new, name)
        if count:
            break
    else:
        return name
    changed = changed.replace("cross_attn_image.", "cross_attn.")
    changed = changed.replace(".linear1.", ".mlp.fc1.").replace(".linear2.", ".mlp.fc2.")
    if changed.startswith(("vision_encoder.", "text_encoder.")):
        return changed
    changed = re.sub(r"\.norm(\d)\.", r".layer_norm\1.", changed)
    if not changed.startswith(_WITH_LAYERS):
        changed = re.sub(
            r"\.layers\.(\d+)\.(weight|bias)$",
            lambda match: f".layer{int(match[1]) + 1}.{match[2]}",
            changed,
        )
    return changed.replace("in_proj_", "QKV.").replace("out_proj.", "o_proj.")
