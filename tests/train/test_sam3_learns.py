"""A tiny SAM 3 learns named shapes from random weights, for 2D images, a volume and a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from architectures import build_as
from curate.made import Made, make_collection
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.jobs.train import train
from promptseg.models.cards import CARDS
from promptseg.models.families.sam3 import model as sam3
from promptseg.models.families.sam3.build import SHAPES
from promptseg.models.protocol import Phrase
from promptseg.prompts import Text
from promptseg.segment.segmenter import Segmenter
from train.shapes import TINY_SHAPE, Mask, places_known, shape, shape_words, tiny_sam3
from train.test_sam3_training import WORDED, chosen

pytest.importorskip("transformers")

SIDE = 48
SIZES = replace(TINY_SHAPE, image_size=SIDE, patch=8, window=3, pretrained=SIDE, queries=16)
LEVELS = {"disc": 110, "cross": -75, "ring": 50}
NAMES = (*LEVELS,)
MIN_SCORE = 0.2
"""What counts as found. Scores learn the IoU of their query's box, and after so short a training it is
not known yet which query is the nearest: all say 0.3 to 0.4, and none is above the default, 0.5."""


class Shapes(Made):
    """A picture of shapes that differ in form and brightness, on a texture of its seed."""

    def picture(self) -> NDArray[np.uint8]:
        noise = ndimage.gaussian_filter(np.random.default_rng(self.seed).normal(size=self.shape), 3)
        values = 40 * (noise - noise.min()) / np.ptp(noise) + 90
        for name, mask in self.masks.items():
            values = np.where(mask, values + LEVELS[name], values)
        return np.asarray(values.clip(0, 255), dtype=np.uint8)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Random weights of a network that promptseg takes for a model of its own."""
    preprocessing = replace(WORDED.preprocessing, size=SIDE)
    before = dict(CARDS)
    CARDS.clear()
    CARDS.update(tiny3=replace(WORDED, preprocessing=preprocessing))
    build_as(monkeypatch, SHAPES, {"tiny3": SIZES})
    tokens = shape_words(tmp_path)
    monkeypatch.setattr(sam3, "words_table", lambda: tokens)
    network = tiny_sam3(sizes=SIZES)
    places_known(network, SIZES, extent=0.4, reach=0.64)
    assert 1e6 < sum(p.numel() for p in network.parameters()) < 2e6
    path = tmp_path / "start.pth"
    torch.save(network.state_dict(), path)
    yield path
    CARDS.clear()
    CARDS.update(before)


@pytest.mark.slow
def test_a_tiny_one_learns_named_shapes(start: Path, tmp_path: Path) -> None:
    """In minutes, from random weights: pictures, a volume and a video it never saw, by words alone."""
    rng = np.random.default_rng(0)
    parts = ["train"] * 720 + ["validation"] * 8 + ["test"] * 8
    made = [
        Shapes(f"shapes/case{k}", drawn(rng, k), split, modality="XR")
        for k, split in enumerate(parts)
    ]
    make_collection(tmp_path / "data", made, per_shard=64)
    options = chosen(
        tmp_path / "data",
        start,
        tmp_path / "run",
        even_rates=True,
        learning_rate=1.5e-3,
        decay=0.6,  # after every 90 updates
        warmup=20,
        batch_size=8,
        micro_batch=8,
        n_objects=1,
        n_absent=1,
        augment=False,  # brightness is what tells them apart
        epochs=100,
        updates=180,
        validate_every=180,
        validation_images=8,
        validation_objects=2,
        report_images=8,
    )
    assert not train(options).interrupted
    predictor = Predictor.load(options.output / "model.safetensors", engine="eager")
    rng = np.random.default_rng(10**6)
    right, empty, agreement = [], [], []
    for k in range(24):
        there = drawn(rng, k)
        (embedding,) = predictor.encode([pictured(there, k)], (1, 1))
        for name in NAMES:
            (found,) = predictor.find(embedding, [Phrase(name)], MIN_SCORE)
            assert found.presence is not None
            right.append((found.presence > 0.5) == (name in there))
            if name in there:
                masks = [instance.mask for instance in found.instances]
                agreement.append(
                    dsc_of(np.logical_or.reduce(masks or [~there[name] & False]), there[name])
                )
            else:
                empty.append(not found.instances)
    scores = {
        "asked": np.mean(agreement),
        "presence": np.mean(right),
        "absent": np.mean(empty),
        **{kind: moving(predictor, kind) for kind in ("volume", "video")},
    }
    print({name: round(float(score), 3) for name, score in scores.items()})
    assert scores["asked"] > 0.6, scores
    assert scores["presence"] > 0.8, scores
    assert scores["absent"] > 0.8, scores
    assert min(scores["volume"], scores["video"]) > 0.5, scores


def drawn(rng: np.random.Generator, number: int) -> dict[str, Mask]:
    """One shape, or two that do not touch."""
    names = rng.permutation(NAMES)[: 1 + number % 2].tolist()
    while True:
        radii = rng.uniform(0.18, 0.22, len(names)) * SIDE
        spots = [(*rng.uniform(1.1 * r, SIDE - 1.1 * r, 2), r) for r in radii]
        (y, x, r), (b, a, s) = spots[0], spots[-1]
        if len(spots) < 2 or np.hypot(y - b, x - a) > 1.2 * (r + s):
            return {name: shape(name, SIDE, *spot) for name, spot in zip(names, spots, strict=True)}


def moving(predictor: Predictor, kind: str) -> float:
    """DSC, by its name alone, of a disc that crosses eight slices beside a cross that stays."""
    discs = [shape("disc", SIDE, 13 + k / 2, 12 + 3 * k, 9.5) for k in range(8)]
    cross = shape("cross", SIDE, 37, 24, 9)
    voxels = np.stack([pictured({"disc": disc, "cross": cross}, 50) for disc in discs])
    video = kind == "video"
    grid = (Geometry.pixels if video else Geometry.from_spacing)(voxels.shape)
    image = Image(voxels, grid, "XR", video=video)
    found = Segmenter(predictor).segment(
        image, Text("disc"), min_score=MIN_SCORE, window="255/127.5"
    )
    return dsc_of(found["disc"], np.stack(discs))


def pictured(masks: dict[str, Mask], seed: int) -> NDArray[np.uint8]:
    """A picture as those of the training, of a texture of its own."""
    return Shapes(f"new/{seed}", masks, seed=10**6 + seed, modality="XR").picture()


def dsc_of(found: Mask, truth: Mask) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
