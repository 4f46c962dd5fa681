"""Makers of small data to be curated: cloudy images with objects of a hundred pixels and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from datasets import dataset_makers as make
from promptseg.curate.options import CurateJob
from promptseg.datasets.collection import Collection
from promptseg.jobs.curate import curate

SIDE = 48


def cloudy(seed: int, shape: tuple[int, ...] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """A smooth 2D image or volume, another one for every seed."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.asarray(255 * (noise - noise.min()) / np.ptp(noise), dtype=np.uint8)


def two_objects(shape: tuple[int, ...] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """Label 1 of 10 x 12 pixels, label 2 of 8 x 5; in volumes on all slices but the first."""
    labels = np.zeros(shape, np.uint8)
    labels[..., 4:14, 6:18] = 1
    labels[..., 20:28, 30:35] = 2
    if len(shape) == 3:
        labels[0] = 0
    return labels


def pictures(
    folder: Path, names: tuple[str, ...] = ("a", "b"), seed: int = 0, **content: Any
) -> Path:
    """images/ and masks/ with two classes."""
    said = {"modality": "breast ultrasound", "targets": {"1": "lesion", "2": "cyst"}}
    make.described(folder, **{**said, **content})
    for k, name in enumerate(names):
        make.png(folder / "images" / f"{name}.png", cloudy(seed + k))
        make.png(folder / "masks" / f"{name}.png", two_objects())
    return folder


def volumes(
    folder: Path, names: tuple[str, ...] = ("a", "b"), seed: int = 0, **content: Any
) -> Path:
    """<case>_image.nii.gz and <case>_label.nii.gz of 5 slices with two classes."""
    said = {"modality": "CT", "targets": {"1": "liver", "2": "tumour"}}
    make.described(folder, **{**said, **content})
    for k, name in enumerate(names):
        voxels = cloudy(seed + k, (5, SIDE, SIDE)).astype(np.int16) * 3 - 200
        make.nifti(folder / f"{name}_image.nii.gz", voxels)
        make.nifti(folder / f"{name}_label.nii.gz", two_objects((5, SIDE, SIDE)))
    return folder


def curated(*inputs: Path, output: Path, **options: Any) -> Collection:
    """A collection, made without a word."""
    return curate(CurateJob(input=inputs, output=output, **{"quiet": True, **options}))
