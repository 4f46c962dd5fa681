"""Results of a training of classes: weights of encoder and decoder together, and a card.

model.pth            a state_dict under the names of torch-em's UNETR
model.safetensors    the same tensors, with the main facts as metadata
trained_on.csv       hashes of the images it has seen
card.json, card.md   what the weights are, for programs and for people
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg import assets
from promptseg._version import __version__
from promptseg.datasets.manifest import ManifestRow
from promptseg.formats.files import atomic_path
from promptseg.models.heads.semantic.card import CARD, SEMANTIC, SemanticCard, semantic_card
from promptseg.provenance import DISCLAIMER
from promptseg.train.pages import dataset_table, easy_start, number, reported_on, table
from promptseg.train.release import plain, storable, write_safetensors, write_seen
from promptseg.train.verdict import Verdict

__all__ = ["release_classes"]


def release_classes(
    tensors: Mapping[str, Tensor],
    card: SemanticCard,
    facts: Mapping[str, Any],
    folder: Path,
    verdict: Verdict,
    seen: Sequence[ManifestRow] = (),
) -> SemanticCard:
    """Write the weights and their card, which comes last.

    Args:
        tensors: of the network.
        card: of the model.
        facts: as of `promptseg.train.release.release`.
        folder: where to; earlier files of these names are replaced.
        verdict: of the training.
        seen: hashes of the images of the training.

    Returns:
        The card, as it is read back.

    Raises:
        InputError: weights that are not finite.
        OutputError: the folder cannot be written.
    """
    stored = storable(tensors, half=False)
    said = plain(dict(facts))
    data, judged = said.pop("data"), verdict.to_json()
    data = {**data, **write_seen(seen, folder)}
    content: dict[str, Any] = {
        "schema": SEMANTIC,
        "model": card.to_json(),
        "notice": DISCLAIMER,
        "training": said,
        "data": data,
        "verdict": {k: judged[k] for k in ("outcome", "reasons")},
        "metrics": {k: judged[k] for k in ("comparisons", "modalities", "classes", "macro")},
        "promptseg": __version__,
        "files": {},
    }
    stream = io.BytesIO()  # no path: its name would go into the archive
    torch.save(stored, stream)
    with atomic_path(folder / "model.pth") as path:
        path.write_bytes(stream.getbuffer())
    named = {
        "name": card.name,
        "base": card.base,
        "classes": ", ".join(card.names),
        "licence": card.licence,
        "notice": DISCLAIMER,
        "verdict": verdict.outcome,
    }
    write_safetensors(folder / "model.safetensors", stored, {"format": "pt", **named})
    content["files"] = {
        name: {"size": (folder / name).stat().st_size, "sha256": assets.sha256_of(folder / name)}
        for name in ("model.pth", "model.safetensors")
    }
    with atomic_path(folder / "card.md") as path:
        path.write_text("\n\n".join(_page(content)) + "\n", encoding="utf-8")
    with atomic_path(folder / CARD) as path:
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return semantic_card(folder)[0]


def _page(card: Mapping[str, Any]) -> Iterator[str]:
    """The paragraphs of card.md."""
    model, notice = card["model"], str(card["notice"])
    yield f"# {model['name']}"
    what = "single images" if model["depth"] == 1 else f"stacks of {model['depth']} slices"
    yield (
        f"Classes without prompts, of {what}: the encoder of {model['base']} and a decoder. "
        f"**{notice[0].upper()}{notice[1:]}.**"
    )
    yield table(
        ["number", "class", "SNOMED CT", "colour"],
        [
            [
                k,
                c["name"],
                f"{c['code']} {c['meaning']}".strip() or "-",
                "#{:02x}{:02x}{:02x}".format(*tuple(c["colour"])),
            ]
            for k, c in enumerate(model["classes"], 1)
        ],
    )
    yield table(
        ["fact", "value"],
        [
            ["modalities", model["modalities"]],
            ["licence of the weights", model["licence"]],
            ["input", f"{model['side']} pixels a side, as for {model['base']}"],
            ["trained on", "probabilities, as published" if model["sigmoid"] else "logits"],
            ["cite", model["citation"]],
            ["made by", f"promptseg {card['promptseg']}"],
        ],
    )
    yield "## Does it do better?"
    outcome = card["verdict"]["outcome"]
    reasons = "\n".join(f"- {reason}" for reason in card["verdict"]["reasons"])
    yield f"**{outcome[0].upper()}{outcome[1:]}.**\n\n{reasons}"
    if doubt := easy_start(card["training"]):
        yield doubt
    rows = [
        [name, c["objects"], c["patients"], number(c["before"]), number(c["after"])]
        for name, each in card["metrics"]["classes"].items()
        for c in each
    ]
    yield table(["class", "images", "patients", "DSC before", "DSC after"], rows)
    yield f"{reported_on(card['training'])} A class is scored on the images that show it.".lstrip()
    yield "## Use"
    yield "```bash\npromptseg segment --model . -i IMAGE -o CLASSES.nii.gz\n```"
    yield "## Data"
    for warning in card["data"].get("warnings", []):
        yield f"> **Warning.** {warning}."
    yield dataset_table(card["data"])
    yield "## Training"
    yield f"```json\n{json.dumps(card['training'], indent=1)}\n```"
