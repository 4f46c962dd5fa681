"""Reading checkpoints that we do not trust: tensors only, never code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.cards import CARDS, ModelCard
from promptseg.models.sam import Sam
from promptseg.models.sam import build as builders

__all__ = ["build_network", "identify", "read_checkpoint"]

_WRAPPERS = ("model", "model_state", "state_dict")
_PREFIXES = ("module.", "sam.")
_UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")  # MobileSAM's ImageNet classifier


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt`, `.pth` or `.safetensors` file under official names.

    Unpacks `model`, `model_state` and `state_dict`, and drops `module.` and `sam.` prefixes.

    Raises:
        ModelError: missing, truncated, holding pickled code, or holding no tensors.
    """
    if not path.is_file():
        raise ModelError("a checkpoint file", f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and "global" not in str(error).lower():
            raise _damaged(path, error) from None
        raise ModelError(
            "a checkpoint of plain tensors",
            f"{path}, which holds pickled code",
            "code in checkpoints is never run; save its state_dict alone, or as safetensors",
        ) from None
    except Exception as error:
        raise _damaged(path, error) from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {_strip(k): v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise ModelError("a checkpoint with tensors", f"{path} without any")
    return {k: v for k, v in tensors.items() if not k.startswith(_UNUSED)}


def identify(tensors: dict[str, Tensor], path: Path) -> ModelCard:
    """The model whose architecture the tensors fit exactly.

    Raises:
        ModelError: none does.
    """
    with torch.device("meta"):
        shapes = {name: _shapes(_build(card).state_dict()) for name, card in CARDS.items()}
    got = _shapes(tensors)
    for name, expected in shapes.items():
        if expected == got:
            return CARDS[name]
    name = min(shapes, key=lambda n: len(shapes[n].items() ^ got.items()))
    wrong = sorted(k for k, v in shapes[name].items() if got.get(k) != v)
    extra = sorted(got.keys() - shapes[name].keys())
    first = (wrong or extra)[0]
    raise ModelError(
        f"a checkpoint of {', '.join(CARDS)}",
        f"{path}: closest to {name}, but {len(wrong)} tensors are missing or of another shape and "
        f"{len(extra)} are unknown (first: {first})",
        "use a checkpoint of a supported architecture",
    )


def build_network(card: ModelCard, tensors: dict[str, Tensor], path: Path) -> Sam:
    """The network of `card` with the weights of `tensors`, ready for inference.

    Raises:
        ModelError: the tensors belong to another architecture.
    """
    if identify(tensors, path) is not card:
        raise ModelError(
            f"a checkpoint of {card.name}",
            f"{path}, one of {identify(tensors, path).name}",
            "name that model instead",
        )
    network = _build(card)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def _build(card: ModelCard) -> Sam:
    network: Sam = getattr(builders, card.build)()
    return network


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without the counters that batch normalisation keeps for training."""
    return {k: tuple(v.shape) for k, v in tensors.items() if not k.endswith("num_batches_tracked")}


def _strip(key: str) -> str:
    while prefix := next((p for p in _PREFIXES if key.startswith(p)), None):
        key = key.removeprefix(prefix)
    return key


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        "a complete checkpoint file",
        f"{path} ({type(error).__name__})",
        "it is truncated or damaged: get it again",
    )
