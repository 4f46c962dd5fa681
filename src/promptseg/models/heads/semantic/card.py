"""Cards of semantic models: what each is, in words and numbers. No torch, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from promptseg.errors import ModelError
from promptseg.models.card import ModelCard, TrainedOn
from promptseg.models.cards import CARDS
from promptseg.models.heads.semantic.specialists import SPECIALISTS
from promptseg.parsing import name_fault, parse_json
from promptseg.terms.words import parts_of

__all__ = ["CARD", "SEMANTIC", "ClassFacts", "SemanticCard", "is_semantic", "semantic_card"]

SEMANTIC = "promptseg semantic model 1"
"""What the card.json of a semantic model calls itself."""

CARD = "card.json"
WEIGHTS = ("model.safetensors", "model.pth")
_LARGEST = 8 << 20  # bytes
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class ClassFacts:
    """A class; its number is its place among the others, from 1, as background is 0.

    Attributes:
        name: as the training data call it.
        colour: (red, green, blue) from 0 to 255.
        code: of SNOMED CT; "" where the table of terms does not know the name.
        meaning: of the code.
    """

    name: str
    colour: tuple[int, int, int]
    code: str = ""
    meaning: str = ""

    @classmethod
    def of(cls, name: str, colour: tuple[int, int, int]) -> ClassFacts:
        """Return the facts of a class, with the code that the table of terms has for its name."""
        known = parts_of(name).term
        return cls(name, colour, known.code if known else "", known.meaning if known else "")


@dataclass(frozen=True)
class SemanticCard:
    """A semantic model's facts.

    Attributes:
        name: what it is called.
        base: model of the SAM family whose encoder it has, and whose preprocessing; or a specialist.
        classes: without the background.
        depth: slices of a patch; 1 where it sees single slices.
        halo: slices at either end of a patch that only help those between.
        side: of the encoder's square input.
        features, doublings, transposed, adapters: see `promptseg.models.heads.semantic.network.Shape`.
        sigmoid: whether it was trained on probabilities in place of logits, as the published code does.
        modalities: of its training.
        licence: of the weights.
        citation: what to cite.
        trained_on: the images of its training; None where nobody has listed them.
    """

    name: str
    base: str
    classes: tuple[ClassFacts, ...]
    depth: int = 1
    halo: int = 0
    side: int = 1024
    features: int = 64
    doublings: int = 4
    transposed: bool = False
    adapters: bool = False
    sigmoid: bool = False
    modalities: str = "not stated"
    licence: str = "not stated"
    citation: str = ""
    trained_on: TrainedOn | None = field(default=None, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return tuple(each.name for each in self.classes)

    @property
    def sided(self) -> tuple[str, ...]:
        """Return names of the classes that say left or right, which a mirror image turns into each
        other.
        """
        return tuple(name for name in self.names if parts_of(name).side is not None)

    @property
    def sam(self) -> ModelCard:
        """Return the card of the model whose encoder it has, or of the specialist that it is."""
        return CARDS[self.base] if self.base in CARDS else SPECIALISTS[self.base]

    def to_json(self) -> dict[str, Any]:
        """Return the part of card.json that describes the model itself, not its training data."""
        said = asdict(self)
        said.pop("trained_on")
        return said


def is_semantic(model: str | Path) -> bool:
    """Tell whether the model that a user names, by its folder or weights in it, is a semantic one."""
    found = _beside(Path(str(model).rpartition("=")[2]).expanduser())
    return found is not None and found[1].get("schema") == SEMANTIC


def semantic_card(model: str | Path) -> tuple[SemanticCard, Path, dict[str, Any]]:
    """Return the card of a semantic model, its weights, and all that card.json says.

    Args:
        model: folder of a training, or a file of weights in it.

    Raises:
        ModelError: no such model, or a card that says what none can say.
    """
    path = Path(model).expanduser()
    found = _beside(path)
    if found is None or found[1].get("schema") != SEMANTIC:
        raise ModelError(
            "the folder of a semantic model, with its card.json", str(path), "see docs/semantic.md"
        )
    file, said = found
    return _card(said, file.with_name(CARD)), file, said


def _beside(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The weights that a path means, and the content of the card.json beside them."""
    try:
        if path.is_dir():
            file = next((path / n for n in WEIGHTS if (path / n).is_file()), None)
        else:
            file = path if path.is_file() else None
        if file is None:
            return None
        card = file.with_name(CARD)
        if not card.is_file() or card.stat().st_size > _LARGEST:
            return None
        said = parse_json(card.read_bytes())
    except (OSError, ValueError):
        return None
    return (file, said) if isinstance(said, dict) else None


def _card(said: Mapping[str, Any], where: Path) -> SemanticCard:
    """The card of a file, which is not trusted."""
    model = said.get("model")
    try:
        if not isinstance(model, dict):
            raise ValueError("no model")
        classes = tuple(_class(each) for each in model["classes"])
        if not 1 <= len(classes) <= _MOST_CLASSES:
            raise ValueError(f"{len(classes)} classes")
        if len({each.name for each in classes}) < len(classes):
            raise ValueError("a class twice")
        texts = ("name", "base", "modalities", "licence", "citation")
        known: dict[str, Any] = {k: _text(model[k]) for k in texts}
        numbers = {"depth": 256, "halo": 64, "side": 4096, "features": 512, "doublings": 4}
        known |= {k: _number(model[k], most) for k, most in numbers.items()}
        switches = ("transposed", "adapters", "sigmoid")
        known |= {k: bool(model[k]) for k in switches}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("the card of a semantic model", f"{where} ({error})") from None
    encoders = {name for name, card in CARDS.items() if card.family == "sam"}
    if known["base"] not in encoders | set(SPECIALISTS):
        raise ModelError(
            "a semantic model whose encoder is of the SAM family",
            f"{where}: {known['base']!r}",
            "use the version of promptseg that wrote it",
        )
    if not known["depth"] > 2 * known["halo"]:
        raise ModelError("a patch that is more than its halo", f"{where}: {known['depth']} slices")
    return SemanticCard(classes=classes, trained_on=_listed(said, where), **known)


def _class(said: Any) -> ClassFacts:
    red, green, blue = (_number(v, 255) for v in said["colour"])
    name = str(said["name"])
    if fault := name_fault(name):
        raise ValueError(f"a class named {fault}")
    return ClassFacts(name, (red, green, blue), str(said["code"])[:64], str(said["meaning"])[:64])


def _listed(said: Mapping[str, Any], where: Path) -> TrainedOn | None:
    data = said.get("data")
    entry = data.get("trained_on") if isinstance(data, Mapping) else None
    values = [entry.get(k) for k in TrainedOn._fields] if isinstance(entry, Mapping) else []
    match values:
        case [str(file), str(sha256), int(images)] if Path(file).name == file:
            return TrainedOn(str(where.parent / file), sha256, images)
    return None


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 500 or not value.isprintable():
        raise ValueError(f"{value!r:.60}")
    return value


def _number(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.60} where 0 to {most} is meant")
    return value
