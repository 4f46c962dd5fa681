"""Card of a model: what it is, in words and numbers. No torch, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from promptseg.models.calibration import IouMap
from promptseg.models.preprocess import Preprocessing

__all__ = ["ModelCard", "TrainedOn"]


class TrainedOn(NamedTuple):
    """Place of the hashes of the images that fine-tuned weights have seen.

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
        build: which network of its family it is.
        preprocessing: how slices become its input.
        prompts: kinds of prompts it was trained for.
        modalities: what it was trained on.
        weights: asset with its weights; empty where the user brings the file.
        licence: of the weights.
        source: where they come from.
        citation: what to cite.
        weak_at: what not to trust it with.
        low_quality: predicted IoU below which an object is flagged (docs/quality.md).
        calibration: how the predicted IoU of its own weights is corrected where it is reported; kinds
            of prompts without a map are reported as the network says. Other weights of its
            architecture have none.
        propagate: how its masks reach the next slice unless told otherwise (see
            `promptseg.segment.projection`).
        margin, margin_pixels: what is added to their boxes on the way.
        keep_8bit: whether its training left 8-bit images unchanged (see `promptseg.intensity`).
        base: name of the model it was fine-tuned from; empty if it is a model of its own.
        trained_on: the images of the fine-tuning; None where nobody has listed them.
        words: phrases it is known to have been trained on, of models that take words.
        seen_in: some of these with the modalities of the images that they were trained on with.
        kinds: of the images that it was trained on, "picture", "volume" or "video", where that matters.
        published_as: what the papers whose figures come with the package call it; empty where they do
            not have it (see `promptseg.evaluate.report.published`).
        untested: whether nobody here has seen its weights, so that they are loaded by structure alone.
        family: which family builds it, one of `promptseg.models.families.FAMILIES`.

    Examples:
        >>> from promptseg.models import find_card
        >>> card = find_card("lite-medsam")
        >>> (card.licence, sorted(card.prompts), card.preprocessing.size)
        ('Apache-2.0', ['box'], 256)
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
    calibration: tuple[IouMap, ...] = ()
    propagate: str = "box"
    margin: float = 0.05
    margin_pixels: float = 1.0
    keep_8bit: bool = False
    base: str = ""
    trained_on: TrainedOn | None = None
    words: tuple[str, ...] = ()
    seen_in: tuple[tuple[str, tuple[str, ...]], ...] = ()
    kinds: tuple[str, ...] = ()
    published_as: str = ""
    untested: bool = False
    family: str = "sam"
