"""Metrics agree with DeepMind's surface-distance and with MONAI on random masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.metrics import Rules, score
from promptseg.metrics.elements import element_sizes

Mask = NDArray[np.bool_]

pytestmark = pytest.mark.peer
SPACINGS = (0.31, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0)


class Case(NamedTuple):
    truth: Mask
    found: Mask
    spacing: tuple[float, ...]
    tolerance: float


def cases(seed: int, number: int, ndim: int) -> Iterator[Case]:
    """Noise, blobs, single voxels, shifted and nearly equal masks; most touch the border somewhere."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        truth, found = _pair(rng, ndim)
        if truth.any() and found.any():
            spacing = tuple(float(length) for length in rng.choice(SPACINGS, ndim))
            yield Case(truth, found, spacing, float(rng.choice([0.0, 0.5, 1.0, 2.0, 3.7])))


def _pair(rng: np.random.Generator, ndim: int) -> tuple[Mask, Mask]:
    shape = tuple(rng.integers(1, 14, ndim))
    kind = rng.integers(5)
    if kind == 0:
        density = rng.random()
        return rng.random(shape) < density, rng.random(shape) < density
    if kind == 1:
        return _single(rng, shape), _single(rng, shape)
    truth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > rng.normal() * 0.05
    if kind == 2:
        return truth, truth ^ (rng.random(shape) < 0.05)
    if kind == 3:
        return truth, np.roll(truth, rng.integers(0, 3, ndim), tuple(range(ndim)))
    return truth, ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > 0


def _single(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(rng.integers(0, shape))] = True
    return mask


@pytest.fixture(scope="module")
def deepmind() -> Iterator[ModuleType]:
    metrics = pytest.importorskip("surface_distance.metrics")
    with pytest.MonkeyPatch.context() as patch:
        # Version 0.1 was written for NumPy 1 and for namespaces that SciPy is about to drop.
        patch.setattr(np, "Inf", np.inf, raising=False)
        patch.setattr(ndimage, "filters", ndimage, raising=False)
        patch.setattr(ndimage, "morphology", ndimage, raising=False)
        yield metrics


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_surface_metrics_are_those_of_surface_distance(
    deepmind: ModuleType, seed: int, ndim: int
) -> None:
    number = 0
    for truth, found, spacing, tolerance in cases(seed, 200, ndim):
        number += 1
        ours = score(truth, found, spacing, Rules(tolerance=tolerance))
        theirs = deepmind.compute_surface_distances(truth, found, spacing)
        nsd = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance)
        pair = deepmind.compute_average_surface_distance(theirs)
        hd95 = {
            # Where exactly 95 % of the surface lie within a distance, rounding decides in theirs.
            deepmind.compute_robust_hausdorff(theirs, 95 + nudge)
            for nudge in (-1e-7, 0, 1e-7)
        }
        dsc = deepmind.compute_dice_coefficient(truth, found)

        assert ours.nsd == pytest.approx(nsd, abs=1e-6)
        assert min(abs(ours.hd95 - value) for value in hd95) < 1e-6
        assert (ours.asd_to_found, ours.asd_to_truth) == pytest.approx(pair, abs=1e-6)
        assert ours.asd == pytest.approx(_pooled(theirs), abs=1e-6)
        assert ours.dsc == pytest.approx(dsc, abs=1e-6)
    assert number > 150


def _pooled(distances: dict[str, NDArray[np.float64]]) -> float:
    """The average over all elements of both surfaces."""
    both = np.concatenate([distances["distances_gt_to_pred"], distances["distances_pred_to_gt"]])
    sizes = np.concatenate([distances["surfel_areas_gt"], distances["surfel_areas_pred"]])
    return float((both * sizes).sum() / sizes.sum())


def test_element_sizes_are_those_of_surface_distance() -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    for spacing in ((1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (0.3, 4.0, 1.0)):
        # Their bits run the other way round; a code read backwards is its mirror image.
        areas = tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(element_sizes(spacing), areas, atol=1e-12)
        lengths = tables.create_table_neighbour_code_to_contour_length(spacing[1:])
        np.testing.assert_allclose(element_sizes(spacing[1:]), lengths, atol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_dsc_iou_and_nsd_are_those_of_monai(ndim: int) -> None:
    monai = pytest.importorskip("monai.metrics")
    import torch

    number = 0
    for truth, found, spacing, tolerance in cases(ndim, 150, ndim):
        ours = score(truth, found, spacing, Rules(tolerance=tolerance))
        y, y_pred = (torch.from_numpy(mask)[None, None].float() for mask in (truth, found))
        assert ours.dsc == pytest.approx(monai.compute_dice(y_pred, y).item(), abs=1e-6)
        assert ours.iou == pytest.approx(monai.compute_iou(y_pred, y).item(), abs=1e-6)
        nsd = monai.compute_surface_dice(
            y_pred, y, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        ).item()
        assert ours.nsd == pytest.approx(nsd, abs=1e-6)
        number += not math.isnan(nsd)
    assert number > 100
