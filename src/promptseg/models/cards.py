"""The models there are, by name. Importing this module loads no network and no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import ModelError, UnsupportedPromptError, did_you_mean
from promptseg.models.card import ModelCard, TrainedOn
from promptseg.models.elsewhere import NOT_HERE
from promptseg.models.families import families
from promptseg.models.heads.semantic.specialists import SPECIALISTS, boxed_card
from promptseg.prompts.kinds import KINDS

if TYPE_CHECKING:
    from promptseg.assets.store import Asset

__all__ = [
    "AUTO",
    "CARDS",
    "DEFAULT",
    "FINETUNED",
    "WHY_DEFAULT",
    "ModelCard",
    "TrainedOn",
    "find_card",
    "finetuned_card",
    "is_bundled",
    "model_file",
    "models_that_take",
    "require_prompts",
    "weights_of",
]

AUTO = "auto"  # the user's word for the model that `promptseg.models.choose` picks
FINETUNED = "promptseg model 1"
"""What a card.json of fine-tuned weights calls itself; see `promptseg.train.release`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST = 500  # characters of a text that a card states
_CHECKPOINTS = (".pt", ".pth", ".safetensors", ".ckpt", ".bin")

DEFAULT = "lite-medsam"
WHY_DEFAULT = (
    "it was trained on medical images of all kinds, with boxes as people draw them, is the quickest "
    "(256 pixels a side, where most others have 1024) and small, and its licence is open; it is not "
    "the most accurate: with exact boxes mobile-sam is better on most data sets (docs/recommend.md), "
    "and clicks need another model"
)
"""Why a model is what runs where none is named."""

CARDS: dict[str, ModelCard] = {card.name: card for family in families() for card in family.cards}


def find_card(name: str) -> ModelCard:
    """Find the facts of a model by its name.

    A card says how images are prepared for the network, which prompts and modalities it was trained
    with, and where its weights come from under which licence. No weights are loaded.

    Args:
        name: as `promptseg models` lists it. Checkpoint files have no card here.

    Returns:
        The card that the registry holds.

    Raises:
        ModelError: no model has this name, or it has no weights; the message offers the closest names.

    Examples:
        >>> from promptseg.models import find_card
        >>> find_card("medsam-vit-b").preprocessing.size
        1024
    """
    if name in CARDS:
        return CARDS[name]
    if name in SPECIALISTS:
        raise ModelError(
            "a model that has learnt something",
            f"{name}, which has no weights of its own",
            "train it with promptseg train --preset semantic-2d, or --preset box-channel to be told by "
            "boxes, then name the folder",
        )
    if name in NOT_HERE:
        said, other = NOT_HERE[name]
        raise ModelError("a model that there is a network of here", said, f"use {other}")
    raise ModelError(
        f"a model out of {', '.join(CARDS)}, {AUTO}, or a checkpoint file",
        repr(name),
        did_you_mean(name, CARDS) or "see promptseg models",
    )


def finetuned_card(said: Mapping[str, Any], where: str) -> ModelCard:
    """Build the card of a model that was fine-tuned, from the card.json beside its weights.

    What decides how the network is built and fed comes from the base model; the file only says which
    one that is, and what else is new: the name, the kinds of prompts, the modalities and the licence.

    Args:
        said: content of the file, which is not trusted.
        where: the file, for messages.

    Raises:
        ModelError: an unknown base, or a field of another form.
    """
    texts = {key: _text(said, key, where) for key in ("name", "base", "modalities", "licence")}
    name, base = texts["name"], CARDS.get(texts["base"])
    if texts["base"] in SPECIALISTS:
        base = _boxed(said, texts["base"], where)
    if base is None:
        raise ModelError(
            f"a base model out of {', '.join(CARDS)}",
            f"{where}: {texts['base']!r}",
            "use the version of promptseg that wrote it",
        )
    if not _NAME.fullmatch(name) or name in (AUTO, *CARDS):
        raise ModelError(
            "a name of its own, of letters, digits, dots and dashes", f"{where}: name {name!r}"
        )
    prompts = said.get("prompts")
    taken = [k for k in KINDS if k != "text" or k in base.prompts]  # none teaches others words
    if not isinstance(prompts, list) or not prompts or not {*taken}.issuperset(map(str, prompts)):
        raise ModelError(f"prompts out of {', '.join(taken)}", f"{where}: prompts {prompts!r:.100}")
    kinds = frozenset(prompts)
    card = replace(
        base,
        name=name,
        title=f"{name}: {base.name}, fine-tuned",
        prompts=kinds,
        modalities=texts["modalities"],
        licence=texts["licence"],
        source=f"fine-tuned from {base.name} ({base.source})",
        weak_at=f"what it was not trained on; its base: {base.weak_at}",
        base=base.name,
        trained_on=_trained_on(said, where),
        words=_words(said, where) or base.words,
        seen_in=_seen_in(said, where) or base.seen_in,
        kinds=(),  # its card does not say
        untested=False,
        calibration=(),
    )
    if set(card.propagate.split("+")) <= kinds | {"memory"}:
        return card
    if "box" in kinds:
        return replace(
            card, propagate="box", margin=ModelCard.margin, margin_pixels=ModelCard.margin_pixels
        )
    return replace(card, propagate="points" if "point" in kinds else "none")


def _boxed(said: Mapping[str, Any], base: str, where: str) -> ModelCard:
    """The card of a specialist for boxes, whose network has a size of its own."""
    network = said.get("network")
    if isinstance(network, Mapping):
        match network.get("side"), network.get("features"):
            case [int(side), int(features)] if 64 <= side <= 2048 and 0 <= features <= 512:
                return boxed_card(base, side, features)
    raise ModelError("network: side and features of a specialist", f"{where}: {network!r:.100}")


def model_file(model: str | Path) -> tuple[str | None, Path | None]:
    """Parse the user's choice of a model: NAME, FILE, NAME=FILE, the folder of a training, or auto.

    Returns:
        The model's name, if it says one, and the checkpoint file, if it says one; auto says neither.

    Raises:
        ModelError: neither a known name nor a file.
    """
    text = str(model)
    if text == AUTO:
        return None, None
    if text in CARDS or text in SPECIALISTS:
        return text, None
    name, equals, file = text.partition("=")
    if equals and name in CARDS:
        if not file:
            raise ModelError("NAME=FILE", repr(text), "write the path of a checkpoint after =")
        return name, Path(file).expanduser()
    if equals and name in NOT_HERE:
        find_card(name)
    path = Path(model).expanduser()
    if path.joinpath("card.json").is_file():  # the folder of a training
        for weights in (path / "model.safetensors", path / "model.pth"):
            if weights.is_file():
                return None, weights
    if (
        path.is_file()
        or path.joinpath("config.json").is_file()
        or (path.suffix in _CHECKPOINTS and not equals)
    ):
        return None, path
    return find_card(name).name, None


def models_that_take(kinds: Collection[str]) -> list[str]:
    """Return the names of the models trained for all these kinds of prompts.

    Examples:
        >>> from promptseg.models import models_that_take
        >>> "mobile-sam" in models_that_take({"point", "mask"})
        True
    """
    return [card.name for card in CARDS.values() if set(kinds) <= card.prompts]


def require_prompts(card: ModelCard, kinds: Collection[str]) -> None:
    """Refuse kinds of prompts that a model was not trained for.

    Args:
        card: of the model.
        kinds: of `promptseg.prompts.kinds.KINDS`.

    Raises:
        UnsupportedPromptError: names a model that takes them, one that the package brings first.

    Examples:
        >>> from promptseg.models.cards import find_card, require_prompts
        >>> require_prompts(find_card("mobile-sam"), {"point"})
    """
    missing = sorted(set(kinds) - card.prompts)
    if missing:
        others = sorted(models_that_take(kinds), key=lambda name: not is_bundled(name))
        raise UnsupportedPromptError(
            f"prompts {card.name} was trained for ({', '.join(sorted(card.prompts))})",
            f"a {' and a '.join(missing)}",
            (f"use --model {others[0]}, which takes it, or " if others else "")
            + "--force to try all the same",
        )


def is_bundled(name: str) -> bool:
    """Tell whether the package brings the weights of a model, so that nothing has to be fetched.

    Examples:
        >>> from promptseg.models.cards import is_bundled
        >>> is_bundled("promptseg-lite"), is_bundled("mobile-sam")
        (True, False)
    """
    from promptseg.assets.store import asset_named  # help texts do without

    weights = CARDS[name].weights
    return bool(weights) and asset_named(weights).bundled


def weights_of(card: ModelCard) -> Asset:
    """Return the asset with a model's weights; without sources where only the user can bring them."""
    from promptseg.assets.store import Asset, asset_named  # help texts do without

    if card.weights:
        return asset_named(card.weights)
    file = f"weights of {card.name}"
    return Asset(card.name, "weights", file, card.licence, card.source, card.citation)


def _trained_on(said: Mapping[str, Any], where: str) -> TrainedOn | None:
    """Where the images of a training are listed; cards written before there were lists have none."""
    data = said.get("data")
    entry = data.get("trained_on") if isinstance(data, Mapping) else None
    if entry is None:
        return None
    values = [entry.get(k) for k in TrainedOn._fields] if isinstance(entry, Mapping) else []
    match values:
        case [str(file), str(sha256), int(images)] if (
            Path(file).name == file and file.isprintable()
        ):
            return TrainedOn(str(Path(where).parent / file), sha256, images)
    raise ModelError("data: trained_on with file, sha256 and images", f"{where}: {entry!r:.100}")


def _words(said: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The phrases that a file says its weights were trained on; older ones say none."""
    words = said.get("words", [])
    usual = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not usual or not all(0 < len(w) <= _LONGEST and w.isprintable() for w in words):
        raise ModelError("words as a list of phrases", f"{where}: {words!r:.100}")
    return tuple(words)


def _seen_in(said: Mapping[str, Any], where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The modalities of the images that a file's weights were trained on with each phrase."""
    listed = said.get("words_seen_in", {})
    if not isinstance(listed, Mapping) or not all(isinstance(m, list) for m in listed.values()):
        raise ModelError("words_seen_in: phrases with modalities each", f"{where}: {listed!r:.100}")
    return tuple((word, tuple(map(str, modalities))) for word, modalities in listed.items())


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    """A line of text that a file states."""
    text = said.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise ModelError(
            f"{key} as one line of at most {_LONGEST} characters", f"{where}: {text!r:.100}"
        )
    return text
