"""New words for a head that knows others: what is learnt from, what learns, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError, PromptError
from promptseg.inference.predictor import Predictor
from promptseg.models.families.sam.model import SamEmbedding
from promptseg.models.families.words.model import WordsModel
from promptseg.models.families.words.network import WordsHead
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.models.protocol import Phrase
from promptseg.terms.phrases import class_word
from promptseg.terms.words import words_of
from promptseg.train.words.features import WordFeatures
from promptseg.train.words.images import WordImage, cut_out, whole_image
from promptseg.train.words.learn import inside_of

__all__ = [
    "Scores",
    "area_under_curve",
    "changes",
    "choose_refining",
    "made_room",
    "new_words",
    "scored",
    "taught_images",
]

REFINING = ("none", "box", "box+mask")
"""What the base may be asked with after the coarse mask."""

_SEVERAL = 1.5  # objects of an image from which on they are told apart


def new_words(
    samples: Sequence[Sample], known: Vocabulary, renamed: Mapping[str, tuple[str, ...]]
) -> dict[str, Concept]:
    """Map each class of a collection to the word that it becomes; classes of one name become one word,
    with the modalities and synonyms of all.

    Args:
        samples: of all parts.
        known: words that the model has.
        renamed: class -> word and synonyms; where given, only these classes are taught.

    Raises:
        InputError: a class that is not there, a word that is known already, or nothing to teach.
        ModelError: too many words, or two for one phrase.
    """
    classes = dict.fromkeys(target.name for sample in samples for target in sample.targets)
    if unknown := [name for name in renamed if name not in classes]:
        raise InputError(
            f"--word for classes out of {', '.join(classes)}",
            ", ".join(unknown),
            "see promptseg curate",
        )
    found: dict[str, Concept] = {}
    for name in renamed or classes:
        phrase, *synonyms = renamed.get(name, (class_word(name),))
        if (old := known.known(phrase)) is not None:
            if renamed:
                raise InputError(
                    "a word that the model does not know yet",
                    f"{phrase!r}, its {old.name!r}",
                    "call it otherwise: what is known is not changed",
                )
            continue
        _require_askable(name, phrase)
        others = [other for other, concept in found.items() if concept.name == phrase]
        own = {name, *others}
        of = [s for s in samples if any(t.name in own for t in s.targets)]
        modalities = tuple(sorted({s.modality for s in of} - {"unknown"}))
        said = [*(found[others[0]].synonyms if others else ()), *synonyms]
        concept = Concept(phrase, modalities, tuple(dict.fromkeys(said)))
        found |= dict.fromkeys((*others, name), concept)
    if not found:
        raise InputError(
            "a class that is no word of the model yet",
            ", ".join(classes),
            "name it with --word CLASS=WORD",
        )
    known.with_more({c.name: c for c in found.values()}.values())
    return found


def _require_askable(name: str, phrase: str) -> None:
    """Refuse a word that nobody could ask for: an empty one, or one of both sides."""
    try:
        words_of(phrase)
    except PromptError as error:
        raise InputError(
            f"{error.expected}, for the class {name!r}",
            error.got,
            "call it otherwise with --word CLASS=WORD",
        ) from None


def made_room(head: WordsHead, vocabulary: Vocabulary, seed: int) -> WordsHead:
    """Return a copy of a head that has rows for the new words, too."""
    fresh, first = deepcopy(head), len(head.vocabulary)
    torch.manual_seed(seed)
    start = WordsHead()
    rows = slice(first, len(vocabulary))
    with torch.no_grad():
        typical = head.queries[:first]
        for name, values in fresh.named_parameters():
            if name.startswith("own_"):
                values[rows] = dict(start.named_parameters())[name][rows]
        spread = typical.std(0) if first > 1 else torch.full_like(typical[0], 0.5)
        noise = torch.randn(len(vocabulary) - first, typical.shape[1])
        fresh.queries[rows] = typical.mean(0) + spread * noise
    fresh.about = head.about._replace(vocabulary=vocabulary)
    return fresh.requires_grad_(True)


def taught_images(
    collection: Collection,
    samples: Mapping[str, Sequence[Sample]],
    vocabulary: Vocabulary,
    taught: Mapping[str, Concept],
    pieces: int,
    seed: int,
) -> Iterator[tuple[WordImage, str]]:
    """Yield whole images and pieces of them, each with its part of the data.

    Args:
        collection: where the samples are from.
        samples: part -> samples.
        vocabulary: old words and new ones.
        taught: class -> its word.
        pieces: of an image without each word, and with it.
        seed: of the pieces.
    """
    places = {name: vocabulary.names.index(concept.name) for name, concept in taught.items()}
    labelled = _labelled([sample for each in samples.values() for sample in each], places)
    for part, each in samples.items():
        for sample in each:
            indices = _looked_for(sample, labelled[sample.dataset], places)
            if not indices:
                continue
            image = whole_image(collection, sample, places, indices)
            yield image, part
            for word in indices:
                for piece in cut_out(image, word, pieces, seed):
                    yield replace(piece, key=f"{piece.key} of {word}"), part


def _labelled(
    samples: Sequence[Sample], places: Mapping[str, int]
) -> dict[str, dict[int, set[str]]]:
    """Each dataset's words, and the classes of it that are meant by each."""
    found: dict[str, dict[int, set[str]]] = {}
    for sample in samples:
        words = found.setdefault(sample.dataset, {})
        for name in (*(target.name for target in sample.targets), *(sample.absent or ())):
            if name in places:
                words.setdefault(places[name], set()).add(name)
    return found


def _looked_for(
    sample: Sample, labelled: Mapping[int, set[str]], places: Mapping[str, int]
) -> list[int]:
    """The words of a dataset that were looked for on a sample: all, unless it says which were not
    found; then those, and what is on it.
    """
    if sample.absent is None:
        return sorted(labelled)
    there = {places.get(target.name) for target in sample.targets}
    absent = {*sample.absent}
    return sorted(word for word, names in labelled.items() if word in there or names <= absent)


@dataclass(frozen=True)
class Scores:
    """Scores of one word.

    Attributes:
        images: whole ones with it.
        dsc: mean DSC of the union on them, nothing found counted as 0; None without any.
        auc: area under the curve of presence, images and pieces with it against those without; None
            where there is one kind alone.
        found: part of the images with it on which something was found.
    """

    images: int
    dsc: float | None
    auc: float | None
    found: float | None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {"images": self.images, "dsc": self.dsc, "auc": self.auc, "found": self.found}


def scored(
    predictor: Predictor,
    features: WordFeatures,
    images: Mapping[str, WordImage],
    word: int,
    part: str,
    at: float = 0.5,
) -> Scores:
    """Score a word on one part.

    Args:
        predictor: with the head.
        features: embeddings of `images` and of pieces.
        images: whole ones by their keys.
        word: its place.
        part: which.
        at: presence from which on something is found.
    """
    model = predictor.model
    assert isinstance(model, WordsModel), "a model for words"
    name = model.head.vocabulary.names[word]
    sure, there, dice, hits = [], [], [], []
    for number, facts in enumerate(features.facts):
        if facts.part != part or word not in facts.known:
            continue
        one = torch.from_numpy(features.embedding(number))
        with torch.inference_mode():
            seen = model.head(one, torch.tensor([word]), inside_of([facts.extent]))
        sure.append(float(seen.presence[0, 0]))
        there.append(word in facts.there)
        if facts.key in images and word in facts.there:
            image = images[facts.key]
            transform = predictor.card.preprocessing.input_transform(*image.size, image.pixel)
            (found,) = predictor.find(SamEmbedding(one, transform), [Phrase(name)], at)
            mask = np.zeros(image.size, bool)
            for instance in found.instances:
                mask |= instance.mask
            truth = image.mask(word)
            dice.append(2 * float((mask & truth).sum()) / max(1, int(mask.sum() + truth.sum())))
            hits.append(bool(mask.any()))
    area = area_under_curve(np.array(sure), np.array(there, bool))
    return Scores(
        len(dice),
        float(np.mean(dice)) if dice else None,
        None if area is None else area,
        float(np.mean(hits)) if hits else None,
    )


def area_under_curve(scores: NDArray[np.float64], there: NDArray[np.bool_]) -> float | None:
    """Tell how often one with the thing has a higher score than one without it; ties count half."""
    yes, no = scores[there], scores[~there]
    if not len(yes) or not len(no):
        return None
    higher = (yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean()
    return float(higher)


def choose_refining(
    predictor: Predictor,
    features: WordFeatures,
    images: Mapping[str, WordImage],
    word: int,
    part: str,
) -> str:
    """Choose how the base refines the masks of a word best, by DSC on a part; "none" where it is not
    there.
    """
    model = predictor.model
    assert isinstance(model, WordsModel), "a model for words"
    about = model.head.about
    name, means = about.vocabulary.names[word], {}
    for how in REFINING:
        model.head.about = about._replace(vocabulary=about.vocabulary.refined({name: how}))
        means[how] = scored(predictor, features, images, word, part, 0.0).dsc or 0.0
    model.head.about = about
    return max(REFINING, key=lambda how: means[how])


def several(features: WordFeatures, images: Mapping[str, WordImage], word: int) -> bool:
    """Tell whether images with a word have several objects of it, as a rule."""
    counts = [
        len(np.unique(image.objects[image.labels == word + 1]))
        for image in images.values()
        if (image.labels == word + 1).any()
    ]
    return bool(counts) and float(np.mean(counts)) >= _SEVERAL


def changes(before: WordsHead, after: WordsHead, features: WordFeatures, some: int = 20) -> float:
    """Return the largest change of any answer about an old word, presence or mask, on some images."""
    old = torch.arange(len(before.vocabulary))
    largest = 0.0
    for number in range(min(some, len(features))):
        one = torch.from_numpy(features.embedding(number))
        where = inside_of([features.facts[number].extent])
        with torch.inference_mode():
            first, then = before(one, old, where), after(one, old, where)
        for a, b in zip(first, then, strict=True):
            largest = max(largest, float((a - b).abs().max()))
    return largest
