"""Results without anything that says who the patient is.

DICOM outputs take their facts from the headers of the source and the provenance from where it lies,
so those are cleaned before anything is written. Names that a person gave to objects and files stay.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from promptseg.formats.dicom.instances import DicomSource
from promptseg.image import Segmentation, Source

__all__ = ["deidentified"]

log = logging.getLogger("promptseg")

_PATHS = ("input", "correct", "mask", "markers", "prompts", "reference", "embeddings")


def deidentified(segmentation: Segmentation) -> Segmentation:
    """The same masks, of a source that is not said to be anyone's.

    The keywords of what was removed, never the values, stand in the provenance as `deidentified`, and
    in a note. UIDs of study, series and instances stay, because a DICOM SEG or RTSTRUCT refers to its
    image by them.
    """
    source = segmentation.source
    header = source.header
    removed: set[str] = set()
    if isinstance(header, DicomSource):
        header, removed = _anonymous(header)
    if source.path is not None:
        removed.add("input path")
    log.warning("removed: %s", ", ".join(sorted(removed)) or "nothing, there was nothing")
    log.warning("kept: the UIDs that refer to the image, names of objects, and what pixels show")
    nobody = Source(None, source.format, header, source.grid, source.prompts)
    provenance = _without_places(segmentation.provenance, source.notes)
    provenance["deidentified"] = sorted(removed)
    return dataclasses.replace(segmentation, source=nobody, provenance=provenance)


def _anonymous(source: DicomSource) -> tuple[DicomSource, set[str]]:
    from promptseg.formats.dicom.identity import identifying_fields, without_identity

    removed: set[str] = set()
    clean: dict[int, Any] = {}  # the frames of one object share its header
    slices = []
    for instance in source.slices:
        key = id(instance.header)
        if key not in clean:
            removed.update(identifying_fields(instance.header))
            clean[key] = without_identity(instance.header)
        slices.append(dataclasses.replace(instance, header=clean[key]))
    return DicomSource(tuple(slices)), removed


def _without_places(provenance: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """A provenance without paths of inputs, and without the reader's notes, which name files."""
    clean = dict(provenance)
    for part in ("input", "converted"):
        if isinstance(clean.get(part), dict):
            clean[part] = {**clean[part], "path": None}
    if isinstance(clean.get("command"), dict):
        clean["command"] = {k: v for k, v in clean["command"].items() if k not in _PATHS}
        if output := clean["command"].get("output"):
            clean["command"]["output"] = Path(output).name
    if isinstance(clean.get("request"), dict):  # of a folder of images
        clean["request"] = {
            k: v for k, v in clean["request"].items() if k not in ("input", "output")
        }
    if isinstance(clean.get("prompts"), dict):
        clean["prompts"] = {k: v for k, v in clean["prompts"].items() if k != "image"}
    if isinstance(clean.get("corrects"), dict):
        clean["corrects"] = {k: v for k, v in clean["corrects"].items() if k == "created"}
    if "converted" in clean:  # notes of an earlier run, which cannot be told from its reader's
        clean["notes"] = []
    elif "notes" in clean:
        clean["notes"] = [note for note in clean["notes"] if note not in notes]
    return clean
