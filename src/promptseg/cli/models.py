"""`promptseg models`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from promptseg.assets import Asset
from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.evaluate.report.published import SOURCES, published
from promptseg.models.cards import (
    CARDS,
    DEFAULT,
    WHY_DEFAULT,
    ModelCard,
    find_card,
    models_that_take,
    weights_of,
)
from promptseg.prompts.kinds import Kind
from promptseg.terms.words import words_of

if TYPE_CHECKING:
    from promptseg.models.choose import Choice

__all__ = ["ModelsCommand", "run"]


@dataclass
class ModelsCommand:
    """List the models: the prompts they were trained for, what they saw and what they are bad at."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Models; all if none is named."""

    words: bool = False
    """Say instead what a model that takes words is known to understand."""

    recommend: bool = False
    """Say instead which model --model auto takes, and what was measured."""

    modality: str | None = None
    """With --recommend: of the image (default: all modalities pooled)."""

    prompt: Kind = "box"
    """With --recommend: kind of prompt."""

    volume: bool = False
    """With --recommend: for following objects through volumes, from a prompt on one slice."""

    json: bool = False
    """Print as JSON."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(ModelsCommand, "models", argv)
    if command.recommend:
        _recommend(command)
        return 0
    cards = [find_card(name) for name in dict.fromkeys(command.names)] or list(CARDS.values())
    if command.words:
        _words(cards, command)
        return 0
    if command.json:
        print(json.dumps([_facts(card) for card in cards], indent=2))
        return 0
    for card in cards:
        facts = _facts(card)
        print(facts.pop("name"))
        for key, value in facts.items():
            print(
                textwrap.fill(
                    f"  {key:<12}{value}", 110, subsequent_indent=" " * 14, break_on_hyphens=False
                )
            )
        print()
    return 0


def _words(cards: list[ModelCard], command: ModelsCommand) -> None:
    """What models that take words were trained on, with codes where the table of terms has them."""
    able = [card for card in cards if "text" in card.prompts]
    if not able:
        raise InputError(
            f"a model that takes words, such as {models_that_take({'text'})[0]}",
            ", ".join(card.name for card in cards),
            "name one",
        )
    found = {card.name: [(word, words_of(word).term) for word in card.words] for card in able}
    if command.json:
        coded = {
            name: [{"word": word, "code": term.code if term else None} for word, term in pairs]
            for name, pairs in found.items()
        }
        print(json.dumps(coded, indent=2))
        return
    for name, pairs in found.items():
        print(f"{name} takes any words; known to have been trained on:")
        for word, term in pairs:
            print(
                f"  {word:<24}{f'{term.meaning}, SNOMED CT {term.code}' if term else ''}".rstrip()
            )
        if not pairs:
            print("  nothing medical (general photographs)")
        print()


def _recommend(command: ModelsCommand) -> None:
    from promptseg.image import MODALITIES
    from promptseg.models.choose import choose

    if command.modality not in (None, *MODALITIES):
        raise InputError(f"a modality out of {', '.join(MODALITIES)}", repr(command.modality))
    choice = choose({command.prompt}, command.modality, "3d" if command.volume else "2d")
    if command.json:
        print(json.dumps({"model": choice.model, **choice.to_json()}, indent=2))
        return
    print(choice)
    for line in _measured(choice):
        print(line)


def _measured(choice: Choice) -> list[str]:
    """The evidence of a choice as a table."""
    if not choice.evidence:
        return []
    head = f"{'model':<16}{'mean DSC':>9}{'median':>8}{'quartiles':>14}{'objects':>9}{'cases':>7}"
    return [
        head,
        *(
            f"{row.model:<16}{row.mean_dsc:>9.3f}{row.median:>8.3f}"
            f"{f'{row.q1:.3f}-{row.q3:.3f}':>14}{row.objects:>9}{row.cases:>7}"
            f"  {row.source}, {row.date}"
            for row in choice.evidence
        ),
    ]


def _facts(card: ModelCard) -> dict[str, str]:
    fit = "longest side" if card.preprocessing.fit == "longest" else "both sides"
    default = {"default": f"because {WHY_DEFAULT}"} if card.name == DEFAULT else {}
    figures = "; ".join(_published(card))
    return {
        "name": card.name,
        "what": card.title,
        **default,
        "prompts": ", ".join(sorted(card.prompts)),
        "trained on": card.modalities,
        "weak at": card.weak_at,
        "input": f"{card.preprocessing.size} pixels ({fit}), {card.preprocessing.scaling} scaling",
        "weights": _weights(weights_of(card)),
        "licence": card.licence,
        "source": card.source,
        "cite": card.citation,
        **({"published": figures} if figures else {}),
    }


def _published(card: ModelCard) -> Iterator[str]:
    """Mean DSC that papers report for a model on their own data, a text for each kind of prompt."""
    tables: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for f in published() if card.published_as else []:
        pooled = f.model == card.published_as and not f.target and f.statistic == "mean"
        if pooled and f.metric == "dsc":
            where = f"{f.modality or f.validation} {f.value:.3f}"
            about = f.source, f.kind, f.prompt
            tables.setdefault(about, {}).setdefault(f.table, []).append(where)
    cited = ""
    for (source, kind, prompt), found in tables.items():
        table, values = next(iter(found.items()))  # a later table may repeat the rows of an earlier
        head = "" if source == cited else f"mean DSC on its own data of {SOURCES[source]}. "
        cited = source
        yield f"{head}{', '.join(filter(None, (kind, prompt)))}: {', '.join(values)} ({table})"


def _weights(asset: Asset) -> str:
    if asset.bundled:
        return f"{asset.file}, {asset.size / 1e6:.0f} MB, in the package"
    if not asset.sources:
        return f"{asset.file}, which you get from the source; then --model {asset.name}=FILE"
    return f"{asset.file}, {asset.size / 1e6:.0f} MB, sha256 {asset.sha256[:12]}..."
