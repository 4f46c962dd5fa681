"""Clips followed from one box, beside a box that is copied along: whether following is worth anything.

Rule: of each clip of PROMPTSEG_DATA/video with a mask on every frame, the two largest objects of its
first frame; the exact box there is followed by each model's own way, and, as a control, given to the
first of the models on every frame as it is. DSC is the mean over the frames after the first; nothing
found where nothing is counts as 1.

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
BACKGROUND = {"video__vocalfolds": {0, 2}}  # void and other tissue
_OBJECTS = 2

Masks = NDArray[np.bool_]


def clips(root: Path) -> Iterator[tuple[str, Image, NDArray[np.uint8]]]:
    """(name, frames, labels) of every clip with a mask on each frame."""
    for folder in sorted(root.glob("video/*/*")):
        files = sorted((folder / "frames").glob("*.png"))
        masks = {path.stem: path for path in (folder / "masks").glob("*.png")}
        if not files or {path.stem for path in files} - masks.keys():
            continue
        frames = np.stack([np.array(Picture.open(path)) for path in files])
        labels = np.stack([np.array(Picture.open(masks[path.stem])) for path in files])
        labels[np.isin(labels, list(BACKGROUND.get(folder.parent.name, ())))] = 0
        grid = Geometry.pixels(labels.shape)
        name = f"{folder.parent.name}/{folder.name}"
        yield name, Image(frames, grid, "endoscopy", moving=True), labels


def score(found: Masks, truth: Masks) -> float:
    """Mean DSC of the frames after the first."""
    each = [
        count(t, f).dsc if t.any() or f.any() else 1.0
        for t, f in zip(truth[1:], found[1:], strict=True)
    ]
    return float(np.mean(each))


def found_by(segmenter: Segmenter, image: Image, boxes: list[Box], propagate: str | None) -> Masks:
    """The masks of one object from its boxes."""
    result = segmenter.segment(image, *boxes, propagate=propagate)
    return result.segments[0].mask(image.geometry.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file of rows")
    parser.add_argument("--model", nargs="+", default=["promptseg-lite"])
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    models = {
        name: promptseg.load(name, device="cpu", engine=arguments.engine, threads=arguments.threads)
        for name in arguments.model
    }
    with arguments.output.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["clip", "label", "way", "dsc"])
        for name, image, labels in clips(data_root()):
            sizes = np.bincount(labels[0].ravel(), minlength=1)
            sizes[0] = 0
            for label in sizes.argsort()[::-1][:_OBJECTS]:
                truth = labels == label
                box = box_of_mask(truth[0])
                if box is None:
                    continue
                ways = {
                    model: found_by(segmenter, image, [Box(box, 0)], None)
                    for model, segmenter in models.items()
                }
                first = next(iter(models.values()))
                copies = [Box(box, k, "object") for k in range(len(labels))]
                ways[COPIED] = found_by(first, image, copies, "none")
                for way, found in ways.items():
                    row = [name, int(label), way.partition("=")[0], f"{score(found, truth):.4f}"]
                    writer.writerow(row)
                    print(*row, flush=True)
                stream.flush()


if __name__ == "__main__":
    main()
