"""A segment's name as the terminology entry that Slicer keeps with it."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Dict, Optional, Tuple

__all__ = ["terminology"]

_TABLE = Path(__file__).resolve().parent / "vendor" / "terms.csv"
_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"
_STRUCTURE = "SCT^123037004^Anatomical Structure"  # as this list of Slicer has it
_ALTERED = "SCT^49755003^Morphologically Altered Structure"
_NONE = "^^"

Row = Dict[str, str]


def _rows() -> Dict[str, Row]:
    """The table by names and other words, in small letters."""
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {word: row for row in rows for word in row["synonyms"].split(";") if word}
    return {**found, **{row["name"]: row for row in rows}}


def _parts(name: str) -> Tuple[Optional[Row], Optional[Row], Optional[Row]]:
    """Structure, abnormality and side; None where the name says none, or says something else, too."""
    rows = _rows()
    words = " ".join(w for w in re.split(r"[^a-z]+", name.lower()) if w)
    parts: Dict[str, Row] = {}
    while words:
        for length in range(len(words.split()), 0, -1):
            phrase = " ".join(words.split()[:length])
            row = rows.get(phrase)
            if row is not None and row["kind"] != "category" and row["kind"] not in parts:
                parts[row["kind"]] = row
                words = words[len(phrase) :].strip()
                break
        else:
            return None, None, None
    return parts.get("structure"), parts.get("abnormality"), parts.get("side")


def terminology(name: str, code: str = "") -> Optional[str]:
    """The entry for a name, or None where the table does not know all of it.

    Args:
        name: of the segment.
        code: of SNOMED CT, of the words that it was found by; it counts where the name says nothing.

    Example:
        >>> terminology("Liver tumour").split("~")[1:3]
        ['SCT^49755003^Morphologically Altered Structure', 'SCT^108369006^Neoplasm']
    """
    structure, abnormality, side = _parts(name)
    if structure is None and abnormality is None and code:
        coded = next((row for row in _rows().values() if row["code"] == code), None)
        if coded is not None and coded["kind"] in ("structure", "abnormality"):
            altered = coded["kind"] == "abnormality"
            structure, abnormality = (None, coded) if altered else (coded, None)
    thing = abnormality or structure
    if thing is None:
        return None
    category = _ALTERED if abnormality else _STRUCTURE
    region = _coded(structure) if abnormality and structure else _NONE
    sides = (_NONE, _coded(side)) if abnormality and structure else (_coded(side), _NONE)
    return "~".join([_LIST, category, _coded(thing), sides[0], _REGIONS, region, sides[1]])


def _coded(row: Optional[Row]) -> str:
    return _NONE if row is None else f"SCT^{row['code']}^{row['meaning']}"
