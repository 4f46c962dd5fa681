"""Provenance of a result: what made it, as a typed record, written beside it as JSON to make it again.

A record is made once, where a job ends. Files of earlier versions are read; fields of later ones are
kept as they are. `Provenance.public` is what may leave the house with the masks: every record lists
the fields that may be shown, so that a new field is private until somebody says otherwise.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from promptseg._version import __version__
from promptseg.notes import Note
from promptseg.provenance.public import (
    as_it_is,
    every,
    file_name,
    only,
    prompt_entries,
    public_notes,
    stretches,
)
from promptseg.provenance.record import (
    Record,
    fact,
    mapping,
    nested,
    number,
    numbers,
    records,
    switch,
    text,
    texts,
    whole,
    whole_numbers,
)

__all__ = [
    "DISCLAIMER",
    "Conversion",
    "Corrected",
    "InputFacts",
    "IntensityFacts",
    "ModelFacts",
    "ObjectFacts",
    "PreprocessingFacts",
    "Provenance",
    "now",
    "software",
]

DISCLAIMER = "research software, not a medical device"

_LIBRARIES = ("torch", "numpy", "SimpleITK", "nibabel", "pydicom", "highdicom", "pillow", "scipy")
_MEASURED = (
    *("voxels", "volume_ml", "area_mm2", "area_px", "long_axis", "short_axis", "unit", "slice"),
    "frames",
)
_OPTIONS = (
    *("modality", "window", "axis", "slices", "batch", "propagate", "margin", "margin_pixels"),
    *("min_iou", "min_area", "min_quality", "max_growth", "agreement", "largest_component"),
    *("fill_holes", "smooth_slices", "force", "min_score", "instances", "max_overlap"),
    "link",
)
_JOB_OPTIONS = (
    *("frame", "suv", "microns", "nan_as", "device", "threads", "engine", "overlap"),
    *("deidentify", "overlay", "embeddings_limit", "tile", "tile_overlap", "mirror", "uncertainty"),
)


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def software() -> dict[str, str]:
    """Return the versions of this package, of Python and of the libraries that a result depends on."""
    return {"promptseg": __version__, "python": platform.python_version(), **_libraries()}


@cache
def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


@dataclass(frozen=True, kw_only=True)
class InputFacts(Record):
    """The image; see `promptseg.geometry` for the grid."""

    path: str | None = fact(text)
    format: str | None = fact(text)
    modality: str | None = fact(text)
    shape: tuple[int, ...] | None = fact(whole_numbers)
    spacing: tuple[float, ...] | None = fact(numbers)
    unit: str | None = fact(text)
    orientation: str | None = fact(text)
    voxels_sha256: str | None = fact(text)

    null_fields: ClassVar = frozenset({"path", "orientation"})
    public_fields: ClassVar = dict.fromkeys(
        ("format", "modality", "shape", "spacing", "unit", "orientation", "voxels_sha256"), as_it_is
    )


@dataclass(frozen=True, kw_only=True)
class ModelFacts(Record):
    """The model, the name of its file, and what executed it.

    `digits`: which digits of the result depend on the engine; `chosen`: why, where evidence chose.
    """

    name: str | None = fact(text)
    weights: str | None = fact(text)
    weights_sha256: str | None = fact(text)
    licence: str | None = fact(text)
    citation: str | None = fact(text)
    device: str | None = fact(text)
    engine: str | None = fact(text)
    precision: str | None = fact(text)
    digits: str | None = fact(text)
    threads: int | None = fact(whole)
    chosen: Mapping[str, Any] | None = fact(mapping)

    public_fields: ClassVar = {
        "chosen": only("by", "why", "modality", "protocol"),
        **dict.fromkeys(
            ("name", "weights_sha256", "licence", "citation", "device", "engine", "precision"),
            as_it_is,
        ),
        "digits": as_it_is,
        "threads": as_it_is,
    }


@dataclass(frozen=True, kw_only=True)
class IntensityFacts(Record):
    """Rule by which values became 0..255; the fields are those of `promptseg.intensity.Intensity`."""

    modality: str | None = fact(text)
    rule: str | None = fact(text)
    lower: float | None = fact(number)
    upper: float | None = fact(number)
    guessed: bool | None = fact(switch)

    null_fields: ClassVar = frozenset({"lower", "upper"})
    public_fields: ClassVar = dict.fromkeys(
        ("modality", "rule", "lower", "upper", "guessed"), as_it_is
    )


@dataclass(frozen=True, kw_only=True)
class PreprocessingFacts(Record):
    """Preprocessing for the network: the input's longer side in pixels, and the scaling of values."""

    size: int | None = fact(whole)
    scaling: str | None = fact(text)

    public_fields: ClassVar = dict.fromkeys(("size", "scaling"), as_it_is)


@dataclass(frozen=True, kw_only=True)
class ObjectFacts(Record):
    """One object; its measurements, see `promptseg.segment.measure`, stand in `more`.

    Where its voxels are in the mask file: the number they have (`value`), in a file of layers with the
    layer, from 0; in DICOM the segment number, or the ROI number. `words`: what it was found by, and
    how surely, slice by slice.
    """

    label: int | None = fact(whole)
    name: str | None = fact(text)
    predicted_iou: float | None = fact(number)
    low_confidence: bool | None = fact(switch)
    prompted_slices: tuple[int, ...] | None = fact(whole_numbers)
    value: int | None = fact(whole)
    layer: int | None = fact(whole)
    segment: int | None = fact(whole)
    roi: int | None = fact(whole)
    words: Mapping[str, Any] | None = fact(mapping)

    null_fields: ClassVar = frozenset({"predicted_iou"})
    public_fields: ClassVar = {
        **dict.fromkeys(("label", "name", "predicted_iou", "low_confidence"), as_it_is),
        **dict.fromkeys(("prompted_slices", "value", "layer", "segment", "roi"), as_it_is),
        "words": only("text", "score", "code", "meaning", scores=as_it_is, presence=as_it_is),
        "more": only(*_MEASURED, absent=stretches),
    }

    @property
    def measurements(self) -> Mapping[str, Any]:
        """Return sizes by name, with their unit."""
        return self.more


@dataclass(frozen=True, kw_only=True)
class Corrected(Record):
    """The earlier run whose masks were corrected."""

    output: str | None = fact(text)
    created: str | None = fact(text)
    prompts: Mapping[str, Any] | None = fact(mapping)
    corrects: Mapping[str, Any] | None = fact(mapping)

    public_fields: ClassVar = {"created": as_it_is}

    @classmethod
    def of(cls, earlier: Provenance) -> Corrected:
        """Return the facts of a run that the provenance of its correction keeps."""
        return cls(
            output=earlier.output,
            created=earlier.created,
            prompts=earlier.prompts,
            corrects=None if earlier.corrects is None else earlier.corrects.to_json(),
        )


@dataclass(frozen=True, kw_only=True)
class Conversion(Record):
    """The file that masks were converted from."""

    path: str | None = fact(text)
    software: Mapping[str, Any] | None = fact(mapping)
    created: str | None = fact(text)

    null_fields: ClassVar = frozenset({"path"})
    public_fields: ClassVar = {"software": only("promptseg"), "created": as_it_is}


def _prompt_file(value: Any) -> dict[str, Any]:
    content: dict[str, Any] = mapping(value)
    entries = content.get("objects", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TypeError("the content of a prompt file")
    return content


def _notes(value: Any) -> tuple[Note, ...]:
    return tuple(Note(line) for line in texts(value))


@dataclass(frozen=True, kw_only=True)
class Provenance(Record):
    """Everything that made a result; false where nothing is known.

    Attributes:
        software: versions.
        created: when, ISO 8601.
        notice: that this is no medical device.
        input: the image.
        model: the model.
        started_by: the model whose masks started the objects, where that was another one.
        intensity: how values became 0..255.
        preprocessing: what the network saw.
        prompts: as a prompt file holds them.
        options: those of `SegmentOptions`.
        notes: what the user was told.
        timings: seconds, and slices encoded.
        session: the steps of a session.
        objects: one entry per object.
        masks_sha256: hash of the masks; see `Segmentation.sha256`.
        corrects: the earlier run, of a correction.
        converted: the earlier file, of a conversion.
        command: the options of the command line, without prompts, to do it again.
        request: what the result depends on, of one image of a folder.
        deidentified: keywords of what `--deidentify` left out.
        output: name of the mask file, or address of the stored object.
        overlap: what became of overlapping objects in that file.
        instance: SOP instance UID of the stored object.
    """

    software: Mapping[str, Any] | None = fact(mapping)
    created: str | None = fact(text)
    notice: str | None = fact(text)
    input: InputFacts | None = fact(nested(InputFacts))
    model: ModelFacts | None = fact(nested(ModelFacts))
    started_by: ModelFacts | None = fact(nested(ModelFacts))
    intensity: IntensityFacts | None = fact(nested(IntensityFacts))
    preprocessing: PreprocessingFacts | None = fact(nested(PreprocessingFacts))
    prompts: Mapping[str, Any] | None = fact(_prompt_file)
    options: Mapping[str, Any] | None = fact(mapping)
    notes: tuple[Note, ...] | None = fact(_notes)
    timings: Mapping[str, Any] | None = fact(mapping)
    session: tuple[str, ...] | None = fact(texts)
    objects: tuple[ObjectFacts, ...] | None = fact(records(ObjectFacts))
    masks_sha256: str | None = fact(text)
    corrects: Corrected | None = fact(nested(Corrected))
    converted: Conversion | None = fact(nested(Conversion))
    command: Mapping[str, Any] | None = fact(mapping)
    request: Mapping[str, Any] | None = fact(mapping)
    deidentified: tuple[str, ...] | None = fact(texts)
    output: str | None = fact(text)
    overlap: str | None = fact(text)
    instance: str | None = fact(text)

    public_fields: ClassVar = {
        "software": only("promptseg", "python", *_LIBRARIES),
        **dict.fromkeys(("created", "notice", "session", "masks_sha256"), as_it_is),
        **dict.fromkeys(("input", "model", "started_by", "intensity", "preprocessing"), every),
        "prompts": prompt_entries,
        "options": only(*_OPTIONS),
        "notes": public_notes,
        "timings": only(
            "prepare_s", "segment_s", "slices_encoded", "cache_hits", "slices_recalled"
        ),
        **dict.fromkeys(("objects", "corrects", "converted"), every),
        "command": only(*_OPTIONS, *_JOB_OPTIONS, output=file_name),
        "request": only(*_OPTIONS, *_JOB_OPTIONS, "sha256"),
        **dict.fromkeys(("deidentified", "overlap", "instance"), as_it_is),
        "output": file_name,
    }

    def __getitem__(self, name: str) -> Any:
        _say_old(name)
        return self.to_json()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a fact as a plain value, as from the dictionary that this was before."""
        _say_old(name)
        return self.to_json().get(name, default)


def _say_old(name: str) -> None:
    note = f"provenance[{name!r}] is now provenance.{name}; the old way goes with the next version"
    warnings.warn(note, DeprecationWarning, stacklevel=3)
