"""card.md: what fine-tuned weights are, for the person who is about to use them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from promptseg.train.pages import dataset_table, number, reported_on, table

__all__ = ["card_page", "seen_images"]


def card_page(card: Mapping[str, Any]) -> str:
    """Return the model card as a page in Markdown.

    Args:
        card: content of card.json; see `promptseg.train.release`.
    """
    return "\n\n".join(_paragraphs(card)) + "\n"


def _paragraphs(card: Mapping[str, Any]) -> Iterator[str]:
    start = card["started_from"]
    yield f"# {card['name']}"
    yield f"{card['base']}, fine-tuned with the strategy {card['strategy']}. **{_notice(card)}**"
    yield table(
        ["fact", "value"],
        [
            ["prompts", ", ".join(card["prompts"])],
            ["trained with prompts", ", ".join(card["asked_with"])],
            ["modalities", card["modalities"]],
            ["licence of the weights", card["licence"]],
            ["images it has seen", seen_images(card)],
            ["started from", f"{start['model']}, SHA-256 {start['sha256'] or 'not recorded'}"],
            ["cite", card["citation"]],
            ["made by", f"promptseg {card['promptseg']}"],
        ],
    )
    yield "## Does it do better?"
    yield from _verdict(card)
    yield "## Use"
    yield (
        f"```bash\npromptseg segment --model model.safetensors -i IMAGE -o MASK {_example(card)}\n"
        "```"
    )
    yield (
        "Keep card.json beside the weights: by it promptseg knows how images become the network's "
        f"input ({_preprocessing(card['preprocessing'])}). `model.pth` is a plain state_dict under "
        f"{_whose_names(card)}; other tools must do the same preprocessing. Of the kinds of prompts "
        "above, those that the training did not ask with are there because the validation ruled out "
        "that they lost more than 2 points of DSC."
    )
    yield "## Data"
    yield from _data(card["data"])
    yield "## Training"
    facts = card["training"]
    yield table(["setting", "value"], [[k, _value(v)] for k, v in _flat(facts)]) if facts else "-"
    yield "## Files"
    yield table(
        ["file", "bytes", "SHA-256"],
        [[name, f["size"], f["sha256"]] for name, f in card["files"].items()],
    )
    if card["stored_as"] == "float16":
        yield "Stored as float16. The numbers above were measured before that rounding."


def _notice(card: Mapping[str, Any]) -> str:
    notice = str(card["notice"])
    return notice[0].upper() + notice[1:] + "."


def _verdict(card: Mapping[str, Any]) -> Iterator[str]:
    verdict, metrics = card["verdict"], card["metrics"]
    if verdict is None:
        yield "Not validated: nobody knows."
        return
    outcome = verdict["outcome"]
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    yield f"**{outcome[0].upper()}{outcome[1:]}.**\n\n{reasons}"
    rows = [
        [
            *(c["prompt"], "yes" if c["asked"] else "no", c["objects"], c["patients"]),
            *(number(c[k]) for k in ("before", "after")),
            f"{number(c['low'], '+.3f')} to {number(c['high'], '+.3f')}",
            number(c["p"], ".2g"),
        ]
        for c in metrics["comparisons"]
    ]
    header = ["prompt", "asked with", "objects", "patients", "DSC before", "DSC after"]
    yield table([*header, "95 % interval of the difference", "p"], rows)
    modalities = metrics["modalities"]
    prompts = [c["prompt"] for c in metrics["comparisons"]]
    yield table(
        ["modality", *prompts],
        [
            [name, *(f"{number(c['before'])} → {number(c['after'])}" for c in each)]
            for name, each in modalities.items()
        ],
    )
    yield f"{reported_on(card['training'])} ".lstrip() + (
        "Prompts were simulated from expert masks: exact boxes, random clicks. People draw less "
        "exactly."
    )


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    if not data:
        yield "Not recorded."
        return
    for warning in data.get("warnings", []):
        yield f"> **Warning.** {warning}."
    yield f"Collection with SHA-256 {data.get('collection_sha256', 'not recorded')}."
    yield dataset_table(data)
    yield table(
        ["part", "modality", "images", "objects", "patients"],
        [
            [part, modality, n["images"], n["objects"], n["patients"]]
            for part, modalities in data.get("parts", {}).items()
            for modality, n in modalities.items()
        ],
    )


def _whose_names(card: Mapping[str, Any]) -> str:
    if "text" in card["asked_with"]:
        return "the names of `Sam3Model` in transformers, and loads there"
    if "network" in card:
        return "names of promptseg's own"
    return f"the names of the official code, and loads there as a checkpoint of {card['base']}"


def _example(card: Mapping[str, Any]) -> str:
    if "text" in card["asked_with"]:
        return f"--text {shlex.quote(next(iter(card.get('words') or ['WORDS'])))}"
    return "--box X0,Y0,X1,Y1" if "box" in card["prompts"] else "--point X,Y,+"


def _preprocessing(steps: Mapping[str, Any]) -> str:
    fit = "longest side" if steps["fit"] == "longest" else "both sides"
    scaling = {"minmax": "minimum and maximum", "halves": "to -1..1"}.get(
        steps["scaling"], "ImageNet's mean and deviation"
    )
    return f"{fit} to {steps['size']} pixels, scaled by {scaling}"


def seen_images(card: Mapping[str, Any]) -> str:
    """Return what a card says of the images that its weights have seen: how many, and where listed."""
    listed = card["data"].get("trained_on")
    if listed is None:
        return "not listed"
    return f"{listed['images']:,}, by hash in {listed['file']}: keep it beside the weights"


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
