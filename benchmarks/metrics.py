"""Time of the surface metrics of an organ in 512 x 512 x 200 voxels, beside two other packages.

python benchmarks/metrics.py [ROUNDS]

A liver-sized blob with a rough surface against three predictions: a good one, a rough one, and one in
the wrong place. Every package gives NSD, HD95 and the average surface distances, the way its
documentation says. They take turns, and the ratio is the median over the rounds. It is one of processor
time, summed over threads, which neighbours on the machine change less than time on the clock. MONAI
computes its distances anew for each metric, without weights for HD95 and the average, so that only
its NSD is held against ours.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.metrics import Rules, score

SHAPE = (200, 512, 512)
SPACING = (2.5, 0.8, 0.8)
TOLERANCE = 2.0
ROUNDS = 3

Mask = NDArray[np.bool_]
Numbers = dict[str, float]


def organ(
    centre: tuple[int, int, int], radii: tuple[int, int, int], seed: int, rough: float
) -> Mask:
    """A blob whose surface waves by `rough` of its radius, in waves of about eight voxels."""
    z, y, x = (
        (np.arange(n, dtype=np.float32) - c) / r
        for n, c, r in zip(SHAPE, centre, radii, strict=True)
    )
    depth = 1 - np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    noise = np.random.default_rng(seed).standard_normal([n // 8 for n in SHAPE])
    return np.asarray(depth + rough * ndimage.zoom(noise, 8, order=1) > 0)


def predictions(truth: Mask) -> dict[str, Mask]:
    smooth = ndimage.uniform_filter(truth.astype(np.float32), 7) > 0.5
    return {
        "good": smooth,
        "rough": organ((102, 252, 202), (70, 100, 130), 2, 0.06),
        "far": organ((60, 350, 300), (40, 60, 60), 3, 0.06),
    }


def ours(truth: Mask, found: Mask) -> Numbers:
    scores = score(truth, found, SPACING, Rules(tolerance=TOLERANCE))
    return {
        "nsd": scores.nsd,
        "hd95": scores.hd95,
        "there": scores.asd_to_found,
        "back": scores.asd_to_truth,
    }


def deepmind(truth: Mask, found: Mask) -> Numbers:
    from surface_distance import metrics

    distances = metrics.compute_surface_distances(truth, found, SPACING)
    there, back = metrics.compute_average_surface_distance(distances)
    return {
        "nsd": metrics.compute_surface_dice_at_tolerance(distances, TOLERANCE),
        "hd95": metrics.compute_robust_hausdorff(distances, 95),
        "there": there,
        "back": back,
    }


def monai(truth: Mask, found: Mask) -> Numbers:
    import torch
    from monai import metrics

    y, y_pred = (torch.from_numpy(mask)[None, None] for mask in (truth, found))
    common = {"include_background": True, "spacing": SPACING}
    nsd = metrics.compute_surface_dice(y_pred, y, [TOLERANCE], use_subvoxels=True, **common)
    metrics.compute_hausdorff_distance(y_pred, y, percentile=95, **common)
    metrics.compute_average_surface_distance(y_pred, y, symmetric=True, **common)
    return {"nsd": nsd.item()}


PACKAGES: dict[str, Callable[[Mask, Mask], Numbers]] = {
    "promptseg": ours,
    "surface-distance": deepmind,
    "MONAI": monai,
}


def main(rounds: int = ROUNDS) -> None:
    warnings.simplefilter("ignore")
    truth = organ((100, 250, 200), (70, 100, 130), 1, 0.06)
    print("| prediction | DSC | package | seconds | processor seconds | times promptseg | off by |")
    print("|---|---|---|---|---|---|---|")
    for name, found in predictions(truth).items():
        seconds: dict[str, list[float]] = {package: [] for package in PACKAGES}
        work: dict[str, list[float]] = {package: [] for package in PACKAGES}
        numbers: dict[str, Numbers] = {}
        for _ in range(rounds):
            for package, measure in PACKAGES.items():
                start, start_work = time.perf_counter(), time.process_time()
                numbers[package] = measure(truth, found)
                seconds[package].append(time.perf_counter() - start)
                work[package].append(time.process_time() - start_work)
        dsc = score(truth, found, which=["dsc"]).dsc
        for package in PACKAGES:
            pairs = zip(work[package], work["promptseg"], strict=True)
            ratio = median(other / own for other, own in pairs)
            off = max(abs(v - numbers["promptseg"][k]) for k, v in numbers[package].items())
            times = f"{median(seconds[package]):.2f} | {median(work[package]):.2f} | {ratio:.1f}"
            print(f"| {name} | {dsc:.3f} | {package} | {times} | {off:.1g} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
