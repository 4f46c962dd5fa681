"""The images that a training has seen, by hashes alone: names and patients stay with the data."""

from __future__ import annotations

import logging
from pathlib import Path

from promptseg.datasets.manifest import ManifestRow, read_manifest
from promptseg.models.cards import ModelCard
from promptseg.train.setting import Parts

__all__ = ["images_seen"]

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
