"""Reading checkpoints that we do not trust: tensors only, never code."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from promptseg import _moved, assets
from promptseg.errors import ModelError
from promptseg.models.cards import (
    CARDS,
    FINETUNED,
    ModelCard,
    TrainedOn,
    find_card,
    finetuned_card,
    model_file,
    weights_of,
)
from promptseg.models.elsewhere import name_elsewhere
from promptseg.models.families import families, family_named
from promptseg.models.finite import is_finite
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.models.protocol.family import Family, SelfReading
from promptseg.models.storage import load_content
from promptseg.models.unwrap import Found, all_tensors, networks_in, same_tensors
from promptseg.parsing import parse_json

__all__ = [
    "CARD",
    "build_network",
    "identify",
    "open_checkpoint",
    "read_checkpoint",
    "require_architecture",
    "require_numbers",
]

CARD = "card.json"
"""File beside fine-tuned weights that says what they are; see `promptseg.train.release`."""

SPECIALIST = "specialist"
"""The family of models that are known by their cards alone."""

_LARGEST_CARD = 8 << 20  # bytes

log = logging.getLogger("promptseg")

_USUAL = {"", "model", "model_state", "state_dict", "module", "sam"}
"""Names around the weights proper, where a file holds an average of them, or others, as well."""
_INDEX = "relative_position_index"  # which a network works out for itself
_STATE = "_extra_state"  # bytes that say what a network is for
_NO_WEIGHTS = ("num_batches_tracked", _INDEX, _STATE)

__getattr__ = _moved.moved_names(
    "promptseg.models.checkpoint", {"UNUSED": "promptseg.models.families.sam.family"}
)


def open_checkpoint(
    model: str | Path, quiet: bool = True
) -> tuple[ModelCard, Path, dict[str, Tensor]]:
    """Open the checkpoint that the user chose: its model's card, its file and the tensors in there.

    Args:
        model: NAME (its weights fetched if need be), FILE, or NAME=FILE; auto is settled before.
        quiet: no progress bar while weights are fetched.

    Raises:
        ModelError: unknown name, or a checkpoint that cannot be used.
        AssetError: the weights cannot be obtained or do not verify.
    """
    name, file = model_file(model)
    if file is not None and is_semantic(file):
        raise ModelError(
            "a model that answers prompts",
            f"{file}, which gives classes without any",
            "use promptseg segment or evaluate",
        )
    card = find_card(name) if name else None
    if card is not None:
        _require_agreement(card, quiet)
        if file is not None and card.trained_on and not _are_published(file, card):
            card = replace(card, trained_on=None)  # other weights have seen other images
    if file is None:
        card = card or find_card(str(model))
        if not card.weights:
            raise ModelError(
                f"a file with the weights of {card.name}",
                "none, and no address of one",
                f"get it from {card.source}, then --model {card.name}=FILE",
            )
        file = assets.fetch(card.weights, quiet)
    tensors = read_checkpoint(file, card)
    if card is None:
        card = identify(tensors, file)
        _require_agreement(card, quiet)
    elif name and (listed := _trained_on(file)):
        card = replace(card, trained_on=listed)
    return card, file, tensors


def _require_agreement(card: ModelCard, quiet: bool) -> None:
    """The licence of published weights, wherever their file is from; own ones have none to agree to."""
    if asset := assets.manifest().get(card.weights):
        assets.require_agreement(asset, quiet)


def read_checkpoint(path: Path, card: ModelCard | None = None) -> dict[str, Tensor]:
    """Read the tensors of a `.pt`, `.pth`, `.ckpt` or `.safetensors` file, named as in its family.

    The network is found by its structure, whatever a training loop has put around it; what was
    unwrapped and left out is said. A file of something else gives all its tensors.

    Args:
        path: the file.
        card: of the model whose weights are wanted, where files may hold several.

    Raises:
        ModelError: missing, truncated, holding pickled code, no tensors, or several networks that
            differ.
    """
    content = load_content(path)
    tensors = all_tensors(content)
    if not tensors:
        raise ModelError("a checkpoint with tensors", f"{path} without any")
    named: object = family_named(card.family) if card else None
    own = named if isinstance(named, SelfReading) else _claiming(tensors)
    if isinstance(own, SelfReading):
        _require_here(tensors, path)
        return own.read(tensors, content, path)
    if _fitting(plain := _cleaned(tensors)):  # nothing is around it: the usual file
        return plain
    modules, words = _vocabulary()
    networks = networks_in(content, modules, words)
    _require_here(tensors, path)
    if not networks:
        return _cleaned(tensors)
    chosen = _one_of(networks, path)
    beside = len(tensors) - len(chosen.tensors)
    if chosen.place:
        log.warning(
            "%s: the network was found under %s%s",
            path.name,
            chosen.place,
            f"; {beside} other tensors were left out" if beside > 0 else "",
        )
    return _cleaned(chosen.tensors)


def _require_here(names: Collection[str], path: Path) -> None:
    """Refuse by its name a checkpoint that no model here has a network for."""
    if other := name_elsewhere(names):
        raise ModelError(
            f"a checkpoint of {', '.join(CARDS)}", f"{path}, {other}", "use one of these models"
        )


def identify(tensors: dict[str, Tensor], path: Path) -> ModelCard:
    """Find the model whose weights the tensors are.

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
    if _by_card_alone(tensors):
        card = _card_beside(path)
        if card is None:
            raise ModelError(
                "the card.json of a specialist beside its weights", str(path), "keep both together"
            )
        require_architecture(card, tensors, path)
        return card
    cards = _of_architecture(tensors, path)
    if (card := _card_beside(path)) is not None:
        require_architecture(card, tensors, path)
        return card
    if len(cards) == 1:
        return cards[0]
    for card in cards:
        asset = weights_of(card)
        same_size = path.is_file() and path.stat().st_size == asset.size
        if same_size and assets.sha256_of(path) == asset.sha256:
            return card
    for card in cards:
        if path.name == weights_of(card).file:
            return card
    cards = [card for card in cards if not weights_of(card).bundled]
    if len(cards) == 1:
        return cards[0]
    names = [card.name for card in cards]
    raise ModelError(
        f"one model out of {', '.join(names)}, which share an architecture",
        f"{path}, which could be any of them",
        f"say which with NAME=FILE, for example --model {names[-1]}={path}",
    )


def build_network(card: ModelCard, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Build the network of `card` with the weights of `tensors`, ready for inference.

    Raises:
        ModelError: the tensors belong to another architecture, or are not all finite.
    """
    require_architecture(card, tensors, path)
    require_numbers(tensors, path)
    network = family_named(card.family).network(card.build)
    own = {k: v for k, v in network.state_dict().items() if k.endswith(_INDEX)}
    network.load_state_dict({**tensors, **own})
    return network.eval().requires_grad_(False)


def require_architecture(card: ModelCard, tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not of a model's architecture.

    Args:
        card: of the model.
        tensors: names and shapes count; what the network does not use must be left out.
        path: where they come from, for messages.

    Raises:
        ModelError: the tensors belong to another architecture, or to none.
    """
    if is_external(card):
        return  # its own program builds the network
    if card.family == SPECIALIST or _by_card_alone(tensors):
        if card.family != SPECIALIST or _architecture(card.family, card.build) != _shapes(tensors):
            raise ModelError(
                f"the weights of {card.name}, a {card.base or card.build.partition(':')[0]}",
                f"{path} with other tensors",
                "use the files of one training together",
            )
        return
    cards = _of_architecture(tensors, path)
    if (card.family, card.build) not in {(other.family, other.build) for other in cards}:
        raise ModelError(
            f"a checkpoint of {card.name}",
            f"{path}, one of {' or '.join(other.name for other in cards)}",
            "name that model instead",
        )


def is_external(card: ModelCard) -> bool:
    """Tell whether a model runs in a program of its own."""
    return card.family == SPECIALIST and card.build.startswith("nnunet")


def _by_card_alone(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are of a family whose networks come in any size, as their cards say."""
    return family_named(SPECIALIST).claims(tensors)


def _are_published(file: Path, card: ModelCard) -> bool:
    """Whether a file has the very weights that a card is about."""
    asset = assets.manifest().get(card.weights)
    return asset is not None and file.is_file() and assets.sha256_of(file) == asset.sha256


def _trained_on(path: Path) -> TrainedOn | None:
    """What the weights have seen, by the card beside them, under whatever name they are used."""
    try:
        beside = _card_beside(path)
    except ModelError:  # of other weights
        return None
    return beside.trained_on if beside else None


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
        said = parse_json(beside.read_bytes())
    except (OSError, ValueError):
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
    if cards := _fitting(tensors):
        return cards
    own = [card for card in CARDS.values() if family_named(card.family).claims(tensors)]
    cards = own or _plain_cards()
    expected = {card.name: _architecture(card.family, card.build) for card in cards}
    name = min(expected, key=lambda n: len(expected[n].items() ^ got.items()))
    wrong = sorted(k for k, v in expected[name].items() if got.get(k) != v)
    extra = sorted(got.keys() - expected[name].keys())
    there = Counter(got.values())
    named_otherwise = (
        n for n, e in expected.items() if Counter(e.values()) <= there and e.keys() - got.keys()
    )
    if alike := next(named_otherwise, None):
        unknown = sorted(got.keys() - expected[alike].keys())
        raise ModelError(
            "a checkpoint under the official names of SAM",
            f"{path}: all tensors of {alike} by their shapes, but under other names "
            f"(first: {(unknown or extra or wrong)[0]})",
            "save the network's own state_dict under its official names, adapters merged",
        )
    first = (wrong or extra)[0]
    raise ModelError(
        f"a checkpoint of {', '.join(CARDS)}",
        f"{path}: closest to {name}, but {len(wrong)} tensors are missing or of another shape and "
        f"{len(extra)} are unknown (first: {first})",
        "use a checkpoint of a supported architecture",
    )


def _fitting(tensors: Mapping[str, Tensor]) -> list[ModelCard]:
    got = _shapes(tensors)
    claiming = [card for card in CARDS.values() if family_named(card.family).claims(tensors)]
    return [card for card in claiming if _architecture(card.family, card.build) == got]


def _one_of(networks: list[Found], path: Path) -> Found:
    """The network that a file with several is used for.

    Raises:
        ModelError: several fit, differ, and none lies where training loops put the weights proper.
    """
    fitting = [one for one in networks if _fitting(_cleaned(one.tensors))] or networks
    first, *others = fitting
    differing = [one for one in others if not same_tensors(one.tensors, first.tensors)]
    if not differing:
        return first
    usual = [one for one in fitting if set(one.place.split(".")) <= _USUAL]
    places = [one.place or "the top" for one in fitting]
    if len(usual) == 1:
        log.warning(
            "%s holds several networks, under %s: %s was taken",
            path.name,
            ", ".join(places),
            usual[0].place or "that at the top",
        )
        return usual[0]
    raise ModelError(
        "a checkpoint with one network",
        f"{path} with {len(fitting)} that differ, under {', '.join(places)}",
        "save the one you mean alone, with torch.save",
    )


def require_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that cannot be computed with.

    Args:
        tensors: whose shapes have been found to be right.
        path: where they come from, for the message.

    Raises:
        ModelError: NaN or infinite values, or values that are no real numbers in memory.
    """
    used = {k: v for k, v in tensors.items() if not k.endswith(_NO_WEIGHTS)}
    for name, value in used.items():
        dense = value.layout is torch.strided and value.device.type == "cpu"
        if not dense or not value.is_floating_point():
            raise ModelError(
                "weights that are floating-point numbers",
                f"{path}: {name} of {value.dtype}",
                "save the weights as float32, float16 or bfloat16",
            )
    broken = [name for name, value in used.items() if not is_finite(value)]
    if broken:
        raise ModelError(
            "weights that are finite numbers",
            f"{path} with NaN or infinite values in {len(broken)} of {len(used)} tensors "
            f"(first: {broken[0]})",
            "take a checkpoint from before the training went wrong, or get the file again",
        )


@cache
def _architecture(family: str, build: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors; none is allocated."""
    with torch.device("meta"):
        return _shapes(family_named(family).network(build).state_dict())


@cache
def _vocabulary() -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """Names of the modules that every network of a family has, and all names between dots in any."""
    modules: dict[str, frozenset[str]] = {}
    words = {
        word
        for family in families()
        if not family.extra
        for name in family.unused
        for word in name.split(".")
    }
    for card in _plain_cards():
        names = [name.split(".") for name in _architecture(card.family, card.build)]
        own = frozenset(name[0] for name in names if len(name) > 1)
        modules[card.family] = modules.get(card.family, own) & own
        words.update(word for name in names for word in name)
    return tuple(modules.values()), frozenset(words)


def _plain_cards() -> list[ModelCard]:
    """The models whose networks need no package beyond the core."""
    return [card for card in CARDS.values() if not family_named(card.family).extra]


def _claiming(tensors: Mapping[str, Tensor]) -> Family | None:
    return next((family for family in families() if family.claims(tensors)), None)


def _cleaned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of the first family that claims them; as they are where none does."""
    family = _claiming(tensors)
    return dict(tensors) if family is None else family.clean(tensors)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without the counters that batch normalisation keeps for training."""
    return {k: tuple(v.shape) for k, v in tensors.items() if not k.endswith(_NO_WEIGHTS)}
