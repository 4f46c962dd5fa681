"""What each model is: its card. Importing this module loads no network and no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from promptseg.errors import ModelError
from promptseg.models.preprocess import Preprocessing

__all__ = [
    "AUTO",
    "CARDS",
    "FINETUNED",
    "ModelCard",
    "TrainedOn",
    "find_card",
    "finetuned_card",
    "model_file",
    "models_that_take",
]

AUTO = "auto"  # the user's word for the model that `promptseg.models.choose` picks
FINETUNED = "promptseg model 1"
"""What a card.json of fine-tuned weights calls itself; see `promptseg.train.release`."""

_KINDS = frozenset({"box", "point", "mask"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST = 500  # characters of a text that a card states
_CHECKPOINTS = (".pt", ".pth", ".safetensors", ".ckpt", ".bin")
_SAM = "https://github.com/facebookresearch/segment-anything"
_SAM_CITATION = "Kirillov et al., Segment anything, ICCV 2023"
_MEDICAL = "CT, MR, PET, US, XR, MG, OCT, endoscopy, dermoscopy, fundus, pathology, microscopy"
_PHOTOGRAPHS = "natural photographs; no medical images"
_WEAK_OUTSIDE = "weak boundaries and low contrast, as it never saw medical images"


class TrainedOn(NamedTuple):
    """Where the hashes of the images are that fine-tuned weights have seen.

    Attributes:
        file: a training manifest beside the weights (see `promptseg.datasets.manifest`).
        sha256: of that file.
        images: how many it lists.
    """

    file: str
    sha256: str
    images: int


@dataclass(frozen=True)
class ModelCard:
    """A model's facts.

    Attributes:
        name: what users call it.
        title: one line.
        build: name of its constructor in `promptseg.models.families.sam`.
        preprocessing: how slices become its input.
        prompts: kinds of prompts it was trained for.
        modalities: what it was trained on.
        weights: asset with its weights.
        licence: of the weights.
        source: where they come from.
        citation: what to cite.
        weak_at: what not to trust it with.
        low_quality: predicted IoU below which an object is flagged (docs/quality.md).
        propagate: how its masks reach the next slice unless told otherwise (see
            `promptseg.segment.projection`).
        margin, margin_pixels: what is added to their boxes on the way.
        keep_8bit: whether its training left 8-bit pictures unchanged (see `promptseg.intensity`).
        base: name of the model it was fine-tuned from; empty if it is one of `CARDS` itself.
        trained_on: the images of the fine-tuning; None where nobody has listed them.
    """

    name: str
    title: str
    build: str
    preprocessing: Preprocessing
    prompts: frozenset[str]
    modalities: str
    weights: str
    licence: str
    source: str
    citation: str
    weak_at: str
    low_quality: float = 0.0
    propagate: str = "box"
    margin: float = 0.05
    margin_pixels: float = 1.0
    keep_8bit: bool = False
    base: str = ""
    trained_on: TrainedOn | None = None


# How models that take mask prompts follow an object: measured with mobile-sam over all modes
# (benchmarks/volumes.py --modes), taken over for the others.
_BY_MASK: dict[str, Any] = {"propagate": "box+mask", "margin": 0.0, "margin_pixels": 0.0}


CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="lite-medsam",
            title="LiteMedSAM: MedSAM distilled into TinyViT, 256 pixels (the default)",
            build="build_lite_medsam",
            preprocessing=Preprocessing(256, "minmax"),
            prompts=frozenset({"box"}),
            modalities=_MEDICAL,
            weights="lite-medsam",
            licence="Apache-2.0",
            source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
            citation="Ma et al., Nature Communications 15, 654 (2024)",
            low_quality=0.74,
            keep_8bit=True,
            weak_at="vessels and other thin or branching targets, rings, scattered lesions, targets "
            "of a few pixels at 256 pixels per side",
        ),
        ModelCard(
            name="mobile-sam",
            title="MobileSAM: general-domain SAM with TinyViT, 1024 pixels",
            build="build_mobile_sam",
            preprocessing=Preprocessing(1024, "imagenet"),
            prompts=frozenset({"box", "point", "mask"}),
            modalities=_PHOTOGRAPHS,
            weights="mobile-sam",
            licence="Apache-2.0",
            source="https://github.com/ChaoningZhang/MobileSAM",
            citation="Zhang et al., arXiv:2306.14289 (2023)",
            low_quality=0.77,
            **_BY_MASK,
            weak_at=_WEAK_OUTSIDE,
        ),
        *(
            ModelCard(
                name=f"sam-vit-{letter}",
                title=f"SAM with ViT-{letter.upper()}: general domain, 1024 pixels",
                build=f"build_sam_vit_{letter}",
                preprocessing=Preprocessing(1024, "imagenet"),
                prompts=frozenset({"box", "point", "mask"}),
                modalities=_PHOTOGRAPHS,
                weights=f"sam-vit-{letter}",
                licence="Apache-2.0",
                source=_SAM,
                citation=_SAM_CITATION,
                **_BY_MASK,
                weak_at=_WEAK_OUTSIDE + slow,
            )
            for letter, slow in (
                ("b", ""),
                ("l", "; slow without a GPU"),
                ("h", "; slow without a GPU"),
            )
        ),
        ModelCard(
            name="medsam-vit-b",
            title="MedSAM: SAM's ViT-B trained on 1.5 million medical masks, boxes only",
            build="build_sam_vit_b",
            preprocessing=Preprocessing(1024, "minmax", "squash"),
            prompts=frozenset({"box"}),
            modalities=_MEDICAL,
            weights="medsam-vit-b",
            licence="Apache-2.0",
            source="https://github.com/bowang-lab/MedSAM",
            citation="Ma et al., Nature Communications 15, 654 (2024)",
            weak_at="clicks and mask prompts; vessels and other thin or branching targets; boxes that "
            "hold several objects",
        ),
        ModelCard(
            name="medicosam-vit-b",
            title="MedicoSAM: SAM's ViT-B trained on medical images with every kind of prompt",
            build="build_sam_vit_b",
            preprocessing=Preprocessing(1024, "imagenet"),
            prompts=frozenset({"box", "point", "mask"}),
            modalities="CT, MR, PET, US, XR, endoscopy, dermoscopy, fundus, microscopy (SA-Med2D-20M)",
            weights="medicosam-vit-b",
            licence="MIT (of the repository that publishes them)",
            source="https://github.com/computational-cell-analytics/medico-sam",
            citation="Archit et al., MedicoSAM, IEEE Transactions on Medical Imaging (2025)",
            weak_at="thin or branching targets from a single box",
            **_BY_MASK,
        ),
    )
}


def find_card(name: str) -> ModelCard:
    """The card of a named model.

    Raises:
        ModelError: no such model; close names are offered.
    """
    if name in CARDS:
        return CARDS[name]
    close = get_close_matches(name, CARDS, n=1)
    raise ModelError(
        f"a model out of {', '.join(CARDS)}, {AUTO}, or a checkpoint file",
        repr(name),
        f"did you mean {close[0]}?" if close else "see promptseg models",
    )


def finetuned_card(said: Mapping[str, Any], where: str) -> ModelCard:
    """The card of a model that was fine-tuned, from the card.json beside its weights.

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
    if not isinstance(prompts, list) or not prompts or not _KINDS.issuperset(map(str, prompts)):
        raise ModelError(
            f"prompts out of {', '.join(sorted(_KINDS))}", f"{where}: prompts {prompts!r:.100}"
        )
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
    )
    if set(card.propagate.split("+")) <= kinds:
        return card
    if "box" in kinds:
        return replace(
            card, propagate="box", margin=ModelCard.margin, margin_pixels=ModelCard.margin_pixels
        )
    return replace(card, propagate="points" if "point" in kinds else "none")


def model_file(model: str | Path) -> tuple[str | None, Path | None]:
    """What the user's choice of a model says: NAME, FILE, NAME=FILE, or auto.

    Returns:
        The model's name, if it says one, and the checkpoint file, if it says one; auto says neither.

    Raises:
        ModelError: neither a known name nor a file.
    """
    text = str(model)
    if text == AUTO:
        return None, None
    if text in CARDS:
        return text, None
    name, equals, file = text.partition("=")
    if equals and name in CARDS:
        if not file:
            raise ModelError("NAME=FILE", repr(text), "write the path of a checkpoint after =")
        return name, Path(file).expanduser()
    path = Path(model).expanduser()
    if path.is_file() or (path.suffix in _CHECKPOINTS and not equals):
        return None, path
    return find_card(name).name, None


def models_that_take(kinds: Collection[str]) -> list[str]:
    """Names of the models trained for all these kinds of prompts."""
    return [card.name for card in CARDS.values() if set(kinds) <= card.prompts]


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


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    """A line of text that a file states."""
    text = said.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise ModelError(
            f"{key} as one line of at most {_LONGEST} characters", f"{where}: {text!r:.100}"
        )
    return text
