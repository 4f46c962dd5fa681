"""What has learnt to follow objects follows two of them through an occlusion, and keeps corrections.

The memory is put on encoder and decoder of promptseg-lite, which come with the package, at 256 pixels.
It has to learn in a minute or two, on films that are not those it is tested on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import open_checkpoint
from promptseg.models.families.sam2.memory_begin import QUARTERS, begin_with
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.model import Sam2Model
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import ConditioningPrompt, Correction, Embedding, SliceMasks
from promptseg.prompts import Box, Mask, box_of_mask
from promptseg.prompts.objects import ObjectPrompts
from promptseg.segment.with_memory import WithMemory
from promptseg.train.image_sam2 import as_image_sam2
from promptseg.train.objectives.clips import ClipAlgorithm, ClipBatch
from promptseg.train.objectives.settings import ClipObjective
from train.passing import FRAMES, SIDE, Film, film

pytestmark = pytest.mark.slow

TRAINED, UPDATES, RATE = 10, 90, 1.5e-3
CELL = 4  # pixels of a cell of the logits


@dataclass
class Encoded:
    """The frames of a film; see `Frames`."""

    model: Sam2Model
    embeddings: list[Embedding]
    pixel: tuple[float, float] = (1, 1)

    @classmethod
    def of(cls, model: Sam2Model, seen: Film) -> Encoded:
        return cls(model, [model.encode([frame])[0] for frame in seen.frames])

    @property
    def predictor(self) -> Sam2Model:
        return self.model

    def __len__(self) -> int:
        return len(self.embeddings)

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        return self.embeddings[index]

    def hold(self, frames: Collection[int]) -> None:
        pass


def begun() -> tuple[Sam2Model, list[Tensor], list[Film]]:
    """A model whose memory has learnt nothing, the features of some films, and the films."""
    _, _, tensors = open_checkpoint("promptseg-lite")

    def start(directions: Tensor, mean: Tensor) -> MemorySam:
        torch.manual_seed(0)
        return begin_with(MemorySam(SIDE), tensors, directions, mean)

    network = start(torch.zeros(0, 256), torch.zeros(256))
    card = replace(CARDS["promptseg-memory"], preprocessing=Preprocessing(SIDE, "imagenet"))
    model = Sam2Model(card, network, torch.device("cpu"))
    films = [film(number) for number in range(TRAINED)]
    features = [
        torch.cat([e.tensors()["features"] for e in Encoded.of(model, one).embeddings])
        for one in films
    ]
    places = torch.cat(features).flatten(2).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(places.T))
    count = 64 - QUARTERS
    directions = (vectors[:, -count:] / values[-count:].sqrt()).T
    model = Sam2Model(card, start(directions, places.mean(0)), torch.device("cpu"))
    return model, features, films


def clips(
    features: list[Tensor], films: list[Film], frames: int, count: int, number: int
) -> ClipBatch:
    """Some frames of some films, forwards or backwards, some of them mirrored."""
    rng = np.random.default_rng(number)
    embeddings, masks = [], []
    while len(embeddings) < count:
        chosen, step = (
            int(rng.integers(len(films))),
            int(rng.integers(1, 1 + (FRAMES - 1) // (frames - 1))),
        )
        first = int(rng.integers(0, FRAMES - step * (frames - 1)))
        along = [first + step * k for k in range(frames)][:: int(rng.choice([1, -1]))]
        seen = (
            films[chosen].masks[:, along].reshape(2, frames, SIDE // CELL, CELL, SIDE // CELL, CELL)
        )
        cells = torch.from_numpy(seen.mean((3, 5)) >= 0.5)
        if not cells[:, 0].flatten(1).any(1).all():
            continue
        mirrored = [2] if rng.integers(2) else []
        embeddings.append(features[chosen][along].flip(mirrored))
        masks += list(cells.flip(mirrored))
    owner = [frames * (k // 2) for k in range(len(masks))]
    names = tuple((str(number), str(k)) for k in range(len(masks)))
    return ClipBatch(None, tuple(masks), tuple(owner), names, torch.cat(embeddings))


def learn(model: Sam2Model, features: list[Tensor], films: list[Film]) -> None:
    """Memory alone, as `--preset memory` does, with a rate for a hurry."""
    network = model.network
    network.requires_grad_(True)
    for part in (network.image_encoder, network.sam_prompt_encoder, network.sam_mask_decoder):
        part.requires_grad_(False)
    asked = as_image_sam2(network)
    algorithm = ClipAlgorithm(asked, ClipObjective(n_objects=2, n_steps=0, guess=True))
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE)
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            rise, fall = min(1, (update + 1) / 10), 0.55 + 0.45 * np.cos(np.pi * update / UPDATES)
            group["lr"] = RATE * rise * fall
        batch = clips(features, films, *((4, 4) if update < 0.9 * UPDATES else (7, 2)), update)
        asked.train()
        chance = algorithm.draw(batch, 0, update)
        steps = algorithm.steps(batch.embeddings, batch, chance)
        loss = torch.stack([step.total() for step in steps]).sum() / len(batch.masks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
    asked.eval()
    network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Iterator[Sam2Model]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, features, films = begun()
    learn(model, features, films)
    yield model
    torch.set_num_threads(threads)


def followed(model: Sam2Model, frames: Encoded, seen: Film) -> list[SliceMasks]:
    """Both shapes, from their boxes on the first frame."""
    said = [
        ConditioningPrompt(
            0, box=Box(box_of_mask(m[0]) or (), 0), reach=(0, FRAMES - 1), object=number
        )
        for number, m in enumerate(seen.masks)
    ]
    found = [SliceMasks() for _ in said]
    for one in WithMemory(model, None).track(frames, said):
        found[one.object].add(one.frame, one.answer)
    return found


def scores(found: SliceMasks, truth: np.ndarray) -> list[float]:
    """DSC of each frame; nothing found where nothing is counts as 1."""
    each = []
    for number, real in enumerate(truth):
        mask = found.masks.get(number, np.zeros_like(real))
        size = mask.sum() + real.sum()
        each.append(float(2 * (mask & real).sum() / size) if size else 1.0)
    return each


def test_two_objects_are_followed_through_an_occlusion(model: Sam2Model) -> None:
    means = []
    for number in (1000, 1001, 1002):
        seen = film(number)
        hidden = ~seen.masks.any((2, 3))
        assert hidden.any(1).all()
        assert not hidden[:, [0, -1]].any()
        for one, truth in zip(
            followed(model, Encoded.of(model, seen), seen), seen.masks, strict=True
        ):
            means.append(np.mean(scores(one, truth)[1:]))
            assert scores(one, truth)[-1] > 0.8  # it has come back, and is the same
    assert np.mean(means) > 0.9, means


def test_a_correction_in_the_middle_is_still_there_after_propagation(model: Sam2Model) -> None:
    """A frame is told to show the other half of the object: it does, before and after the next run."""
    seen = film(1003)
    frames = Encoded.of(model, seen)
    before, other = followed(model, frames, seen)
    middle = next(k for k in range(2, FRAMES) if seen.masks[0, k].sum() == seen.masks[0, 0].sum())
    drawn = seen.masks[0, middle].copy()
    rows = np.flatnonzero(drawn.any(1))
    drawn[: rows[len(rows) // 2]] = False
    prompts = ObjectPrompts("shape", masks=[Mask(drawn, middle, as_drawn=True)])
    correction = Correction(prompts, before, {0}, set(), (0, FRAMES - 1))
    after = WithMemory(model, None).correct(frames, correction)
    np.testing.assert_array_equal(after.masks[middle], drawn)
    assert not np.array_equal(before.masks[middle], drawn)
    np.testing.assert_array_equal(after.masks[0], before.masks[0])  # which the user had prompted
    said = [
        ConditioningPrompt(
            0, box=Box(box_of_mask(seen.masks[0, 0]) or (), 0), reach=(0, FRAMES - 1)
        ),
        ConditioningPrompt(middle, mask=prompts.masks[0], reach=(0, FRAMES - 1)),
    ]
    again = SliceMasks()
    for one in WithMemory(model, None).track(frames, said):
        again.add(one.frame, one.answer)
    np.testing.assert_array_equal(again.masks[middle], drawn)
    assert other.masks.keys() >= set(range(FRAMES))
