"""Names of BIDS: entities, suffixes, and the look-up tables that a file inherits.

sub-01/ses-02/anat/sub-01_ses-02_desc-T1w_dseg.nii.gz
entities {"sub": "01", "ses": "02", "desc": "T1w"}, suffix "dseg"
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from promptseg._version import __version__
from promptseg.formats.text import read_text
from promptseg.image import Segmentation
from promptseg.parsing import parse_json

__all__ = [
    "DESCRIPTION",
    "BidsName",
    "derivative_name",
    "inherited_tables",
    "is_dseg",
    "links_of",
    "parse_name",
    "root_above",
    "sidecar_of",
]

DESCRIPTION = "dataset_description.json"
"""What makes a folder a BIDS dataset."""

_ENTITY = re.compile(r"([a-z]+)-([a-zA-Z0-9+]+)")
_OURS = ("space", "res", "den", "desc", "label", "seg", "atlas")
_LAST = ("space", "res", "den", "label", "seg", "desc")


@dataclass(frozen=True)
class BidsName:
    """A file name taken apart.

    Attributes:
        entities: key -> value, in their order.
        suffix: what kind of data it is ("T1w", "dseg").
        ending: from the first dot on.
    """

    entities: dict[str, str]
    suffix: str
    ending: str

    @property
    def source(self) -> dict[str, str]:
        """Return the entities that a derivative shares with what it was made from."""
        return {key: value for key, value in self.entities.items() if key not in _OURS}

    def __str__(self) -> str:
        parts = [f"{key}-{value}" for key, value in self.entities.items()]
        return "_".join([*parts, self.suffix]) + self.ending


def parse_name(name: str) -> BidsName | None:
    """Parse a file name by the rules of BIDS; None for any other."""
    stem, dot, ending = name.partition(".")
    *parts, suffix = stem.split("_")
    found = [_ENTITY.fullmatch(part) for part in parts]
    if not dot or not suffix.isalnum() or not all(found):
        return None
    entities = {match[1]: match[2] for match in found if match}
    return BidsName(entities, suffix, dot + ending) if len(entities) == len(parts) else None


def is_dseg(path: Path) -> bool:
    """Tell whether a file is called as BIDS calls a discrete segmentation."""
    return path.name.lower().endswith("_dseg.nii.gz")


def derivative_name(image: BidsName) -> str:
    """Return the name of the segmentation of an image.

    Images of one scan differ in their suffix alone, which a segmentation has no room for: it becomes
    the description (`desc-T1w`), after the image's own if there is one.
    """
    desc = image.entities.get("desc", "") + image.suffix
    entities = {k: v for k, v in image.entities.items() if k not in _LAST}
    kept = {k: image.entities[k] for k in _LAST if k in image.entities}
    return str(BidsName({**entities, **kept, "desc": desc}, "dseg", ".nii.gz"))


def inherited_tables(mask: Path) -> Iterator[Path]:
    """Yield label tables that hold for this mask among others, nearest first (inheritance principle).

    In the folders above, as far as the one with the description: `..._dseg.tsv` whose entities are all
    among the mask's.
    """
    name = parse_name(mask.name)
    if name is None:
        return
    folder = mask.absolute().parent
    while True:
        for path in sorted(folder.glob("*dseg.tsv"), key=lambda p: (-len(p.name), p.name)):
            said = parse_name(path.name)
            if said and said.suffix == "dseg" and said.entities.items() <= name.entities.items():
                yield path
        if (folder / DESCRIPTION).exists() or folder.parent == folder:
            return
        folder = folder.parent


def sidecar_of(segmentation: Segmentation, mask: Path) -> str:
    """Return the JSON that BIDS has beside a segmentation.

    Args:
        segmentation: the objects, with what made them.
        mask: where it goes; below a dataset that links to its raw data, the image is named as source.
    """
    facts = segmentation.provenance
    content: dict[str, object] = {"GeneratedBy": {"Name": "promptseg", "Version": __version__}}
    if facts.model and facts.model.name:
        content |= {"Manual": False, "SegmentationModel": facts.model.name}
    image = segmentation.source.path
    if image is not None and facts.deidentified is None and (root := root_above(image)):
        own = root_above(mask)
        if own is not None and "raw" in links_of(own):
            content["Sources"] = [f"bids:raw:{image.absolute().relative_to(root).as_posix()}"]
    return json.dumps(content, indent=2) + "\n"


def root_above(path: Path) -> Path | None:
    """Return the dataset that a file lies in: the nearest folder above with a description."""
    folders = path.absolute().parents
    return next((folder for folder in folders if (folder / DESCRIPTION).is_file()), None)


def links_of(root: Path) -> dict[str, str]:
    """Return the datasets that a dataset refers to, by the names it gives them (`DatasetLinks`)."""
    try:
        said = parse_json(read_text(root / DESCRIPTION))
    except (OSError, ValueError):
        return {}
    links = said.get("DatasetLinks") if isinstance(said, dict) else None
    return {str(k): str(v) for k, v in links.items()} if isinstance(links, dict) else {}
