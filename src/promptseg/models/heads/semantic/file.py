"""Semantic models and decoders from files, which are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from promptseg import assets
from promptseg.errors import ModelError
from promptseg.models.checkpoint import require_numbers
from promptseg.models.heads.semantic.card import SemanticCard, semantic_card
from promptseg.models.heads.semantic.network import SemanticNetwork, Shape, build_semantic
from promptseg.models.heads.semantic.specialists import SPECIALISTS
from promptseg.models.storage import load_content
from promptseg.models.unwrap import all_tensors

__all__ = ["open_semantic", "read_decoder", "semantic_network", "shape_of"]

_COUNTER = "num_batches_tracked"
_OUTPUTS = ("out_conv.", "classifier.")
_HEADS = ("deconv1.", "deconv2.", "deconv3.", "deconv4.", "base.", "decoder.", "deconv_out.")


def shape_of(card: SemanticCard) -> Shape:
    """Return the sizes of the network that a card describes."""
    return Shape(
        card.sam.build,
        len(card.classes) + 1,
        depth=card.depth,
        side=card.side,
        features=card.features,
        doublings=card.doublings,
        transposed=card.transposed,
        adapters=card.adapters,
    )


def open_semantic(model: str | Path) -> tuple[SemanticCard, Path, dict[str, Tensor]]:
    """Read a semantic model: its card, its file, and the tensors in that.

    Args:
        model: folder of a training, or a file of weights in it.

    Raises:
        ModelError: no such model, or weights that its card does not describe.
    """
    card, file, said = semantic_card(model)
    files = said.get("files")
    entry = files.get(file.name) if isinstance(files, dict) else None
    listed = entry.get("sha256") if isinstance(entry, dict) else None
    if listed != assets.sha256_of(file):
        raise ModelError(
            "the weights that the card beside them describes",
            f"{file} with another SHA-256",
            "get both again",
        )
    return card, file, all_tensors(load_content(file))


def semantic_network(
    card: SemanticCard, tensors: Mapping[str, Tensor], path: Path
) -> SemanticNetwork:
    """Build the network that a card describes with these weights, ready for inference.

    Raises:
        ModelError: tensors of another network, or not all finite.
    """
    _require_fit(card, tensors, path)  # before anything is allocated
    network = build_semantic(shape_of(card))
    own = network.state_dict()
    weights = {k: v for k, v in tensors.items() if k in own and own[k].is_floating_point()}
    require_numbers(weights, path)
    try:
        network.load_state_dict(weights, strict=False)  # counters and indices are the network's own
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip()[:120]
        raise ModelError(f"the weights of {card.name}", f"{path} ({said})") from None
    return network.eval().requires_grad_(False)


def _require_fit(card: SemanticCard, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors of other names or shapes than a network of this card has.

    Raises:
        ModelError: they differ.
    """
    got = {k: tuple(v.shape) for k, v in tensors.items() if _COUNTER not in k}
    if card.base in SPECIALISTS and card.features:  # MONAI computes while it builds
        patches = got.get("network.swinViT.patch_embed.proj.weight", (0,))
        wrong = {"features"} if patches[0] != card.features else set()
    else:
        with torch.device("meta"):
            state = build_semantic(shape_of(card)).state_dict()
        expected = {k: tuple(v.shape) for k, v in state.items() if _COUNTER not in k}
        wrong = {k for k, _ in expected.items() ^ got.items()}
    if wrong:
        raise ModelError(
            f"the weights of {card.name}: {len(card.classes)} classes on the encoder of {card.base}",
            f"{path}, where {len(wrong)} tensors differ (first: {min(wrong)})",
            "use the files of one training together",
        )


def read_decoder(path: Path) -> dict[str, Tensor]:
    """Read a pretrained decoder under torch-em's names, without its output layer, which is for other
    classes.

    Args:
        path: file of a decoder, of a whole UNETR, or with one under `decoder_state`.

    Raises:
        ModelError: no such file, or no decoder in it.
    """
    content = load_content(path)
    inner = content.get("decoder_state") if isinstance(content, Mapping) else None
    tensors = all_tensors(content if inner is None else inner)
    for before in ("", "module.", "model_state."):
        found = {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)}
        own = {
            k: v
            for k, v in found.items()
            if not k.startswith(("encoder.", *_OUTPUTS, "fusion_3d."))
        }
        if all(any(k.startswith(head) for k in own) for head in _HEADS):
            require_numbers(own, path)
            return own
    raise ModelError(
        "a decoder under the names of torch-em's UNETR (deconv1, base, decoder, ...)",
        f"{path} without one" + ("" if inner is None else " under decoder_state"),
        "use the file that micro-sam exports, or leave the decoder out",
    )
