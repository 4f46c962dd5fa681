"""Reading checkpoints that we do not trust: tensors only, never code."""

from __future__ import annotations

import json
import pickle
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg import assets
from promptseg.errors import ModelError
from promptseg.models.cards import (
    CARDS,
    FINETUNED,
    ModelCard,
    find_card,
    finetuned_card,
    model_file,
)
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam import build as builders

__all__ = [
    "CARD",
    "UNUSED",
    "build_network",
    "identify",
    "open_checkpoint",
    "read_checkpoint",
    "require_architecture",
]

CARD = "card.json"
"""File beside fine-tuned weights that says what they are; see `promptseg.train.release`."""

_LARGEST_CARD = 8 << 20  # bytes

_WRAPPERS = ("model", "model_state", "state_dict")
_PREFIXES = ("module.", "sam.")
UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")  # MobileSAM's ImageNet classifier


def open_checkpoint(
    model: str | Path, quiet: bool = True
) -> tuple[ModelCard, Path, dict[str, Tensor]]:
    """The user's choice of a model: what it is, its file and the tensors in there.

    Args:
        model: NAME (its weights fetched if need be), FILE, or NAME=FILE; auto is settled before.
        quiet: no progress bar while weights are fetched.

    Raises:
        ModelError: unknown name, or a checkpoint that cannot be used.
        AssetError: the weights cannot be obtained or do not verify.
    """
    name, file = model_file(model)
    card = find_card(name) if name else None
    if file is None:
        card = card or find_card(str(model))
        file = assets.fetch(card.weights, quiet)
    tensors = read_checkpoint(file)
    return card or identify(tensors, file), file, tensors


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
    return {k: v for k, v in tensors.items() if not k.startswith(UNUSED)}


def identify(tensors: dict[str, Tensor], path: Path) -> ModelCard:
    """The model whose weights the tensors are.

    A card.json beside the file decides, if it is of fine-tuned weights and gives the file's SHA-256.
    Otherwise the architecture does. Models may share one (SAM, MedSAM and MedicoSAM with ViT-B): then
    the file's hash decides, and after it the official file name. Weights that promptseg brings itself
    are known by their hash alone: whatever has another is not of them.

    Args:
        tensors: what `read_checkpoint` found in `path`.
        path: the file, which need not exist if the architecture says enough.

    Raises:
        ModelError: no model has this architecture, or several have and nothing tells which it is; or
            the card beside the file is not one, or of other weights.
    """
    cards = _of_architecture(tensors, path)
    if (card := _card_beside(path)) is not None:
        require_architecture(card, tensors, path)
        return card
    if len(cards) == 1:
        return cards[0]
    manifest = assets.manifest()
    for card in cards:
        asset = manifest[card.weights]
        same_size = path.is_file() and path.stat().st_size == asset.size
        if same_size and assets.sha256_of(path) == asset.sha256:
            return card
    for card in cards:
        if path.name == manifest[card.weights].file:
            return card
    cards = [card for card in cards if not manifest[card.weights].bundled]
    if len(cards) == 1:
        return cards[0]
    names = [card.name for card in cards]
    raise ModelError(
        f"one model out of {', '.join(names)}, which share an architecture",
        f"{path}, which could be any of them",
        f"say which with NAME=FILE, for example --model {names[-1]}={path}",
    )


def build_network(card: ModelCard, tensors: dict[str, Tensor], path: Path) -> Sam:
    """The network of `card` with the weights of `tensors`, ready for inference.

    Raises:
        ModelError: the tensors belong to another architecture.
    """
    require_architecture(card, tensors, path)
    network = _build(card.build)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def require_architecture(card: ModelCard, tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not of a model's architecture.

    Args:
        card: of the model.
        tensors: names and shapes count; what is in `UNUSED` must be left out.
        path: where they come from, for messages.

    Raises:
        ModelError: the tensors belong to another architecture, or to none.
    """
    cards = _of_architecture(tensors, path)
    if card.build not in {other.build for other in cards}:
        raise ModelError(
            f"a checkpoint of {card.name}",
            f"{path}, one of {' or '.join(other.name for other in cards)}",
            "name that model instead",
        )


def _card_beside(path: Path) -> ModelCard | None:
    """What the card.json in the folder of some weights says of them.

    Returns:
        None if there is none, it is of another kind (an export has one too), or of other files.

    Raises:
        ModelError: it names this file with another hash, or says what a card cannot say.
    """
    beside = path.with_name(CARD)
    try:
        if not beside.is_file() or beside.stat().st_size > _LARGEST_CARD or not path.is_file():
            return None
        said = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("schema") != FINETUNED:
        return None
    files = said.get("files")
    entries = files if isinstance(files, dict) else {}
    hashes = {
        name: entry.get("sha256") for name, entry in entries.items() if isinstance(entry, dict)
    }
    if assets.sha256_of(path) in hashes.values():
        return finetuned_card(said, str(beside))
    if path.name in hashes:
        raise ModelError(
            f"the weights that {beside} describes",
            f"{path} with another SHA-256",
            f"get both again, or say which model it is with NAME={path}",
        )
    return None


def _of_architecture(tensors: dict[str, Tensor], path: Path) -> list[ModelCard]:
    """The models whose architecture the tensors fit exactly: at least one."""
    got = _shapes(tensors)
    if cards := [card for card in CARDS.values() if _architecture(card.build) == got]:
        return cards
    expected = {card.name: _architecture(card.build) for card in CARDS.values()}
    name = min(expected, key=lambda n: len(expected[n].items() ^ got.items()))
    wrong = sorted(k for k, v in expected[name].items() if got.get(k) != v)
    extra = sorted(got.keys() - expected[name].keys())
    first = (wrong or extra)[0]
    raise ModelError(
        f"a checkpoint of {', '.join(CARDS)}",
        f"{path}: closest to {name}, but {len(wrong)} tensors are missing or of another shape and "
        f"{len(extra)} are unknown (first: {first})",
        "use a checkpoint of a supported architecture",
    )


def _build(constructor: str) -> Sam:
    network: Sam = getattr(builders, constructor)()
    return network


@cache
def _architecture(constructor: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors; none is allocated."""
    with torch.device("meta"):
        return _shapes(_build(constructor).state_dict())


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
