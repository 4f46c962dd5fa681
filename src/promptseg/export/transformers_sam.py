"""A SAM as a folder of `transformers`: its names for the same tensors, and its two configurations.

The class is `SamModel`; the order of operations is SAM's own, so that only names differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from promptseg.models.families.sam.vit import Block, ViT
from promptseg.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["to_transformers", "transformers_folder"]

_PROCESSOR: Mapping[str, Any] = {
    "image_processor_type": "SamImageProcessor",
    "processor_class": "SamProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"longest_edge": 1024},
    "mask_size": {"longest_edge": 256},
    "resample": 2,  # bilinear
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [round(float(v) / 255, 6) for v in IMAGENET_MEAN],
    "image_std": [round(float(v) / 255, 6) for v in IMAGENET_STD],
    "do_pad": True,
    "pad_size": {"height": 1024, "width": 1024},
    "mask_pad_size": {"height": 256, "width": 256},
}
"""SAM's preprocessing in the words of `SamImageProcessor`."""

_MLP = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}

_RULES: tuple[tuple[str, str], ...] = (
    (r"image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"image_encoder\.", "vision_encoder."),
    (
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "prompt_encoder.shared_embedding.positional_embedding",
    ),
    (r"prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (
        r"mask_decoder\.transformer\.norm_final_attn\.",
        "mask_decoder.transformer.layer_norm_final_attn.",
    ),
    (r"(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
)


def to_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a SAM under the names of `transformers`' `SamModel`.

    Args:
        tensors: under SAM's own names.

    Returns:
        The same tensors; the position's matrix stands there twice, as it does in `SamModel`.
    """
    renamed = {_renamed(name): tensor for name, tensor in tensors.items()}
    position = renamed["prompt_encoder.shared_embedding.positional_embedding"]
    return {"shared_image_embedding.positional_embedding": position, **renamed}


def _renamed(name: str) -> str:
    if "hypernetworks_mlps" in name or "iou_prediction_head" in name:
        return re.sub(r"\.layers\.([012])\.", lambda found: f".{_MLP[found[1]]}.", name)
    for pattern, replacement in _RULES:
        new, found = re.subn(rf"^{pattern}", replacement, name)
        if found:
            return new
    return name


def transformers_folder(encoder: ViT, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return the files that `SamModel` and `SamProcessor` of `transformers` are loaded from.

    Args:
        encoder: the image encoder, whose sizes the configuration needs.
        tensors: of the whole SAM, under SAM's own names.

    Returns:
        Name -> content of config.json, model.safetensors and preprocessor_config.json.
    """
    from safetensors.torch import save

    config = {"architectures": ["SamModel"], "model_type": "sam", "vision_config": _sizes(encoder)}
    stored = {
        name: tensor.contiguous().clone() for name, tensor in to_transformers(tensors).items()
    }
    return {
        "config.json": _json(config),
        "model.safetensors": save(stored, {"format": "pt"}),
        "preprocessor_config.json": _json(_PROCESSOR),
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _sizes(encoder: ViT) -> dict[str, Any]:
    """The sizes of an encoder, as the configuration calls them."""
    blocks = [module for module in encoder.blocks if isinstance(module, Block)]
    dim = blocks[0].attn.proj.out_features
    return {
        "hidden_size": dim,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].attn.heads,
        "mlp_dim": blocks[0].mlp.lin1.out_features,
        "global_attn_indexes": [k for k, block in enumerate(blocks) if not block.window],
        "image_size": 16 * encoder.pos_embed.shape[1],
    }
