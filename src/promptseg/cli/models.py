"""`promptseg models`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from promptseg.assets import Asset, manifest
from promptseg.cli.options import parse
from promptseg.models.cards import CARDS, ModelCard

__all__ = ["ModelsCommand", "run"]


@dataclass
class ModelsCommand:
    """List the models: the prompts they were trained for, what they saw and what they are bad at."""

    json: bool = False
    """Print the cards as JSON."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(ModelsCommand, "models", argv)
    if command.json:
        print(json.dumps([_facts(card) for card in CARDS.values()], indent=2))
        return 0
    for card in CARDS.values():
        facts = _facts(card)
        print(facts.pop("name"))
        for key, value in facts.items():
            print(f"  {key:<12}{value}")
        print()
    return 0


def _facts(card: ModelCard) -> dict[str, str]:
    fit = "longest side" if card.preprocessing.fit == "longest" else "both sides"
    return {
        "name": card.name,
        "what": card.title,
        "prompts": ", ".join(sorted(card.prompts)),
        "trained on": card.modalities,
        "weak at": card.weak_at,
        "input": f"{card.preprocessing.size} pixels ({fit}), {card.preprocessing.scaling} scaling",
        "weights": _weights(manifest()[card.weights]),
        "licence": card.licence,
        "source": card.source,
        "cite": card.citation,
    }


def _weights(asset: Asset) -> str:
    if not asset.sources:
        return f"{asset.file}, which you get from the source; then --model {asset.name}=FILE"
    return f"{asset.file}, {asset.size / 1e6:.0f} MB, sha256 {asset.sha256[:12]}..."
