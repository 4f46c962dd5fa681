"""Makers of tiny datasets in the layouts of the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

AFFINE = np.diag([-0.8, -0.9, 2.5, 1.0])


def gray(seed: int = 0, shape: tuple[int, ...] = (12, 16)) -> NDArray[np.uint8]:
    """A noisy 2D image, another one for every seed."""
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def labels(shape: tuple[int, ...] = (12, 16)) -> NDArray[np.uint8]:
    """Labels 1 (3 x 4 pixels) and 2 (2 x 2); in volumes on all slices but the first."""
    out = np.zeros(shape, np.uint8)
    out[..., 2:5, 1:5] = 1
    out[..., 7:9, 10:12] = 2
    if len(shape) == 3:
        out[0] = 0
    return out


def png(path: Path, pixels: NDArray[Any]) -> Path:
    """Write a 2D image, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(pixels).save(path)
    return path


def nifti(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = AFFINE) -> Path:
    """Write a (z, y, x) or (channel, z, y, x) volume by nibabel, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels.T if voxels.ndim == 3 else voxels.transpose(3, 2, 1, 0), affine)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return path


def described(folder: Path, **content: Any) -> Path:
    """Write a dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def picture_folder(folder: Path, names: tuple[str, ...] = ("a", "b"), truth: str = "masks") -> Path:
    """images/ and masks/ with two classes."""
    described(folder, modality="breast ultrasound", targets={"1": "lesion", "2": "cyst"})
    for seed, name in enumerate(names):
        png(folder / "images" / f"{name}.png", gray(seed))
        png(folder / truth / f"{name}.png", labels())
    return folder


def volume_pairs(folder: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    """<case>_image.nii.gz and <case>_label.nii.gz with two classes."""
    described(folder, modality="CT", targets={"1": "liver", "2": "tumour"})
    for seed, name in enumerate(names):
        nifti(folder / f"{name}_image.nii.gz", gray(seed, (4, 12, 16)).astype(np.int16))
        nifti(folder / f"{name}_label.nii.gz", labels((4, 12, 16)))
    return folder


def clip(folder: Path, frames: int = 5, masked: tuple[int, ...] = (1, 3)) -> Path:
    """frames/ and masks/ of some of them, counted from 1 in their names."""
    for k in range(frames):
        pixels = np.stack([gray(k), gray(k + 50), gray(k + 90)], axis=-1) if k else gray(k)
        png(folder / "frames" / f"{k + 1:03d}.png", pixels)
    for k in masked:
        png(folder / "masks" / f"{k + 1:03d}.png", labels())
    return folder


def nnunet(folder: Path, split: str = "Ts", channels: int = 2, **extra: Any) -> Path:
    """An nnU-Net v2 dataset of two volumes, several channels each."""
    content = {
        "channel_names": {str(k): name for k, name in enumerate(("FLAIR", "CT")[:channels])},
        "labels": {"background": 0, "core": 1, "rim": 2, "whole": [1, 2]},
        "file_ending": ".nii.gz",
        **extra,
    }
    described(folder, **content)
    for seed, name in enumerate(("patient001_frame01", "patient001_frame02")):
        for channel in range(channels):
            voxels = gray(seed + 10 * channel, (4, 12, 16)).astype(np.int16)
            nifti(folder / f"images{split}" / f"{name}_{channel:04d}.nii.gz", voxels)
        nifti(folder / f"labels{split}" / f"{name}.nii.gz", labels((4, 12, 16)))
    return folder


def coco(folder: Path, **changes: Any) -> Path:
    """A COCO file with a polygon, counts as numbers, a crowd and a 2D image without annotations."""
    png(folder / "images" / "a.png", gray())
    png(folder / "images" / "b.png", gray(1))
    runs = [0, 3, 12 * 16 - 3]  # the first three pixels of the first column
    square = [[4, 2, 8, 2, 8, 6, 4, 6]]
    annotations = [
        {"id": 11, "image_id": 1, "category_id": 7, "segmentation": square},
        {
            "id": 12,
            "image_id": 1,
            "category_id": 7,
            "segmentation": {"size": [12, 16], "counts": runs},
        },
        {
            "id": 13,
            "image_id": 1,
            "category_id": 7,
            "iscrowd": 1,
            "segmentation": {"size": [12, 16], "counts": runs},
        },
    ]
    content: dict[str, Any] = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 12, "width": 16},
            {"id": 2, "file_name": "b.png", "height": 12, "width": 16},
        ],
        "categories": [{"id": 7, "name": "nucleus"}],
        "annotations": annotations,
        **changes,
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def saco(folder: Path, **changes: Any) -> Path:
    """An SA-Co file: on a.png two cells, no polyp, and lumps of which not all are outlined; on b.png
    nothing of what was looked for. Rows are 12, columns 16."""
    png(folder / "images" / "a.png", gray())
    png(folder / "images" / "b.png", gray(1))
    asked = [("a.png", "dark cell"), ("a.png", "polyp"), ("b.png", "polyp"), ("a.png", "lump")]
    images = [
        {
            "id": 10_000_000 + k,
            "file_name": name,
            "text_input": phrase,
            "height": 12,
            "width": 16,
            "queried_category": str(k),
            "is_instance_exhaustive": int(phrase != "lump"),
            "is_pixel_exhaustive": 1,
        }
        for k, (name, phrase) in enumerate(asked)
    ]
    runs = [[0, 3, 189], [28, 6, 6, 6, 6, 6, 134], [100, 5, 87]]
    annotations = [
        {
            "id": k,
            "image_id": 10_000_003 if k == 3 else 10_000_000,
            "bbox": [0.0, 0.0, 0.1, 0.2],
            "area": 0.01,
            "category_id": 1,
            "iscrowd": 0,
            "source": "manual",
            "segmentation": {"size": [12, 16], "counts": counts},
        }
        for k, counts in enumerate(runs, 1)
    ]
    content: dict[str, Any] = {
        "info": {"description": "endoscopy phrases", "version": "v1"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
        "licenses": [],
        **changes,
    }
    path = folder / "phrases.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
