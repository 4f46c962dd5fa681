"""`promptseg models`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from promptseg.assets import manifest
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
    asset = manifest()[card.weights]
    return {
        "name": card.name,
        "what": card.title,
        "prompts": ", ".join(sorted(card.prompts)),
        "trained on": card.modalities,
        "weak at": card.weak_at,
        "input": f"{card.preprocessing.size} pixels, {card.preprocessing.scaling} scaling",
        "weights": f"{asset.file}, {asset.size / 1e6:.0f} MB, sha256 {asset.sha256[:12]}...",
        "licence": card.licence,
        "source": card.source,
        "cite": card.citation,
    }
