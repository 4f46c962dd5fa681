"""Clips followed from one box, beside a box that is copied along: whether following is worth anything.

Rule: of each clip of PROMPTSEG_DATA/video, the two largest objects (`--objects`) of its first frame
with a mask; the exact box there is followed by each model's own way, and, as a control, given to the
first of the models on every frame as it is. DSC is the mean over the frames with a mask after that one;
frames without a mask are not scored. Nothing found where nothing is counts as 1.

    python benchmarks/copied_box.py -o copied_box.csv --model promptseg-lite promptseg-memory=FILE
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cases import data_root
from numpy.typing import NDArray
from PIL import Image as Picture

import promptseg
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.metrics.overlap import count
from promptseg.prompts import Box, box_of_mask
from promptseg.segment.segmenter import Segmenter

COPIED = "box copied along"
MODALITIES = {"video__vocalfolds": "endoscopy", "video__acdc_cine": "MR"}
BACKGROUND = {"video__vocalfolds": {0, 2}}  # void and other tissue

Masks = NDArray[np.bool_]


def clips(root: Path) -> Iterator[tuple[str, Image, dict[int, NDArray[np.uint8]]]]:
    """(name, frames, frame -> labels) of every clip; frames without a mask have no labels."""
    for folder in sorted(root.glob("video/*/*")):
        files = sorted((folder / "frames").glob("*.png"))
        masks = {path.stem: path for path in (folder / "masks").glob("*.png")}
        if not files or len(masks) < 2:
            continue
        frames = np.stack([np.array(Picture.open(path)) for path in files])
        background = list(BACKGROUND.get(folder.parent.name, ()))
        labels = {}
        for k, path in enumerate(files):
            if path.stem in masks:
                labels[k] = np.array(Picture.open(masks[path.stem]))
                labels[k][np.isin(labels[k], background)] = 0
        grid = Geometry.pixels(frames.shape[:3])
        modality = MODALITIES[folder.parent.name]
        name = f"{folder.parent.name}/{folder.name}"
        yield name, Image(frames, grid, modality, video=True), labels


def score(found: Masks, truth: dict[int, Masks], start: int) -> tuple[float, int]:
    """Mean DSC of the frames with a mask after the prompted one, and how many these are."""
    later = {k: mask for k, mask in truth.items() if k > start}
    each = [count(t, found[k]).dsc if t.any() or found[k].any() else 1.0 for k, t in later.items()]
    return float(np.mean(each)), len(each)


def found_by(segmenter: Segmenter, image: Image, boxes: list[Box], propagate: str | None) -> Masks:
    """The masks of one object from its boxes."""
    result = segmenter.segment(image, *boxes, propagate=propagate)
    return result.segments[0].mask(image.geometry.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", nargs="+", default=["promptseg-lite"])
    parser.add_argument("--dataset", help="one of them alone")
    parser.add_argument("--objects", type=int, default=2, help="the largest so many")
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    models = {
        name: promptseg.load(name, device="cpu", engine=arguments.engine, threads=arguments.threads)
        for name in arguments.model
    }
    with arguments.output.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "label", "way", "dsc", "frames_scored"])
        for name, image, labels in clips(data_root()):
            if arguments.dataset not in (None, name.partition("/")[0]):
                continue
            start = min(labels)
            sizes = np.bincount(labels[start].ravel(), minlength=1)
            sizes[0] = 0
            for label in sizes.argsort()[::-1][: arguments.objects]:
                truth = {k: one == label for k, one in labels.items()}
                box = box_of_mask(truth[start])
                if box is None:
                    continue
                ways = {
                    model: found_by(segmenter, image, [Box(box, start)], None)
                    for model, segmenter in models.items()
                }
                first = next(iter(models.values()))
                copies = [Box(box, k, "object") for k in range(start, len(image.voxels))]
                ways[COPIED] = found_by(first, image, copies, "none")
                for way, found in ways.items():
                    dsc, scored = score(found, truth, start)
                    row = [name, int(label), way.partition("=")[0], f"{dsc:.4f}", scored]
                    writer.writerow(row)
                    print(*row, flush=True)
                stream.flush()


if __name__ == "__main__":
    main()
