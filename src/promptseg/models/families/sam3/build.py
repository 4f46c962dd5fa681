"""The published sizes of SAM 3, as data, and networks of them: those of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from promptseg.errors import MissingPackageError
from promptseg.models.families.sam3.roi import roi_align

__all__ = [
    "SHAPES",
    "Sam3Shape",
    "build_sam3",
    "config_of",
    "network_of",
    "transformers_parts",
]


@dataclass(frozen=True)
class Sam3Shape:
    """Sizes of a network; what is not said is the same in all of them.

    Attributes:
        image_size: length of the input's side.
        patch, width, mlp, depth, heads, window: of the image encoder.
        whole: its layers that attend to the whole image.
        pretrained: length of the side that its positions were made for.
        dim: channels of everything behind the encoders.
        hidden: of the perceptrons there.
        attention_heads: there.
        layers: of the encoder and the decoder of detection, and of the encoder of boxes.
        queries: the most instances of a phrase.
        words: width, layers and heads of the text encoder, and channels of its own projection.
        vocabulary: how many numbers words are written in.
        dropout: behind the encoders, in training.
    """

    image_size: int = 1008
    patch: int = 14
    width: int = 1024
    mlp: int = 4736
    depth: int = 32
    heads: int = 16
    window: int = 24
    whole: tuple[int, ...] = (7, 15, 23, 31)
    pretrained: int = 336
    dim: int = 256
    hidden: int = 2048
    attention_heads: int = 8
    layers: tuple[int, int, int] = (6, 6, 3)
    queries: int = 200
    words: tuple[int, int, int, int] = (1024, 24, 16, 512)
    vocabulary: int = 49_408
    dropout: float = 0.1


SHAPES: dict[str, Sam3Shape] = {"sam3": Sam3Shape(), "sam3-504": Sam3Shape(image_size=504)}


def build_sam3(name: str) -> nn.Module:
    """Build a network of one of the published sizes, its weights not initialised: loading replaces
    them.

    Args:
        name: one of `SHAPES`.

    Raises:
        MissingPackageError: transformers is not installed.
    """
    return network_of(SHAPES[name])


def network_of(shape: Sam3Shape, seeded: bool = False) -> nn.Module:
    """Build a network of any sizes.

    Args:
        shape: the sizes.
        seeded: whether weights are drawn at random; else they hold whatever memory does.
    """
    parts = transformers_parts()
    geometry_encoder, model = parts.Sam3GeometryEncoder, parts.Sam3Model

    class BoxEncoder(geometry_encoder):  # type: ignore[misc, valid-type]
        """Encodes examples; features are pooled by our own `roi_align`."""

        def _encode_boxes(
            self, boxes: Tensor, mask: Tensor, labels: Tensor, features: Tensor
        ) -> tuple[Tensor, Tensor]:
            return _encoded_boxes(self, boxes, labels, features), mask

    class Sam3(model):  # type: ignore[misc, valid-type]
        """The detector."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.geometry_encoder = BoxEncoder(config.geometry_encoder_config)

        def load_state_dict(
            self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True
        ) -> Any:
            """Takes the tensors as they are in memory, or in a mapped file, instead of copies."""
            numbers = {name: value.float() for name, value in state_dict.items()}
            return super().load_state_dict(numbers, strict, assign)

    config = config_of(shape)
    if seeded:
        return Sam3(config)
    with parts.no_init_weights():
        return Sam3(config)


def transformers_parts() -> SimpleNamespace:
    """Return the classes of `transformers` that networks here are made of, by their names there.

    Raises:
        MissingPackageError: transformers is not installed.
    """
    try:
        from transformers import initialization

        parts = import_module("transformers.models.sam3.modeling_sam3")
    except ImportError as error:
        if error.name not in (None, "transformers"):
            raise
        raise MissingPackageError("transformers", "for SAM 3", "sam3") from None
    names = ("Sam3GeometryEncoder", "Sam3Model", "Sam3VisionNeck", "Sam3ViTModel")
    return SimpleNamespace(
        no_init_weights=initialization.no_init_weights,
        **{name: getattr(parts, name) for name in names},
    )


def _encoded_boxes(encoder: Any, boxes: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """(B, N, C) of (B, N, 4) boxes (centre, width and height, in parts of the image)."""
    rows, columns = features.shape[-2:]
    centre, extent = boxes[..., :2], boxes[..., 2:]
    corners = torch.cat([centre - extent / 2, centre + extent / 2], dim=-1)
    corners = corners * corners.new_tensor([columns, rows, columns, rows])
    pooled = torch.stack(
        [
            encoder.boxes_pool_project(roi_align(one, at, encoder.roi_size)).flatten(1)
            for one, at in zip(features, corners, strict=True)
        ]
    )
    places = encoder._encode_box_coordinates(*boxes.flatten(0, 1).unbind(-1))
    places = encoder.boxes_pos_enc_project(places.view(*boxes.shape[:2], -1))
    direct = encoder.boxes_direct_project(boxes)
    found: Tensor = encoder.label_embed(labels.long()) + direct + pooled + places
    return found


def config_of(shape: Sam3Shape) -> Any:
    """Return the configuration of `transformers` for a network of these sizes."""
    from transformers import CLIPTextConfig
    from transformers.models.sam3.configuration_sam3 import (
        Sam3Config,
        Sam3DETRDecoderConfig,
        Sam3DETREncoderConfig,
        Sam3GeometryEncoderConfig,
        Sam3MaskDecoderConfig,
        Sam3VisionConfig,
        Sam3ViTConfig,
    )

    grid = shape.image_size // shape.patch
    encoder, decoder, boxes = shape.layers
    width, layers, heads, projection = shape.words
    behind: dict[str, Any] = {
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "num_attention_heads": shape.attention_heads,
        "dropout": shape.dropout,
    }
    trunk = Sam3ViTConfig(
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        image_size=shape.image_size,
        patch_size=shape.patch,
        window_size=shape.window,
        global_attn_indexes=list(shape.whole),
        pretrain_image_size=shape.pretrained,
    )
    return Sam3Config(
        vision_config=Sam3VisionConfig(
            backbone_config=trunk,
            fpn_hidden_size=shape.dim,
            backbone_feature_sizes=[[k * grid, k * grid] for k in (4, 2, 1)],
        ),
        text_config=CLIPTextConfig(
            vocab_size=shape.vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=projection,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=32,
            hidden_act="gelu",
        ),
        geometry_encoder_config=Sam3GeometryEncoderConfig(num_layers=boxes, **behind),
        detr_encoder_config=Sam3DETREncoderConfig(num_layers=encoder, **behind),
        detr_decoder_config=Sam3DETRDecoderConfig(
            num_layers=decoder, num_queries=shape.queries, **behind
        ),
        mask_decoder_config=Sam3MaskDecoderConfig(
            hidden_size=shape.dim,
            num_attention_heads=shape.attention_heads,
            dropout=shape.dropout,
        ),
    )
