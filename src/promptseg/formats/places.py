"""Places of the objects in a mask file: label value, layer, segment or ROI number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg.formats import format_by_suffix
from promptseg.image import Segmentation
from promptseg.notes import Note
from promptseg.provenance import ObjectFacts, Provenance

__all__ = ["layers_note", "object_places", "with_places"]

_BINARY_LAYERS = {"npz": 1, "tiff": 255}
_NOWHERE: dict[str, Any] = {"value": None, "layer": None, "segment": None, "roi": None}


def object_places(segmentation: Segmentation, path: Path, layers: bool) -> list[dict[str, int]]:
    """Return the place in the file that a writer gives each object, in their order.

    Args:
        segmentation: the objects.
        path: the mask file; its ending names the format.
        layers: whether each object gets a layer of its own.

    Returns:
        `segment` (DICOM SEG, from 1) or `roi` (RTSTRUCT: ROI Number) or `value`, the number of the
        object's voxels, and with `layers` also `layer`, counted from 0.
    """
    known = format_by_suffix(path)
    name, segments = known.name if known else "", segmentation.segments
    if name == "dicom":
        return [{"segment": number} for number, _ in enumerate(segments, 1)]
    if name == "rtstruct":
        return [{"roi": segment.label} for segment in segments]
    if not layers or (known and known.outlines):
        return [{"value": segment.label} for segment in segments]
    values = segmentation.layer_values()
    if name in _BINARY_LAYERS:
        values = [_BINARY_LAYERS[name]] * len(segments)
    return [{"layer": k, "value": value} for k, value in enumerate(values)]


def layers_note(segmentation: Segmentation, path: Path) -> Note | None:
    """Return the note that overlapping objects make a file of one dimension more; None for DICOM."""
    known = format_by_suffix(path)
    if known is None or known.name in ("dicom", "rtstruct") or known.outlines:
        return None
    dimensions = segmentation.geometry.ndim
    return Note(
        f"objects overlap: the mask has {dimensions + 1} dimensions, one layer per object; "
        f"--overlap later-wins writes labels of {dimensions} dimensions",
        "values",
    )


def with_places(segmentation: Segmentation, path: Path, overlap: str) -> Provenance:
    """Return the provenance of a segmentation with the file it goes to and each object's place there.

    Args:
        segmentation: the objects.
        path: the mask file.
        overlap: "keep" or "later-wins".
    """
    facts = segmentation.provenance
    layers = overlap == "keep" and segmentation.has_overlap()
    told = {entry.label: entry for entry in facts.objects or ()}
    objects = []
    for s, place in zip(
        segmentation.segments, object_places(segmentation, path, layers), strict=True
    ):
        known = replace(told.get(s.label, ObjectFacts()), label=s.label, name=s.name)
        objects.append(replace(known, **{**_NOWHERE, **place}))
    notes = list(facts.notes or ())
    if layers and (note := layers_note(segmentation, path)) and note not in notes:
        notes.append(note)
    return replace(
        facts,
        objects=tuple(objects),
        notes=tuple(notes) if notes else facts.notes,
        output=path.name,
        overlap=overlap,
    )
