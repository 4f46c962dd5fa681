"""The 84 datasets of MedSAM: what each shows, where it is, under which licence, and how to open it.

Facts are of the supplement of Ma et al., "Segment anything in medical images", Nature Communications
15, 654 (2024): Tables 1 to 4, links of Tables 16 and 17. Licences, layouts and names of files are ours;
what nobody looked up says "not verified" or "unknown".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from promptseg.errors import InputError

__all__ = ["FAMILIES", "Entry", "Total", "catalogue", "commands", "entries", "find_entry", "totals"]

FAMILIES = (
    "nifti-pairs",
    "nnunet",
    "msd",
    "dicom+seg",
    "dicom+rtstruct",
    "pictures+masks",
    "coco",
    "nrrd",
    "mhd",
    "npz",
    "video-frames",
    "slides",
    "csv-rle",
    "unknown",
)
_WORDS = {
    "CXR": "XR",
    "Mammography": "MG",
    "OCT": "OCT",
    "Ultrasound": "US",
    "Dermoscopy": "dermoscopy",
    "Endoscopy": "endoscopy",
    "Fundus": "fundus",
    "Pathology": "pathology",
    "PET-CT": "PET",
    "CT": "CT",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One dataset.

    Attributes:
        dataset: its name in the supplement.
        modality: as the supplement says it ("MR-T1ce").
        targets: what is outlined, in words.
        count: how many there are of `unit`.
        unit: "scans" or "images".
        split: "internal" or "external" validation of MedSAM.
        link: where to get it.
        licence: as far as known; "second hand" where it was read elsewhere than at its source.
        layout: family of its files, one of `FAMILIES`.
        opens: the layout of `promptseg.datasets` that opens it after `how`; "" if none does.
        classes: what the values of its labels stand for, "1: kidney; 2: tumor"; "" where nobody
            looked it up, or where its own files say it.
        images, labels: the two patterns of the layout "patterns"; for "rle" a pattern, and the table
            with its columns.
        how: what to do after the download.
    """

    dataset: str
    modality: str
    targets: str
    count: int
    unit: str
    split: str
    link: str
    licence: str
    layout: str
    opens: str
    classes: str
    images: str
    labels: str
    how: str

    @property
    def kind(self) -> str:
        """Return its modality, one of `promptseg.image.MODALITIES`; PET-CT counts as PET."""
        return _WORDS.get(self.modality, "MR")

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain values, with `kind` and the `dataset.json` to write."""
        return {**asdict(self), "kind": self.kind, "dataset_json": self.description()}

    def description(self) -> dict[str, Any]:
        """Return the content of `dataset.json` beside the unpacked data; empty where none is needed."""
        if not self.images:
            return {}
        file = PurePosixPath(self.images).name
        modality = "CT" if "CT" in file else self.kind  # of HECKTOR and HaN-Seg the CT is taken
        said: dict[str, Any] = {
            "name": self.dataset,
            "modality": modality,
            "licence": self.licence,
        }
        if self.classes:
            said["targets"] = dict(each.split(": ") for each in self.classes.split("; "))
        if self.opens == "rle":
            table, columns = self.labels.split(": ")
            names = dict(zip(("id", "pixels"), columns.split(", "), strict=True))
            return {"image_files": self.images, "run_lengths": {"file": table, **names}, **said}
        return {"image_files": self.images, "label_files": self.labels, **said}


class Total(NamedTuple):
    """The catalogue's datasets of one modality, counted.

    Attributes:
        kind: the modality in our own words.
        datasets: how many.
        scans: of their scans, where they count scans.
        images: of their images, where they count images.
        opened: datasets that one of our layouts opens.
    """

    kind: str
    datasets: int
    scans: int
    images: int
    opened: int


@cache
def catalogue() -> tuple[Entry, ...]:
    """Return all datasets of the catalogue, in the order of the supplement."""
    text = files("promptseg.curate").joinpath("catalogue.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Entry(count=int(row.pop("count")), **row) for row in rows)


def entries(
    modality: str | None = None, split: str | None = None, layout: str | None = None
) -> list[Entry]:
    """Return the datasets of the catalogue that fit some words.

    Args:
        modality: in our words or in those of the supplement ("MR", "MR-T1", "CXR"), in any case; a
            PET-CT is found under PET and under CT.
        split: "internal" or "external".
        layout: one of `FAMILIES`, or a layout of ours that opens them.

    Raises:
        InputError: a word that no dataset has.
    """
    found = list(catalogue())
    if modality is not None:
        wanted = modality.casefold()
        found = [entry for entry in found if wanted in _modalities(entry)]
        _require(found, "modality", modality, {entry.kind for entry in catalogue()})
    if split is not None:
        _require(
            [e for e in catalogue() if e.split == split], "split", split, {"internal", "external"}
        )
        found = [entry for entry in found if entry.split == split]
    if layout is not None:
        known = {e.layout for e in catalogue()} | {e.opens for e in catalogue()} - {""}
        _require([k for k in known if k == layout], "layout", layout, known)
        found = [entry for entry in found if layout in (entry.layout, entry.opens)]
    return found


def find_entry(name: str) -> Entry:
    """Return the dataset of this name; case, blanks and dashes do not count.

    Raises:
        InputError: none; close names are offered.
    """
    by_key = {_key(entry.dataset): entry for entry in catalogue()}
    if _key(name) in by_key:
        return by_key[_key(name)]
    close = [by_key[key].dataset for key in get_close_matches(_key(name), by_key, n=3, cutoff=0.6)]
    close += [e.dataset for k, e in by_key.items() if _key(name) and _key(name) in k]
    offered = list(dict.fromkeys(close))[:5]
    raise InputError(
        "the name of a dataset of the catalogue",
        repr(name),
        f"did you mean {', '.join(offered)}?" if offered else "see promptseg curate list",
    )


def totals(found: Iterable[Entry]) -> list[Total]:
    """Sum the datasets up by modality, those with most datasets first."""
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        groups.setdefault(entry.kind, []).append(entry)
    sums = [
        Total(
            kind,
            len(own),
            sum(e.count for e in own if e.unit == "scans"),
            sum(e.count for e in own if e.unit == "images"),
            sum(bool(e.opens) for e in own),
        )
        for kind, own in groups.items()
    ]
    return sorted(sums, key=lambda total: (-total.datasets, total.kind))


def commands(entry: Entry) -> list[str]:
    """Return what to type after the download, from the data to training.

    Args:
        entry: the dataset.

    Returns:
        Lines; FOLDER is where the data were unpacked.
    """
    lines = []
    if entry.images:
        said = json.dumps(entry.description(), ensure_ascii=False)
        lines.append(
            f"# FOLDER/dataset.json, or these keys added to the one that is there:\n{said}"
        )
    if entry.opens:
        lines += [
            "promptseg curate -i FOLDER -o COLLECTION",
            "promptseg curate check COLLECTION",
        ]
    return lines


def _modalities(entry: Entry) -> set[str]:
    """Every word that an entry is found by, in small letters."""
    said = [part.strip() for part in entry.modality.split(",")]
    words = {entry.kind, *said, *(["CT"] if entry.modality == "PET-CT" else [])}
    return {word.casefold() for word in words}


def _key(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _require(found: list[Any], what: str, got: str, known: set[str]) -> None:
    if not found:
        raise InputError(
            f"a {what} out of {', '.join(sorted(known))}", repr(got), "choose one of these"
        )
