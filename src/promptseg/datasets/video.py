"""Clips: folders with `frames/` and `masks/`, a mask for some or all of the frames.

Masks are called as their frames and hold class ids; a class is one object through the whole clip.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.build import case_of, dataset_of, modality_of
from promptseg.datasets.classes import Classes
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.description import read_description
from promptseg.datasets.listing import Missing, by_case, shortened
from promptseg.datasets.options import DatasetOptions
from promptseg.datasets.truth import (
    labels_in,
    objects_of_labels,
    truth_of,
)
from promptseg.errors import GeometryError, InputError
from promptseg.formats import read
from promptseg.formats.memory import require_memory
from promptseg.formats.text import composed
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["open_dataset", "read_frame_labels", "recognises"]

_NAMELESS = Classes()


def recognises(root: Path) -> bool:
    """Tell whether a folder is a clip or holds some."""
    return root.is_dir() and (_is_clip(root) or any(map(_is_clip, root.iterdir())))


def open_dataset(root: Path, options: DatasetOptions) -> Dataset:
    """Return each clip as a case.

    Raises:
        InputError: a clip without frames or masks, or masks without frames.
    """
    lone = _is_clip(root) and not (root / "dataset.json").is_file()
    described = read_description(root.parent if lone else root)
    classes = described.classes
    modality = modality_of(described, options)
    readers = partial(_read_clip, modality=modality), partial(_read_masks, classes=classes)
    clips = [root] if _is_clip(root) else [p for p in sorted(root.iterdir()) if _is_clip(p)]
    cases, missing, notes = [], [], []
    for clip in clips:
        frames, masks = by_case(clip / "frames"), by_case(clip / "masks")
        if fault := _fault(frames, masks):
            if not options.keep_going:
                raise InputError(
                    "frames with masks of the same names",
                    f"{clip}: {fault}",
                    "add them, or leave this clip out with --keep-going",
                )
            missing.append(Missing(clip.name, "labels" if frames else "image", fault))
            continue
        annotated = tuple(k for k, name in enumerate(frames) if name in masks)
        if len(annotated) < len(frames):
            notes.append(f"{clip.name}: {len(annotated)} of {len(frames)} frames have masks")
        files = [masks[name] for name in frames if name in masks]
        case = case_of(
            composed(clip.name),
            clip / "frames",
            truth=files,
            readers=readers,
            patients=described.patients,
            options=options,
            annotated=annotated,
        )
        cases.append(case)
    return dataset_of(
        root, "video", "video", described, cases, options, missing=missing, notes=notes
    )


def read_frame_labels(
    masks: dict[int, Path], image: Image, classes: Classes = _NAMELESS
) -> NDArray[np.uint16]:
    """Read label images of some frames as (t, y, x) labels of the clip, 0 elsewhere.

    Args:
        masks: frame index -> file.
        image: the clip.
        classes: say which label each colour is, where masks are coded in colours.

    Raises:
        GeometryError: a mask of another size than the frames.
    """
    labels = np.zeros(image.geometry.shape, dtype=np.uint16)
    for index, path in masks.items():
        frame = Image.from_array(image.slice(index))
        labels[index] = labels_in(path, frame, classes)
        image.source.notes += [n for n in frame.source.notes if n not in image.source.notes]
    return labels


def _is_clip(folder: Path) -> bool:
    return (folder / "frames").is_dir() and (folder / "masks").is_dir()


def _fault(frames: dict[str, Path], masks: dict[str, Path]) -> str:
    if not frames or not masks:
        return "no frames" if not frames else "no masks"
    lost = [f"mask {path.name} has no frame" for name, path in masks.items() if name not in frames]
    return shortened(lost)


def _read_clip(case: CaseFiles, modality: str) -> Image:
    files = list(by_case(case.image).values())
    first = read(files[0])
    require_memory((len(files), *first.geometry.shape, 3), first.voxels.itemsize, case.image)
    frames = [first.voxels, *(read(path).voxels for path in files[1:])]
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1 or first.kind != "picture":
        raise GeometryError(
            "frames that are 2D images of one size",
            f"{case.image} with others",
            "leave this clip out",
        )
    if any(frame.ndim == 3 for frame in frames):  # a gray frame of a colour clip is read as gray
        frames = [_coloured(frame) for frame in frames]
    voxels = np.stack(frames)
    source = Source(case.image, "frames")
    return Image(voxels, Geometry.pixels(voxels.shape[:3]), modality, source, video=True)


def _coloured(frame: NDArray[Any]) -> NDArray[Any]:
    return frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=-1)


def _read_masks(case: CaseFiles, image: Image, classes: Classes) -> Segmentation:
    files = dict(zip(case.annotated or (), case.truth, strict=True))
    labels = read_frame_labels(files, image, classes)
    return truth_of(objects_of_labels(labels, classes, case.truth[0].parent), image)
