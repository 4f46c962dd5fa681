"""The export for official code: one checkpoint under the official names, in the official wrapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from promptseg._version import __version__
from promptseg.assets import sha256_of
from promptseg.export.folder import CARD, atomic_folder
from promptseg.models.checkpoint import build_network, open_checkpoint
from promptseg.models.official import official_content
from promptseg.provenance import DISCLAIMER

__all__ = ["FILE", "export_official"]

FILE = "model.pt"


def export_official(
    model: str | Path, folder: Path, overwrite: bool, quiet: bool
) -> dict[str, Any]:
    """Write model.pt, which the loader of the official code takes, and card.json.

    Args:
        model: NAME, FILE, or NAME=FILE.
        folder: to be made; it appears whole or not at all.
        overwrite: whether an earlier export may be replaced.
        quiet: no progress bar while weights are fetched.

    Returns:
        The content of `card.json`.

    Raises:
        ModelError: a checkpoint that cannot be used, or of a model that no official code loads.
        OutputError: the folder exists or cannot be written.
    """
    card, file, tensors = open_checkpoint(model, quiet)
    build_network(card, tensors, file)  # refuses what is not exactly its own
    content = official_content(tensors, card)
    with atomic_folder(folder, overwrite) as new:
        with (new / FILE).open("wb") as stream:  # no path: its name would go into the archive
            torch.save(content, stream)
        files = {FILE: {"bytes": (new / FILE).stat().st_size, "sha256": sha256_of(new / FILE)}}
        said = {
            "model": card.name,
            "title": card.title,
            "base": card.base,
            "notice": DISCLAIMER,
            "weights_sha256": sha256_of(file),
            "licence": card.licence,
            "source": card.source,
            "citation": card.citation,
            "prompts": sorted(card.prompts),
            "format": "official",
            "versions": {"promptseg": __version__, "torch": torch.__version__},
            "files": files,
            "parity": {"checked": False, "why": "the same tensors; nothing is computed"},
        }
        (new / CARD).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    return said
