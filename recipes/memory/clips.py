"""Clips to train a memory on, of the images whose licence lets weights trained on them be released.

    python recipes/memory/clips.py -o data/clips

Slices of the sarcoma volumes, frames of one patient's vocal folds, and pictures that are made to move:
each is turned, enlarged, moved and bent a little more from frame to frame, and so is its mask. Of each
volume there is a clip around the middle of what is labelled, and one over its end, on which what is
around it is an object as well: it stays where the other is gone. The parts are those of the pool's
split.csv. The folder holds a dataset of clips for each source, and splits.csv, both for `promptseg
curate`. The encoder is most of the cost, so there are few frames: some 350.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from promptseg.formats import read
from promptseg.intensity import choose_intensity

VOLUMES = (
    *("ct__ibsi_sts_more", "mr__ibsi_sts_t1_more", "pet__ibsi_sts_more"),
    *("ct__ibsi_sts", "mr__ibsi_sts_t1", "pet__ibsi_sts"),
)
VIDEO = "endoscopy__vocalfolds_patient1"
BACKGROUND = {VIDEO: {2}}  # other tissue
MOVED = {
    "mr__sunnybrook_slices": "MR",
    "ultrasound__hc18_more": "US",
    "ultrasound__usgra_anaesthesia": "US",
    "mr__spider_slices": "MR",
}
FOUND, AROUND = 1, 2  # labels of volumes
_OBJECTS, _SMALLEST = 4, 80  # of a picture; pixels

Clip = tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]


def volume_clips(folder: Path, case: str, frames: int, step: int) -> Iterator[tuple[str, Clip]]:
    """Every `step`-th slice around the middle of what is labelled, and from inside over its end."""
    image = read(folder / f"{case}_image.nii.gz")
    labels = read(folder / f"{case}_label.nii.gz")
    intensity = choose_intensity(image)
    count = image.geometry.shape[0]
    there = [k for k in range(count) if labels.slice(k).any()]
    middle = there[len(there) // 2] - step * (frames // 2)
    up = sum(map(ord, case)) % 2  # which end
    end = there[-1] if up else there[0]
    way = step if up else -step
    for name, indices in {
        "middle": [middle + step * k for k in range(frames)],
        "end": [end + way * k for k in range(3 - frames, 3)],
    }.items():
        chosen = [k for k in indices if 0 <= k < count]
        shown = [intensity.apply(image.slice(k)) for k in chosen]
        masks = [(labels.slice(k) > 0).astype(np.uint8) for k in chosen]
        if name == "end":
            around = [body(picture) for picture in shown]
            masks = [
                np.where(inside, FOUND, np.where(b, AROUND, 0)).astype(np.uint8)
                for inside, b in zip(masks, around, strict=True)
            ]
        yield name, (shown, masks)


def body(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What is brighter than the mean, smooth and without holes: the largest part of it."""
    smooth = ndimage.gaussian_filter(np.atleast_3d(picture).mean(-1), min(picture.shape[:2]) / 60)
    parts, count = ndimage.label(ndimage.binary_fill_holes(smooth > smooth.mean()))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == sizes.argmax() if count else np.zeros(smooth.shape, bool)
    return largest


def picture_of(folder: Path, case: str, dropped: set[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A picture and its labels, without those that are none."""
    picture = np.array(Picture.open(next((folder / "images").glob(f"{case}.*"))))
    labels = np.array(Picture.open(next((folder / "masks").glob(f"{case}.*"))))
    labels[np.isin(labels, list(dropped))] = 0
    return picture, labels.astype(np.uint8)


def moved_clip(picture: NDArray[Any], labels: NDArray[Any], frames: int, seed: int) -> Clip:
    """A picture that moves: a turn, a scale, a shift and a bend that grow with every frame."""
    rng = np.random.default_rng(seed)
    sizes = {int(v): int((labels == v).sum()) for v in np.unique(labels) if v}
    chosen = sorted((v for v in sizes if sizes[v] > _SMALLEST), key=lambda v: -sizes[v])[:_OBJECTS]
    labels = np.where(np.isin(labels, chosen), labels, 0)
    shape = np.array(labels.shape)
    angle, growth = rng.uniform(-0.35, 0.35), rng.uniform(-0.25, 0.25)
    shift = rng.uniform(-0.15, 0.15, 2) * shape
    bend = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=shape), shape.min() / 10) for _ in range(2)]
    )
    bend *= 0.04 * shape.min() / np.abs(bend).max()
    places = np.indices(shape).reshape(2, -1) - shape[:, None] / 2
    pictures, masks = [], []
    for part in np.linspace(0, 1, frames):
        turn, scale = angle * part, np.exp(growth * part)
        along = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        source = along @ places + shape[:, None] / 2 + part * (shift[:, None] + bend.reshape(2, -1))
        source = source.reshape(2, *shape)
        layers = np.atleast_3d(picture).astype(np.float64)
        found = np.stack(
            [
                ndimage.map_coordinates(layers[..., k], source, order=1, mode="reflect")
                for k in range(layers.shape[-1])
            ],
            axis=-1,
        )
        light = 1 + 0.15 * part * rng.uniform(-1, 1)
        found = (found - 128) * light + 128 + rng.normal(0, 3, found.shape)
        pictures.append(found.clip(0, 255).astype(np.uint8).squeeze())
        masks.append(ndimage.map_coordinates(labels, source, order=0, mode="constant"))
    return pictures, masks


def clips(
    pool: Path, data: Path, parts: dict[tuple[str, str], str], arguments: argparse.Namespace
) -> Iterator[tuple[str, str, str, str, Clip]]:
    """(dataset, modality, clip, part, its frames and masks) of everything."""
    taken: Counter[tuple[str, str]] = Counter()
    for name in VOLUMES:
        folder = (pool if name.endswith("_more") else data) / "volume" / name
        modality = name.partition("__")[0].upper()
        for path in sorted(folder.glob("*_image.nii.gz")):
            case = path.name.removesuffix("_image.nii.gz")
            part = parts[name, case]
            taken[modality, part] += 1
            if taken[modality, part] > arguments.volumes or part == "test":
                continue
            found = volume_clips(folder, case, arguments.frames, arguments.step)
            for which, clip in found:
                dataset = f"volumes_{modality.lower()}"
                yield dataset, modality, f"{name}_{case}_{which}", part, clip
    folder = pool / "picture" / VIDEO
    shots = sorted(path.stem for path in (folder / "images").iterdir())
    for shot, each in groupby(shots, key=lambda stem: "_".join(stem.split("_")[:2])):
        cases = list(each)[: arguments.shot]
        pairs = [picture_of(folder, case, BACKGROUND[VIDEO]) for case in cases]
        clip = [p for p, _ in pairs], [m for _, m in pairs]
        yield "vocalfolds", "endoscopy", shot, "train", clip
    for name, modality in MOVED.items():
        folder = pool / "picture" / name
        cases = [case for (dataset, case), part in parts.items() if dataset == name]
        cases = [case for case in cases if parts[name, case] == "train"]
        chosen = np.random.default_rng(0).permutation(len(cases))[: arguments.pictures]
        for k in chosen:
            picture, labels = picture_of(folder, cases[k], set())
            clip = moved_clip(picture, labels, 4, int(k))
            yield f"moved_{name}", modality, cases[k], "train", clip


def write(folder: Path, clip: Clip) -> None:
    """A folder of frames and one of masks."""
    for kind, images in zip(("frames", "masks"), clip, strict=True):
        (folder / kind).mkdir(parents=True)
        for number, image in enumerate(images):
            Picture.fromarray(image).save(folder / kind / f"{number:04d}.png")


def main(words: Sequence[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--volumes", type=int, default=5, help="of each modality and part")
    parser.add_argument("--frames", type=int, default=6, help="slices of a clip of a volume")
    parser.add_argument("--step", type=int, default=2, help="from one of them to the next")
    parser.add_argument("--shot", type=int, default=12, help="frames of a shot of the video")
    parser.add_argument("--pictures", type=int, default=6, help="of each set that is moved")
    arguments = parser.parse_args(words)
    pool, data = (Path(os.environ[name]) for name in ("PROMPTSEG_POOL", "PROMPTSEG_DATA"))
    with (pool / "split.csv").open(newline="") as stream:
        parts = {(row["dataset"], row["case"]): row["part"] for row in csv.DictReader(stream)}
    arguments.output.mkdir(parents=True)
    rows = []
    for dataset, modality, case, part, clip in clips(pool, data, parts, arguments):
        if len(clip[0]) < 2:
            continue
        folder = arguments.output / dataset
        write(folder / case, clip)
        described: dict[str, Any] = {
            "name": dataset,
            "modality": modality,
            "licence": "see the pool's dataset.json",
        }
        if dataset.startswith("volumes_"):
            described["targets"] = {str(FOUND): "tumour", str(AROUND): "body"}
        (folder / "dataset.json").write_text(json.dumps(described))
        rows.append({"dataset": dataset, "case": case, "part": part})
    with (arguments.output / "splits.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["dataset", "case", "part"])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
