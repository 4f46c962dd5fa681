"""Masks, what made them, and what shows them: files that appear together or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from promptseg.formats import writer_of
from promptseg.formats.files import atomic_paths, provenance_path, read_provenance_beside
from promptseg.formats.label_tables import Beside, tables_beside
from promptseg.formats.options import Outlines
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.places import layers_note, with_places
from promptseg.image import Segmentation

__all__ = ["Also", "save"]

log = logging.getLogger("promptseg")

Also = Mapping[Path, Callable[[Path], object]]
"""Further files, and what writes each."""


def save(
    segmentation: Segmentation,
    path: str | Path,
    *,
    overwrite: bool = False,
    overlap: str = "keep",
    also: Also | None = None,
    beside: Sequence[Beside] = (),
    outlines: Outlines = "rle",
) -> Path:
    """Write masks in the format that the suffix of `path` names, on the input's own grid.

    The provenance goes beside them as JSON (`mask.nii.gz.json`), last, so that it marks completion.
    Without one, only a file of that name that told of earlier masks is replaced. The segmentation is
    left as it is.

    Args:
        segmentation: the masks.
        path: output file; its folder is made if need be.
        overwrite: replace what exists; the image's own files never are.
        overlap: "keep" (overlapping objects get one layer each) or "later-wins".
        also: further files and what writes each; all appear, or none.
        beside: tables of names and colours to write too: "bids", "itk-snap", "slicer"; a mask called
            `..._dseg.nii.gz` gets BIDS' unasked.
        outlines: of COCO, "rle" (exact) or "polygons".

    Returns:
        The path written.

    Raises:
        OutputError: a file exists, cannot be written, or its format cannot hold the result.
    """
    path = Path(path)
    layered = overlap == "keep" and segmentation.has_overlap()
    if layered and (note := layers_note(segmentation, path)):
        log.warning("%s", note)
    tables, notes = tables_beside(segmentation, path, beside, overlap)
    for note in notes:
        log.warning("%s", note)
    writers: dict[Path, Callable[[Path], object]]
    writers = {path: writer_of(segmentation, path, overlap, outlines), **tables, **(also or {})}
    if segmentation.provenance or read_provenance_beside(path):
        facts = with_places(segmentation, path, overlap)
        text = json.dumps(facts.to_json(), indent=2, allow_nan=False) + "\n"
        writers[provenance_path(path)] = lambda p: p.write_text(text, encoding="utf-8")
    image = segmentation.image
    check_outputs(writers, overwrite, Reads([image.source.path if image else None]))
    with atomic_paths(*writers, overwrite=overwrite) as temporaries:
        for write, temporary in zip(writers.values(), temporaries, strict=True):
            write(temporary)
    return path
