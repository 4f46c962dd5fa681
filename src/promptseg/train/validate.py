"""Validation of a model that answers prompts on some samples: before, during and after its training.

The simulated user is that of `promptseg evaluate` (MedicoSAM, II-E), and so is the DSC. What it draws
hangs on the sample, the object and the kind of prompt alone: every model sees the same first prompts,
and the same corrections of the same mistakes.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample, Target, masks_of
from promptseg.errors import InputError
from promptseg.formats.archive import open_archive
from promptseg.formats.files import atomic_path
from promptseg.inference.predictor import Predictor
from promptseg.metrics.overlap import count
from promptseg.models.checkpoint import SPECIALIST
from promptseg.models.protocol import Embedding, SlicePrompt
from promptseg.prompts.kinds import KINDS
from promptseg.simulate import first_prompt, generator, interactive_rounds
from promptseg.simulate.first import Clicking
from promptseg.train.propagating import propagated
from promptseg.train.sequences import Clip, propagatable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ABSENT",
    "CLASSES",
    "PROPAGATED",
    "SHIFT",
    "SHIFTED",
    "TEXT",
    "Answer",
    "Validation",
    "choose_validation",
    "pooled",
    "validate",
]

TEXT, ABSENT = "text", "absent"
"""A phrase for what is on the sample, and one for what is not; see `promptseg.train.asking`."""

PROPAGATED = "clip"
"""A box on a sample, propagated with memory through its neighbours."""
CLASSES = "classes"
"""No prompt: a class that is there, by a model of classes."""
SHIFTED = "shifted box"
SHIFT = 0.1
"""How far the box is shifted, as a share of its width or height."""

_EVERY_PROMPT = frozenset(KINDS) - {"text"}
_DIRECTIONS = ((-1, 0), (0, -1), (1, 0), (0, 1))  # left, up, right, down
_POOLED = 8
_SCHEMA = "promptseg validation 1"
_TEXTS = ("sample", "dataset", "modality", "patient", "target", "prompt")

Features = NDArray[np.float16]


class Answer(NamedTuple):
    """A model's answer to one prompt, with its DSC.

    Attributes:
        sample: key of the image.
        dataset, modality, patient: of the image.
        target: value of the object in its label layer; "value@layer" in layers above 0.
        prompt: it began with: "box" (exact), "point" (one click), or "shifted box", which there are
            four of: left, up, right, down; or "clip", a box propagated through the sample's neighbours,
            on which its DSC is; or "text", a phrase for all instances of a name, and "absent", one for
            what is not there, on which it is 1 where nothing was found; or "classes", nothing, where
            the target is the name of a class.
        step: rounds of corrections before it, from 0.
        dsc: 0..1.
        predicted_iou: the model's own estimate.
    """

    sample: str
    dataset: str
    modality: str
    patient: str
    target: str
    prompt: str
    step: int
    dsc: float
    predicted_iou: float


@dataclass
class Validation:
    """The answers of one model.

    Attributes:
        answers: one per prompt and step.
        embeddings: key of a sample -> its embedding, averaged to (C, 8, 8) float16.
        about: what was measured, in a word; kept with it.
    """

    answers: list[Answer] = field(default_factory=list)
    embeddings: dict[str, Features] = field(default_factory=dict)
    about: str = ""

    @property
    def corrections(self) -> int:
        """Return the number of rounds of corrections after the first prompt."""
        return max((a.step for a in self.answers), default=0)

    def means(self) -> dict[str, float]:
        """Return the mean DSC per kind of prompt: the mean over datasets of that over their objects.

        Returns:
            "box" and "point" before corrections, "box+8" and "point+8" after the last of 8 rounds; and
            "clip" where boxes were propagated; "text" and "absent" where phrases were asked with. Of a
            model of classes "classes" alone: the mean over datasets of the mean over their classes, so
            that rare ones count as much.
        """
        return _macro(self.answers, self.corrections)

    def means_by_modality(self) -> dict[str, dict[str, float]]:
        """Return `means` for each modality, of its samples alone."""
        groups: dict[str, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            groups[answer.modality].append(answer)
        return {name: _macro(groups[name], self.corrections) for name in sorted(groups)}

    def write(self, path: Path) -> None:
        """Write as one .npz; see `read`."""
        columns = {
            name: np.array([getattr(a, name) for a in self.answers], dtype=np.str_)
            for name in _TEXTS
        }
        if len({e.shape for e in self.embeddings.values()}) > 1:
            raise InputError("embeddings of one model", "some of different shapes")
        maps = np.array(list(self.embeddings.values()), dtype=np.float16)
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                allow_pickle=False,
                schema=np.array(_SCHEMA),
                about=np.array(self.about),
                step=np.array([a.step for a in self.answers], dtype=np.int64),
                dsc=np.array([a.dsc for a in self.answers], dtype=np.float64),
                predicted_iou=np.array([a.predicted_iou for a in self.answers], dtype=np.float64),
                keys=np.array(list(self.embeddings), dtype=np.str_),
                embeddings=maps,
                **columns,
            )

    @classmethod
    def read(cls, path: Path) -> Validation:
        """Read what `write` has written.

        Raises:
            InputError: no such file, or another kind of file.
        """
        try:
            with open_archive(path, "validation of a training") as archive:
                if str(schema := archive.take("schema")) != _SCHEMA:
                    raise ValueError(f"schema {schema}")
                texts = [[str(v) for v in archive.take(name)] for name in _TEXTS]
                steps = [int(v) for v in archive.take("step")]
                numbers = [[float(v) for v in archive.take(k)] for k in ("dsc", "predicted_iou")]
                rows = zip(*texts, steps, *numbers, strict=True)
                answers = [Answer._make(row) for row in rows]
                keys = [str(k) for k in archive.take("keys")]
                embeddings = dict(zip(keys, archive.take("embeddings"), strict=True))
                about = str(archive.take("about"))
        except (ValueError, TypeError) as error:
            raise InputError("a validation that promptseg wrote", f"{path} ({error})") from None
        return cls(answers, embeddings, about)


def validate(
    predictor: Predictor,
    collection: Collection,
    samples: Sequence[Sample],
    *,
    corrections: int = 8,
    max_objects: int = 3,
    seed: int = 0,
    clicking: Clicking = "random",
    shifted: bool = False,
    kept: Callable[[Sample], Tensor] | None = None,
    clip_of: Callable[[Sample], Clip] | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> Validation:
    """Ask a model with an exact box and with one click, and correct each answer by random clicks.

    A model is asked with every kind of prompt, whether or not its card lists it, and its previous
    mask is given back in every round: what is measured before a training and after it is the same.

    Args:
        predictor: the model.
        collection: where the samples are from.
        samples: what it is asked about.
        corrections: rounds after the first prompt.
        max_objects: objects per sample: the largest ones.
        seed: of the clicks.
        clicking: on any pixel of the object (as MedicoSAM), or on the deepest one.
        shifted: also ask with the box moved by a tenth of its width to the left and right, and by a
            tenth of its height up and down, without corrections.
        kept: sample -> its (C, h, w) embedding, where the model's encoder has made it before; of the
            samples of clips, too.
        clip_of: sample -> the clip that begins with it, through which a box on it is propagated; empty
            where there is none.
        progress: is told the samples done and the present one.

    Raises:
        InputError: a sample that cannot be read.
    """
    asked = copy.copy(predictor)
    asked.card = replace(predictor.card, prompts=_EVERY_PROMPT)
    found = Validation()
    for number, sample in enumerate(samples):
        if progress:
            progress(number, sample.key)
        picture, labels = collection.read(sample, keep_8bit=predictor.card.keep_8bit)
        if kept is None:
            (embedding,) = asked.encode([picture], sample.pixel)
        else:
            tensors = {"features": kept(sample)[None]}
            embedding = predictor.unpack(tensors, sample.shape, sample.pixel)
        found.embeddings[sample.key] = pooled(embedding)
        targets = _largest(sample, max_objects)
        clip = clip_of(sample) if clip_of else ()
        able = sorted({t.name for t in targets} & set(propagatable(clip)))
        along = dict(zip(able, propagated(asked, collection, clip, able, kept), strict=True))
        for target, truth in zip(targets, masks_of(targets, labels), strict=True):
            place = (sample.key, target)
            answers = list(
                _answers(
                    asked,
                    embedding,
                    truth=truth,
                    place=place,
                    corrections=corrections,
                    seed=seed,
                    clicking=clicking,
                )
            )
            if shifted:
                answers += _shifted(asked, embedding, truth, target)
            about = (sample.key, sample.dataset, sample.modality, sample.patient, _name(target))
            if target.name in along:
                answers.append((PROPAGATED, 0, *along[target.name]))
            found.answers += [Answer(*about, *answer) for answer in answers]
    if progress:
        progress(len(samples), "")
    return found


def choose_validation(samples: Sequence[Sample], n: int, seed: int) -> list[Sample]:
    """Choose at most n samples: datasets take turns, and within a dataset its patients do.

    Many patients say more than many slices of few, and a large dataset does not decide alone.

    Args:
        samples: to choose from, in any order.
        n: how many at most.
        seed: of the choice.

    Returns:
        In the order of their keys.
    """
    by_patient: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        by_patient[sample.dataset][sample.patient].append(sample)
    turns = []
    for dataset, patients in by_patient.items():
        each = [
            sorted(those, key=lambda s: _lot(seed, s.key))
            for _, those in sorted(patients.items(), key=lambda p: _lot(seed, dataset, p[0]))
        ]
        turns.append((dataset, list(_in_turn(each))))
    turns.sort(key=lambda t: _lot(seed, t[0]))
    chosen = [s for s, _ in zip(_in_turn([t[1] for t in turns]), range(n), strict=False)]
    return sorted(chosen, key=lambda s: s.key)


def _answers(
    predictor: Predictor,
    embedding: Embedding,
    truth: NDArray[np.bool_],
    place: tuple[str, Target],
    corrections: int,
    seed: int,
    clicking: Clicking,
) -> Iterator[tuple[str, int, float, float]]:
    """Prompt, step, DSC and predicted IoU from a box, then (not of specialists) from a click."""
    key, target = place
    boxes_alone = predictor.card.family == SPECIALIST
    corrections = 0 if boxes_alone else corrections
    for kind in ("box",) if boxes_alone else ("box", "point"):
        chance = generator(seed, key, _name(target), kind)
        first = first_prompt("box" if kind == "box" else "point", truth, chance, clicking=clicking)
        drawn = chance if clicking == "random" else None
        rounds = interactive_rounds(predictor, embedding, truth, first, corrections, drawn)
        for step, answer in enumerate(rounds):
            yield kind, step, count(truth, answer.mask).dsc, answer.iou


def _shifted(
    predictor: Predictor, embedding: Embedding, truth: NDArray[np.bool_], target: Target
) -> Iterator[tuple[str, int, float, float]]:
    """The same from the four shifted boxes, kept within the image."""
    rows, columns = truth.shape
    x0, y0, x1, y1 = target.box
    width, height = SHIFT * (x1 - x0 + 1), SHIFT * (y1 - y0 + 1)
    ends = np.array([columns - 1, rows - 1] * 2, dtype=np.float64)
    for dx, dy in _DIRECTIONS:
        moved = np.array(target.box) + np.tile([dx * width, dy * height], 2)
        # one by one, as the exact box is: a batch would round differently
        prompt = SlicePrompt(tuple(np.clip(moved, 0, ends).tolist()))
        answer = predictor.decode(embedding, [prompt])
        yield SHIFTED, 0, count(truth, answer.masks[0]).dsc, float(answer.iou[0])


def _largest(sample: Sample, most: int) -> list[Target]:
    return sorted(sample.targets, key=lambda t: (-t.area, t.layer, t.id))[:most]


def _name(target: Target) -> str:
    return str(target.id) if target.layer == 0 else f"{target.id}@{target.layer}"


def pooled(embedding: Embedding) -> Features:
    """Return an embedding averaged to (C, 8, 8)."""
    from torch.nn import functional as F

    small = F.adaptive_avg_pool2d(embedding.view()[None], _POOLED)[0].cpu().numpy()
    largest = np.finfo(np.float16).max
    pooled: Features = small.clip(-largest, largest).astype(np.float16)
    return pooled


def _macro(answers: Sequence[Answer], corrections: int) -> dict[str, float]:
    if answers and all(a.prompt == CLASSES for a in answers):
        return {CLASSES: _macro_of_classes(answers)}
    means = {}
    asked = {a.prompt for a in answers}
    boxes_alone = "box" in asked and "point" not in asked and (TEXT in asked or not corrections)
    kinds = ("box",) if boxes_alone else () if TEXT in asked else ("box", "point")
    for prompt in (*kinds, *(name for name in (PROPAGATED, TEXT, ABSENT) if name in asked)):
        for step in sorted({0, corrections} if prompt in ("box", "point") else {0}):
            datasets: dict[str, list[float]] = defaultdict(list)
            for a in answers:
                if a.prompt == prompt and a.step == step:
                    datasets[a.dataset].append(a.dsc)
            label = f"{prompt}+{step}" if step else prompt
            of_datasets = [float(np.mean(values)) for values in datasets.values()]
            means[label] = float(np.mean(of_datasets)) if of_datasets else math.nan
    return means


def _macro_of_classes(answers: Sequence[Answer]) -> float:
    each: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for a in answers:
        each[a.dataset][a.target].append(a.dsc)
    of_classes = [[float(np.mean(v)) for v in classes.values()] for classes in each.values()]
    return float(np.mean([np.mean(means) for means in of_classes]))


def _lot(*place: object) -> bytes:
    """What a seed and a name draw: the same in whatever order they are asked."""
    return hashlib.sha256(repr(place).encode()).digest()


def _in_turn(rows: Sequence[Sequence[Sample]]) -> Iterator[Sample]:
    """The first of each row, then the second of each, until all are through."""
    for k in range(max(map(len, rows), default=0)):
        yield from (row[k] for row in rows if k < len(row))
