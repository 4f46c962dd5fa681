"""A semantic model of few parameters, on disk."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from promptseg import assets
from promptseg.models.heads.semantic.card import SEMANTIC, ClassFacts, SemanticCard
from promptseg.models.heads.semantic.file import shape_of
from promptseg.models.heads.semantic.network import SemanticNetwork, build_semantic

CARD = SemanticCard(
    name="two-classes",
    base="mobile-sam",
    classes=(ClassFacts.of("disc", (230, 75, 53)), ClassFacts.of("liver", (77, 187, 213))),
    side=64,
    features=4,
    doublings=2,
)


def write_model(folder: Path, card: SemanticCard = CARD) -> SemanticNetwork:
    """Write random weights with their card; returns the network."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = build_semantic(shape_of(card)).eval()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
    said = {
        "schema": SEMANTIC,
        "model": card.to_json(),
        "files": {file.name: {"size": file.stat().st_size, "sha256": assets.sha256_of(file)}},
    }
    (folder / "card.json").write_text(json.dumps(said))
    return network
