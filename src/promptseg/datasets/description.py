"""Facts of a dataset as a whole, from its `dataset.json`: classes, modality, licence, patients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from promptseg.datasets.classes import Classes
from promptseg.errors import InputError
from promptseg.formats.colour_coded import Colours, colours_of
from promptseg.formats.options import ReadOptions
from promptseg.formats.text import composed, read_text
from promptseg.parsing import parse_json

__all__ = [
    "Description",
    "is_open_licence",
    "may_publish",
    "modality_in",
    "modality_named",
    "read_description",
    "read_json",
    "reading_in",
    "unknown_modalities",
]

_MODALITIES = (  # words, abbreviations: "US" is ultrasound, "contact us" is not
    (r"optical[ _-]coherence", r"OCT", "OCT"),
    (r"fundus", "", "fundus"),
    (r"mammogra\w*|mammo", r"MG", "MG"),
    (r"dermoscop\w*|dermatoscop\w*", "", "dermoscopy"),
    (r"\w*(?:endo|colono|laryngo|broncho|cysto|laparo|gastro)scop\w*", "", "endoscopy"),
    (r"histolog\w*|histopath\w*|patholog\w*", r"H&E|WSI", "pathology"),
    (r"\w*microscop\w*|electron", r"[ST]?EM", "microscopy"),
    (r"ultraso\w*|sonogra\w*|echocardiogra\w*", r"US", "US"),
    (r"positron", r"PET", "PET"),
    (r"mri|cine|magnetic", r"MR|T1\w*|T2\w*|FLAIR|DWI|ADC", "MR"),
    (r"cbct|tomogra\w*", r"CT|CTA", "CT"),
    (r"x-?ray|cxr|radiogra\w*", r"XR|DX", "XR"),
)

_OPEN = re.compile(
    r"\b(CC[ -]?0|CC[ -]?BY|public domain|MIT|Apache|BSD|creative commons attribution)\b", re.I
)
_DOUBT = re.compile(
    r"\b(un\w+|NC|ND|non-?commercial\w*|no derivatives|not|no|from memory|second[ -]hand|recall|"
    r"knowledge|registration|request|research only)\b",
    re.I,
)


@dataclass(frozen=True)
class Description:
    """The parts of a `dataset.json` of our own layouts; all optional.

    Attributes:
        title: what its authors call the dataset.
        modality: one of `promptseg.image.MODALITIES`.
        classes: what the labels stand for, without the background 0; nameless if it names none.
        licence: as stated.
        may_publish_images: whether reports may show its images, see `may_publish`.
        patients: case name -> patient.
        content: the whole file.
        reading: what its image files leave open: frame, series, ... (`promptseg.formats.ReadOptions`).
    """

    title: str
    modality: str
    classes: Classes
    licence: str = ""
    may_publish_images: bool = False
    patients: dict[str, str] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    reading: ReadOptions = field(default_factory=ReadOptions)


def read_description(folder: Path) -> Description:
    """Read the `dataset.json` of a folder; without one, what the folder's name tells.

    Raises:
        InputError: not JSON, or classes that are no ids.
    """
    path = folder / "dataset.json"
    content = read_json(path) if path.is_file() else {}
    said = content.get("modality")
    licence = content.get("licence", content.get("license", ""))
    patients = content.get("patients", {})
    return Description(
        title=str(content.get("name", folder.name)),
        modality=modality_named(str(said) if said else folder.name),
        classes=Classes(
            _targets(content.get("targets", {}), path), colours=_colours(content, path)
        ),
        licence=str(licence),
        may_publish_images=may_publish(content),
        patients={composed(str(k)): str(v) for k, v in patients.items()}
        if isinstance(patients, dict)
        else {},
        content=content,
        reading=reading_in(content, path),
    )


def reading_in(content: dict[str, Any], path: Path) -> ReadOptions:
    """Return how a `dataset.json` says its images are to be read: `"read": {"frame": 0}`.

    Raises:
        InputError: no such option, or a value that makes no sense.
    """
    said, known = content.get("read", {}), ReadOptions()
    names = [f.name for f in fields(known)]
    if not isinstance(said, dict) or set(said) - set(names):
        raise InputError(f"read with {', '.join(names)}", f"{path}: {said!r}", "correct it")
    try:
        reading = replace(known, **said)
        reading.check()
    except (InputError, TypeError) as error:
        raise InputError("options to read images with", f"{path}: {said!r} ({error})") from None
    return reading


def _colours(content: dict[str, Any], path: Path) -> Colours:
    """Which label each colour of masks is: `"colours": {"1": "#800000"}`; none if it does not say."""
    said = content.get("colours", content.get("colors"))
    return colours_of(said, f"{path}: colours") if said else {}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError("a readable JSON file", f"{path} ({error})", "correct it") from None
    if not isinstance(content, dict):
        raise InputError(
            "a JSON object {...}", f"{path} with a {type(content).__name__}", "correct it"
        )
    return content


def modality_in(text: str) -> str:
    """Return the modality that some words name ("chest radiograph" -> "XR"); "unknown" if none does.

    Abbreviations count in capitals alone, words in any.
    """
    for words, abbreviations, modality in _MODALITIES:
        for known, flags in ((words, re.I), (abbreviations, 0)):
            if known and re.search(rf"(?<![A-Za-z0-9])({known})(?![A-Za-z0-9])", text, flags):
                return modality
    return "unknown"


def modality_named(name: str) -> str:
    """Return the modality, as `modality_in`, of a name or label that may begin with an abbreviation.

    So `ct__lesions` is CT and `us_breast` ultrasound, but `contact_us` neither.
    """
    said = modality_in(name)
    return said if said != "unknown" else modality_in(re.sub(r"^[A-Za-z0-9]+", _capital, name))


def unknown_modalities(read: Iterable[tuple[str, str]]) -> list[str]:
    """Say of which datasets nothing told the modality, by which values are scaled.

    Args:
        read: dataset and modality of every image that was read.

    Returns:
        One warning that names the datasets, or none.

    Examples:
        >>> from promptseg.datasets.description import unknown_modalities
        >>> unknown_modalities([("heads", "US"), ("chests", "XR")])
        []
    """
    names = dict.fromkeys(dataset for dataset, modality in read if modality == "unknown")
    if not names:
        return []
    return [
        f"the modality of {', '.join(names)} is not known, and values were scaled without it: "
        'name it as "modality" in dataset.json, or with --dataset-modality'
    ]


def _capital(word: re.Match[str]) -> str:
    return word[0].upper()


def may_publish(content: dict[str, Any]) -> bool:
    """Tell whether a dataset's images may be shown in a report that goes round.

    `"publish_images": true` or `false` decides. Otherwise the words of `licence`, and of every value
    of `image_licences`, must state an open licence (CC0, CC BY, CC BY-SA, MIT, Apache, BSD) and raise
    no doubt ("unknown", "NC", "ND", "not stated", "from memory", ...).
    """
    said = content.get("publish_images")
    if isinstance(said, bool):
        return said
    each = content.get("image_licences", {})
    texts = [str(content.get("licence", content.get("license", "")))]
    texts += [str(v) for v in each.values()] if isinstance(each, dict) else []
    return all(map(is_open_licence, texts))


def is_open_licence(text: str) -> bool:
    """Tell whether some words state an open licence without a doubt, see `may_publish`."""
    return bool(_OPEN.search(text)) and not _DOUBT.search(text)


def _targets(said: Any, path: Path) -> dict[int, str]:
    """Class id -> name, without the background; words in place of a table name nothing."""
    if not isinstance(said, dict):
        return {}
    try:
        targets = {int(key): str(name) for key, name in said.items()}
    except ValueError:
        raise InputError(
            'targets as {"1": "name", ...}', f"{path}: {', '.join(map(str, said))}", "correct it"
        ) from None
    if any(key < 0 for key in targets):
        raise InputError("targets numbered from 1", f"{path}: {min(targets)}", "correct it")
    return {key: name for key, name in sorted(targets.items()) if key}
