"""Validation with phrases: how well a model finds what they name, and says that there is nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from promptseg.datasets.collection import Collection, Sample, masks_of
from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.metrics.overlap import count
from promptseg.models.protocol import Phrase, SlicePrompt, WordModel
from promptseg.simulate import generator
from promptseg.train.validate import ABSENT, TEXT, Answer, Validation, pooled
from promptseg.train.vocabulary import Vocabulary, named

__all__ = ["validate_phrases"]


def validate_phrases(
    predictor: Predictor,
    collection: Collection,
    samples: Sequence[Sample],
    vocabulary: Vocabulary,
    *,
    max_names: int = 3,
    seed: int = 0,
    progress: Callable[[int, str], None] | None = None,
) -> Validation:
    """Ask a model for what is on images, and for what is not.

    All instances found of a name on the image are compared with all there are; a name that is not on it
    counts 1 where nothing is found, else 0. Where the model takes boxes, every object is asked for by
    its exact box, too. The model is asked in the words of the table of terms, as users' phrases are.

    Args:
        predictor: the model.
        collection: where the samples are from.
        samples: what it is asked about.
        vocabulary: names there are.
        max_names: names asked for on an image that are on it, those of the largest area, and as many
            that are not, drawn by chance.
        seed: of that.
        progress: is told the samples done and the present one.

    Raises:
        InputError: a model that takes no words, or a sample that cannot be read.
    """
    asked = copy.copy(predictor)
    asked.card = replace(predictor.card, prompts=predictor.card.prompts | {"text"})
    if not isinstance(predictor.model, WordModel):
        raise InputError("a model that takes words", predictor.card.name, "name such a model")
    found = Validation()
    for number, sample in enumerate(samples):
        if progress:
            progress(number, sample.key)
        picture, labels = collection.read(sample, keep_8bit=predictor.card.keep_8bit)
        (embedding,) = asked.encode([picture], sample.pixel)
        found.embeddings[sample.key] = pooled(embedding)
        about = (sample.key, sample.dataset, sample.modality, sample.patient)
        there = named(sample)
        largest = sorted(there, key=lambda name: (-sum(t.area for t in there[name]), name))
        for name in largest[:max_names]:
            truth = np.logical_or.reduce(masks_of(there[name], labels))
            (answer,) = asked.find(embedding, [Phrase(name)])
            mask = np.zeros_like(truth)
            for instance in answer.instances:
                mask |= instance.mask
            dsc = count(truth, mask).dsc
            found.answers.append(Answer(*about, name, TEXT, 0, dsc, answer.best))
            if "box" not in predictor.card.prompts:
                continue
            for target, one in zip(there[name], masks_of(there[name], labels), strict=True):
                x0, y0, x1, y1 = (float(v) for v in target.box)
                seen = asked.decode(embedding, [SlicePrompt((x0, y0, x1, y1))])
                dsc = count(one, seen.masks[0]).dsc
                place = (f"{name} {target.id}@{target.layer}", "box", 0)
                found.answers.append(Answer(*about, *place, dsc, float(seen.iou[0])))
        absent = vocabulary.absent(sample)
        chance = generator(seed, sample.key, ABSENT)
        for k in sorted(chance.permutation(len(absent))[:max_names]):
            (answer,) = asked.find(embedding, [Phrase(absent[k])])
            right = float(not answer.instances)
            found.answers.append(Answer(*about, absent[k], ABSENT, 0, right, answer.best))
    if progress:
        progress(len(samples), "")
    return found
