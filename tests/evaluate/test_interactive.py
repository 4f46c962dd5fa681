"""Corrections make the masks of real weights better, on made and on real 2D images."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from cases import cases
from exact_box import dsc
from interactive import Start, evaluate, first
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.inference.predictor import Embedding, Predictor
from promptseg.simulate import interactive_rounds

pytestmark = [pytest.mark.weights, pytest.mark.slow]

Mask = NDArray[np.bool_]


def made(truth: Mask, distractor: Mask, seed: int) -> NDArray[np.uint8]:
    """An object of two tones beside another of one of them, in noise: one click is not enough."""
    rng = np.random.default_rng(seed)
    _, x = np.indices(truth.shape)
    halves = np.where(x < truth.shape[1] // 2, 180, 120)
    values = np.where(truth, halves, np.where(distractor, 150, 60)).astype(float)
    values = ndimage.gaussian_filter(values, 1.5) + rng.normal(0, 12, truth.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(mobile_sam: Predictor) -> list[tuple[Embedding, Mask]]:
    """A disc half hidden behind another, a bar that crosses another, a ring."""
    y, x = np.indices((256, 256)) - 128
    disc, behind = x**2 + y**2 < 60**2, (x - 70) ** 2 + y**2 < 60**2
    bar, across = (abs(x) < 80) & (abs(y) < 22), (abs(x) < 22) & (abs(y) < 80)
    hole = x**2 + y**2 <= 30**2
    shapes = [(disc, behind & ~disc), (bar, across & ~bar), (disc & ~hole, hole)]
    slices = [made(truth, other, seed) for seed, (truth, other) in enumerate(shapes)]
    embeddings = [mobile_sam.encode([one])[0] for one in slices]
    return [(e, truth) for e, (truth, _) in zip(embeddings, shapes, strict=True)]


@pytest.mark.parametrize("start", ["point", "box"])
def test_corrections_improve_made_pictures(
    mobile_sam: Predictor, pictures: list[tuple[Embedding, Mask]], start: Start
) -> None:
    scores = []
    for embedding, truth in pictures:
        found = interactive_rounds(mobile_sam, embedding, truth, first(start, truth))
        scores.append([dsc(truth, one.mask) for one in found])
    before, *_, last = zip(*scores, strict=True)
    assert fmean(last) > fmean(before)
    assert min(last) > 0.95


@pytest.mark.data
def test_corrections_improve_real_pictures(mobile_sam: Predictor, data_root: Path) -> None:
    names = ("chest_xray__covid_opacity", "dermoscopy__ph2", "endoscopy__cvc_clinicdb")
    rows = [
        row
        for name in names
        for case in cases(name, data_root, limit=1)
        for row in evaluate(mobile_sam, case, starts=["point"])
    ]
    means = {n: fmean(r.dsc for r in rows if r.round == n) for n in range(9)}
    assert means[8] > means[0] + 0.2
