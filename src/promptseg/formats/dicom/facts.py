"""Facts from DICOM headers beside the image: series, objects made from them, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom

from promptseg.formats.dicom import Instance, Series
from promptseg.formats.dicom.identity import identifying_fields
from promptseg.formats.dicom.parse import parse
from promptseg.formats.files import files_below

__all__ = ["identifying_in", "object_facts", "objects_in", "series_facts"]

_KINDS = {"SEG": "segmentation", "RTSTRUCT": "contours"}


def series_facts(series: Series) -> dict[str, Any]:
    """Return what is known of one series of images: uid, modality, description, slices, files."""
    return {
        "uid": series.uid,
        "modality": series.modality,
        "description": series.description,
        "slices": sum(i.frame_count for i in series.instances),
        "files": len(series.instances),
    }


def objects_in(path: Path) -> list[Instance]:
    """Find the SEG and RTSTRUCT objects in a folder or file."""
    files = [path]
    if path.is_dir():
        files = files_below(path)
    found = (parse(file) for file in files)
    return [i for i in found if i and i.header.get("Modality") in _KINDS]


def object_facts(made: Instance) -> dict[str, Any]:
    """Return what a SEG or RTSTRUCT says: what it is, what it names, and what it refers to.

    Returns:
        `file`, `kind` ("segmentation" or "contours"), `modality`, `description`, `segments` (`number`
        and `name`), `references` (`series` and number of `instances`), `frame_of_reference` and, of a
        segmentation, `size_xyz` with the frames last.
    """
    header = made.header
    modality = str(header.Modality)
    if modality == "SEG":
        named = [(s.get("SegmentNumber"), s.get("SegmentLabel")) for s in _items(header, "Segment")]
        refers = [(s, _items(s, "ReferencedInstance")) for s in _items(header, "ReferencedSeries")]
        size = [header.get(k) for k in ("Columns", "Rows", "NumberOfFrames")]
    else:
        rois = _items(header, "StructureSetROI")
        named = [(s.get("ROINumber"), s.get("ROIName")) for s in rois]
        refers = [
            (series, _items(series, "ContourImage"))
            for frame in _items(header, "ReferencedFrameOfReference")
            for study in _items(frame, "RTReferencedStudy")
            for series in _items(study, "RTReferencedSeries")
        ]
        size = None
    return {
        "file": made.path.name,
        "kind": _KINDS[modality],
        "modality": modality,
        "description": str(
            header.get("SeriesDescription") or header.get("StructureSetLabel") or ""
        ),
        "segments": [{"number": _whole(n), "name": str(name or "")} for n, name in named],
        "references": [
            {"series": str(s.get("SeriesInstanceUID", "")), "instances": len(instances)}
            for s, instances in refers
        ],
        "frame_of_reference": _frame_of_reference(header),
        "size_xyz": None if size is None else [_whole(n) for n in size],
    }


def identifying_in(headers: Iterable[pydicom.Dataset]) -> list[str]:
    """Return the keywords, never the values, of the attributes that may tell who the patient is."""
    held = [k for header in headers for k in identifying_fields(header)]
    return list(dict.fromkeys(held))


def _frame_of_reference(header: pydicom.Dataset) -> str | None:
    frames = [header, *_items(header, "ReferencedFrameOfReference")]
    uids = [str(uid) for f in frames if (uid := f.get("FrameOfReferenceUID"))]
    return uids[0] if uids else None


def _items(dataset: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    return list(dataset.get(name + "Sequence") or ())


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
