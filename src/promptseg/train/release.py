"""Results that a training hands over: weights under SAM's own names, and a card that describes them.

    model.pth            a plain state_dict: loads in the official code of the base model
    model.safetensors    the same tensors, with the main facts as metadata
    semantic.safetensors the joint semantic decoder, if one was trained
    trained_on.csv       hashes of the images it has seen, so that an evaluation on them is found out
    card.json, card.md   what the weights are, for programs and for people

`promptseg segment --model model.pth` reads card.json, and so knows prompts, preprocessing and licence.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg import assets
from promptseg._version import __version__
from promptseg.datasets.collection import Collection, Sample
from promptseg.datasets.description import is_open_licence
from promptseg.datasets.manifest import ManifestRow, write_manifest
from promptseg.errors import InputError
from promptseg.formats.files import atomic_path
from promptseg.models.cards import FINETUNED, ModelCard, finetuned_card
from promptseg.models.checkpoint import (
    CARD,
    SPECIALIST,
    identify,
    read_checkpoint,
    require_architecture,
)
from promptseg.models.families.sam.family import UNUSED
from promptseg.models.official import official_tensors
from promptseg.provenance import DISCLAIMER
from promptseg.train.card_page import card_page
from promptseg.train.comparison import TOLERATED, needed_for
from promptseg.train.verdict import Verdict

__all__ = [
    "TRAINED_ON",
    "data_facts",
    "plain",
    "release",
    "storable",
    "trained_prompts",
    "write_safetensors",
    "write_seen",
]

TRAINED_ON = "trained_on.csv"


def release(
    state_dict: Mapping[str, Tensor],
    base: ModelCard,
    facts: Mapping[str, Any],
    folder: Path,
    *,
    asks: frozenset[str],
    verdict: Verdict | None = None,
    semantic: Mapping[str, Tensor] | None = None,
    half: bool = False,
    seen: Sequence[ManifestRow] = (),
    words: Sequence[str] = (),
    words_seen_in: Mapping[str, Sequence[str]] | None = None,
) -> ModelCard:
    """Write the weights and their card; the card comes last, so that it never describes others.

    Args:
        state_dict: of the `Sam`, adapters merged.
        base: the model that was fine-tuned, itself fine-tuned or not.
        facts: what is known of the training, as plain values. Of these, `name` (of the new model),
            `strategy` (a name, or settings with the name as `preset`), `licence` (of the new weights),
            `base_weights_sha256` and `data` (see `data_facts`) have places of their own on the card;
            the rest stands under "training", such as `reported_on`: which part was validated.
        folder: where to; earlier files of these names are replaced.
        asks: kinds of prompts that the training asked with.
        verdict: of the training, if it was validated.
        semantic: state of the joint semantic decoder.
        half: store float16 where the values allow it, which halves the files. What was measured are
            the weights before this rounding.
        seen: hashes of the images of the training (see `promptseg.train.seen`).
        words: what it was asked for by words.
        words_seen_in: some of these with the modalities of the images they are on.

    Returns:
        The new model's card, as `identify` reads it back.

    Raises:
        InputError: weights that are not finite.
        ModelError: tensors of another architecture than the base's, or a name that cannot be one.
        OutputError: the folder cannot be written.
    """
    used = {name: v for name, v in state_dict.items() if not name.startswith(UNUSED)}
    require_architecture(base, used, folder / "model.pth")
    tensors = storable(official_tensors(state_dict, base), half)
    decoder = None if semantic is None else storable(semantic, half)
    card = _content(base, facts, asks, verdict, half)
    if words:
        card["words"] = sorted({*base.words, *words} if base.words else words)
        seen_in: dict[str, set[str]] = {word: set(those) for word, those in base.seen_in}
        for word, those in (words_seen_in or {}).items():
            seen_in.setdefault(word, set()).update(those)
        if seen_in:
            card["words_seen_in"] = {word: sorted(those) for word, those in sorted(seen_in.items())}
    card["data"] = {**card["data"], **write_seen(seen, folder)}
    finetuned_card(card, CARD)  # refuses early what could not be read back
    metadata = _metadata(card)
    written = ["model.pth", "model.safetensors"]
    stream = io.BytesIO()  # no path: its name would go into the archive
    torch.save(tensors, stream)
    with atomic_path(folder / "model.pth") as path:
        path.write_bytes(stream.getbuffer())
    write_safetensors(folder / "model.safetensors", tensors, metadata)
    if decoder is not None:
        write_safetensors(folder / "semantic.safetensors", decoder, metadata)
        written.append("semantic.safetensors")
    card["files"] = {
        name: {"size": (folder / name).stat().st_size, "sha256": assets.sha256_of(folder / name)}
        for name in written
    }
    with atomic_path(folder / "card.md") as path:
        path.write_text(card_page(card), encoding="utf-8")
    with atomic_path(folder / CARD) as path:
        path.write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    cards = [identify(read_checkpoint(folder / name), folder / name) for name in written[:2]]
    return cards[0]


def write_seen(seen: Sequence[ManifestRow], folder: Path) -> dict[str, Any]:
    """Write the list of images that a training has seen, and return what its card says of it under
    "data"; without images there is neither.
    """
    if not seen:
        (folder / TRAINED_ON).unlink(missing_ok=True)  # of an earlier training
        return {}
    listed = write_manifest(seen, folder / TRAINED_ON, overwrite=True)
    about = {"file": TRAINED_ON, "sha256": assets.sha256_of(listed), "images": len(seen)}
    return {"trained_on": about}


def trained_prompts(
    base: ModelCard, asks: frozenset[str], verdict: Verdict | None
) -> frozenset[str]:
    """Return the kinds of prompts that the new model may be asked with.

    Those that the training asked with, and those of the base model where the validation rules out, with
    95 % confidence, that answers which need them have lost more than 2 points of DSC, and on no
    modality they have. Where nobody has measured, or on too few patients, they are left out: `--force`
    passes them on all the same.
    """
    kept = set(asks)
    if verdict is None or verdict.outcome == "too few to tell":
        return frozenset(kept)
    for kind in base.prompts - asks:
        overall = [c for c in verdict.comparisons if kind in needed_for(c.prompt)]
        parts = [c for m in verdict.modalities.values() for c in m if kind in needed_for(c.prompt)]
        fallen = any(c.difference < -TOLERATED for c in parts)
        if overall and all(c.kept for c in overall) and not fallen:
            kept.add(kind)
    return frozenset(kept)


def data_facts(collection: Collection, parts: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    """Return the facts on the data that the card has.

    Args:
        collection: the data.
        parts: "train", "validation", "report", ... -> the samples used for it.

    Returns:
        The collection's hash; images, objects and patients per part and modality; and of the datasets
        of all parts the source and the licences, with a warning where one is not open.
    """
    used = [s for samples in parts.values() for s in samples]
    datasets: dict[str, dict[str, Any]] = {}
    for sample in sorted(used, key=lambda s: (s.dataset, s.licence, s.source)):
        entry = datasets.setdefault(sample.dataset, {"licences": [], "sources": []})
        for key, value in (("licences", sample.licence), ("sources", sample.source)):
            if value not in entry[key] and (value or key == "licences"):
                entry[key].append(value)
    for entry in datasets.values():
        entry["open"] = all(is_open_licence(text) for text in entry["licences"])
    return {
        "collection_sha256": collection.sha256,
        "datasets": datasets,
        "parts": {name: _counts(samples) for name, samples in parts.items()},
        "warnings": [
            f"{name}: licence {', '.join(text or 'not stated' for text in entry['licences'])}: not "
            "known to be open; it may restrict what you do with weights trained on it"
            for name, entry in datasets.items()
            if not entry["open"]
        ],
    }


def plain(value: Any) -> Any:
    """Return a value as JSON takes it: paths as names, so that no card tells of a machine; None for
    NaN.
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(v) for v in value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _content(
    base: ModelCard,
    facts: Mapping[str, Any],
    asks: frozenset[str],
    verdict: Verdict | None,
    half: bool,
) -> dict[str, Any]:
    """The content of card.json, but for the files."""
    said = plain(dict(facts))
    data = said.pop("data", None) or {}
    strategy = said.pop("strategy", "custom")
    if isinstance(strategy, dict):  # a preset with what it sets
        said["strategy"] = strategy
        strategy = str(strategy.get("preset", "custom"))
    name = said.pop("name", None) or re.sub(r"[^A-Za-z0-9._-]+", "-", f"{base.name}-{strategy}")
    root = base.base or base.name
    own = sorted(data.get("parts", {}).get("train", {}).keys() - {"all"})
    licence = said.pop("licence", None) or base.licence + (
        "; training data under other terms, see card.md" if data.get("warnings") else ""
    )
    judged = None if verdict is None else verdict.to_json()
    return {
        "schema": FINETUNED,
        "name": name,
        "base": root,
        "started_from": {"model": base.name, "sha256": said.pop("base_weights_sha256", None)},
        "prompts": sorted(trained_prompts(base, asks, verdict)),
        "asked_with": sorted(asks),
        "modalities": (f"{', '.join(own)} (fine-tuning); before it: " if own else "")
        + base.modalities[:300],
        "licence": licence,
        "notice": DISCLAIMER,
        "strategy": strategy,
        "training": said,
        "data": data,
        "verdict": None if judged is None else {k: judged[k] for k in ("outcome", "reasons")},
        "metrics": None
        if judged is None
        else {k: judged[k] for k in ("comparisons", "modalities", "forgotten", "macro")},
        "preprocessing": {
            "size": base.preprocessing.size,
            "scaling": base.preprocessing.scaling,
            "fit": base.preprocessing.fit,
            "keep_8bit": base.keep_8bit,
        },
        **_network(base),
        "citation": base.citation,
        "stored_as": "float16" if half else "float32",
        "promptseg": __version__,
        "files": {},
    }


def _network(base: ModelCard) -> dict[str, Any]:
    """What else decides how the network is built: of specialists, which come in any size."""
    if base.family != SPECIALIST:
        return {}
    _, side, features = base.build.split(":")
    return {"network": {"side": int(side), "features": int(features)}}


def _metadata(card: Mapping[str, Any]) -> dict[str, str]:
    """What safetensors files say of themselves."""
    facts = {key: card[key] for key in ("name", "base", "licence", "notice", "strategy")}
    facts |= {
        "prompts": ", ".join(card["prompts"]),
        "base_weights_sha256": card["started_from"]["sha256"] or "",
        "collection_sha256": card["data"].get("collection_sha256", ""),
        "verdict": card["verdict"]["outcome"] if card["verdict"] else "not validated",
    }
    return {"format": "pt", **{key: str(value) for key, value in facts.items()}}


def storable(tensors: Mapping[str, Tensor], half: bool) -> dict[str, Tensor]:
    """Return copies of tensors on the CPU, whole and apart from each other.

    Raises:
        InputError: a tensor that is not finite.
    """
    stored = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            if not value.isfinite().all():
                raise InputError("finite weights", f"NaN or infinity in {name}", "train again")
            small = value.half() if half else None
            fits = small is not None and bool(small.isfinite().all())
            value = small if small is not None and fits else value.float()
        stored[name] = value.contiguous().clone()
    return stored


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    from safetensors.torch import save

    content = save(tensors, metadata)
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    # safetensors writes metadata in an order of chance; the same weights shall be the same file
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.write(memoryview(content)[start:])


def _counts(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Modality, and "all" -> images, objects and patients."""
    modalities = sorted({s.modality for s in samples})
    groups = {m: [s for s in samples if s.modality == m] for m in modalities}
    return {
        name: {
            "images": len(each),
            "objects": sum(len(s.targets) for s in each),
            "patients": len({(s.dataset, s.patient) for s in each}),
        }
        for name, each in {**groups, "all": samples}.items()
    }
