"""The images that a training has seen, by hashes alone: names and patients stay with the data."""

from __future__ import annotations

import logging
from pathlib import Path

from promptseg.datasets.leaks import Trained
from promptseg.datasets.manifest import ManifestRow, read_manifest
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.models.cards import ModelCard
from promptseg.train.setting import Parts

__all__ = ["images_seen", "reported_and_seen"]

log = logging.getLogger("promptseg")

_MANIFEST = "manifest.csv"  # which promptseg curate writes beside the index


def images_seen(parts: Parts, base: ModelCard) -> list[ManifestRow]:
    """Return the images that were trained or validated on, and those the starting weights had seen.

    Args:
        parts: the data of the training.
        base: card of the starting weights.

    Returns:
        Rows with dataset and hashes, each once; none where the collection has no manifest.
    """
    used = {(s.dataset, s.case) for s in [*parts.train, *parts.validation]}
    path = parts.collection.root / _MANIFEST
    listed = read_manifest(path) if path.is_file() else []
    rows = [r for r in listed if (r.dataset, r.case) in used and (r.sha256 or r.phash)]
    if missing := len(used) - len({(r.dataset, r.case) for r in rows}):
        log.warning(
            "%d of %d images have no hash in %s: an evaluation on them will not be found out",
            missing,
            len(used),
            path.name,
        )
    if base.trained_on is not None and Path(base.trained_on.file).is_file():
        rows += read_manifest(base.trained_on.file)
    found = {(r.sha256, r.phash): ManifestRow(r.dataset, "", "", r.sha256, r.phash) for r in rows}
    return list(found.values())


def reported_and_seen(parts: Parts, base: ModelCard) -> int:
    """Count the images of the report that the starting weights were trained on, as far as they tell.

    Images look alike by the rule of the leak check (docs/datasets.md). Of volumes the list knows three
    slices alone, so that most of theirs are not found.

    Args:
        parts: the data of the training.
        base: card of the starting weights.
    """
    if base.trained_on is None or not Path(base.trained_on.file).is_file():
        return 0
    known = Trained(read_manifest(base.trained_on.file))
    count = 0
    for sample in parts.report:
        pixels, _ = parts.collection.read(sample)
        grid = Geometry.pixels(pixels.shape[:2])
        count += bool(known.has_seen(Image(pixels, grid, sample.modality)))
    return count
