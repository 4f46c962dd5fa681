"""Masks and what made them, as two files of which the second marks completion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from promptseg.formats import write_segmentation
from promptseg.formats.files import atomic_path, beside, check_output
from promptseg.image import Segmentation

__all__ = ["save"]


def save(
    segmentation: Segmentation, path: str | Path, *, overwrite: bool = False, overlap: str = "keep"
) -> Path:
    """Write masks in the format that the suffix of `path` names, on the input's own grid.

    The provenance, if there is any, goes beside them as JSON, last. The segmentation is left as it is.

    Args:
        segmentation: the masks.
        path: output file; its folder is made if need be.
        overwrite: replace what exists.
        overlap: "keep" (overlapping objects get one layer each) or "later-wins".

    Returns:
        The path written.

    Raises:
        OutputError: the file exists, cannot be written, or its format cannot hold the result.
    """
    path = Path(path)
    if not segmentation.provenance:
        return write_segmentation(segmentation, path, overwrite=overwrite, overlap=overlap)
    facts = replace(segmentation.provenance, output=path.name, overlap=overlap)
    text = json.dumps(facts.to_json(), indent=2, allow_nan=False) + "\n"
    check_output(beside(path, ".json"), overwrite)
    with atomic_path(beside(path, ".json")) as temporary:
        temporary.write_text(text, encoding="utf-8")
        return write_segmentation(segmentation, path, overwrite=overwrite, overlap=overlap)
