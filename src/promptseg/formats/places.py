"""Where each object of a segmentation is in a mask file: label value, layer, segment or ROI number."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from promptseg.formats import format_by_suffix
from promptseg.image import Segmentation

__all__ = ["layers_note", "object_places", "with_places"]

log = logging.getLogger("promptseg")

_BINARY_LAYERS = {"npz": 1, "tiff": 255}


def object_places(segmentation: Segmentation, path: Path, layers: bool) -> list[dict[str, int]]:
    """Where a writer puts each object, in their order.

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
    if not layers:
        return [{"value": segment.label} for segment in segments]
    values = segmentation.layer_values()
    if name in _BINARY_LAYERS:
        values = [_BINARY_LAYERS[name]] * len(segments)
    return [{"layer": k, "value": value} for k, value in enumerate(values)]


def layers_note(segmentation: Segmentation, path: Path) -> str | None:
    """What to say where overlapping objects make a file of one dimension more; None for DICOM."""
    known = format_by_suffix(path)
    if known is None or known.name in ("dicom", "rtstruct"):
        return None
    dimensions = segmentation.geometry.ndim
    return (
        f"objects overlap: {path.name} has {dimensions + 1} dimensions, one layer per object; "
        f"--overlap later-wins writes labels of {dimensions} dimensions"
    )


def with_places(segmentation: Segmentation, path: Path, overlap: str) -> dict[str, Any]:
    """The provenance of a segmentation with the file it goes to and each object's place there."""
    provenance = segmentation.provenance
    layers = overlap == "keep" and segmentation.has_overlap()
    notes = []
    if layers and (note := layers_note(segmentation, path)):
        log.warning("%s", note)
        notes = [note]
    told = {e.get("label"): e for e in provenance.get("objects", ()) if isinstance(e, dict)}
    places = object_places(segmentation, path, layers)
    objects = [
        {**_without_place(told.get(s.label, {})), "label": s.label, "name": s.name, **place}
        for s, place in zip(segmentation.segments, places, strict=True)
    ]
    if notes or "notes" in provenance:
        provenance = {**provenance, "notes": [*provenance.get("notes", ()), *notes]}
    return {**provenance, "objects": objects, "output": path.name, "overlap": overlap}


def _without_place(entry: dict[str, Any]) -> dict[str, Any]:
    """An object's entry without where it was in another file."""
    return {k: v for k, v in entry.items() if k not in ("layer", "value", "segment", "roi")}
