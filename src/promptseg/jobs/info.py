"""One path -> everything that was understood of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptseg.errors import ChoiceError, InputError
from promptseg.formats import format_by_suffix, is_dicom_file, read
from promptseg.formats.dicom import DicomSource, scan
from promptseg.formats.dicom.facts import identifying_in, object_facts, objects_in, series_facts
from promptseg.formats.dicom.identity import holds_own_facts
from promptseg.formats.location import address_in, shown
from promptseg.formats.options import ReadOptions
from promptseg.formats.video import Selection, is_video, open_video
from promptseg.image import Image
from promptseg.intensity import Intensity, choose_intensity
from promptseg.models.cards import CARDS
from promptseg.notes import notes_of

__all__ = ["Facts", "gather"]

_SAMPLE = 16  # frames that gray values are measured on
_FREE_TEXT = ("descrip", "db_name", "aux_file", "intent_name")


@dataclass
class Facts:
    """Facts that were understood of a path; the fields are the keys of `promptseg info --json`.

    Attributes:
        path: as it was given.
        format: family of files.
        kind: 2D image, volume, video, segmentation or contours; None where one series is to be chosen.
        colour: whether a voxel is RGB.
        modality: as named by the file; "unknown" if it says nothing.
        modality_guess: what an unknown modality is taken for.
        size_xyz: columns, rows and slices or frames.
        spacing_xyz: distances of voxels along these axes, in `unit`.
        unit: "mm" or "pixel".
        orientation: side that x, y and z grow towards (L/R, P/A, S/I); None if it is not known.
        origin: LPS position of the first voxel.
        direction: 3 x 3, its columns the directions of x, y and z.
        orthogonal: whether the axes are at right angles.
        dtype: of the values.
        range: lowest and highest value.
        intensity: how values become gray, in words.
        frames: of a file with several: `count`, the one that is `shown`, and `what` they are.
        video: of a video: `codec`, `rate` (mean, frames a second), `duration_s`, whether the rate is
            `even`, and whether frames are `turned` as the file says; rate and duration are None where
            nothing says when frames were taken.
        series: of a DICOM file, folder or study: every series of images, with `uid`, `modality`,
            `description`, `slices` (frames count; None on a server) and `files`.
        objects: SEG and RTSTRUCT objects in a DICOM file or folder.
        identifying_fields: keywords of DICOM attributes that may tell who the patient is; None where
            there is no DICOM header to look at.
        free_text: NIfTI header fields that hold text, which may tell it too.
        prompts_in_file: prompts the file itself carries.
        notes: facts and warnings found on the way.
    """

    path: str
    format: str = ""
    kind: str | None = None
    colour: bool | None = None
    modality: str | None = None
    modality_guess: str | None = None
    size_xyz: list[int] | None = None
    spacing_xyz: list[float] | None = None
    unit: str | None = None
    orientation: str | None = None
    origin: list[float] | None = None
    direction: list[list[float]] | None = None
    orthogonal: bool | None = None
    dtype: str | None = None
    range: list[float] | None = None
    intensity: str | None = None
    frames: dict[str, Any] | None = None
    video: dict[str, Any] | None = None
    series: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    identifying_fields: list[str] | None = None
    free_text: list[str] = field(default_factory=list)
    prompts_in_file: int = 0
    notes: list[str] = field(default_factory=list)


def gather(
    path: Path, options: ReadOptions | None = None, window: str | None = None
) -> tuple[Facts, tuple[Image, Intensity] | None]:
    """Return everything that was understood of a path.

    Of a file with several frames the first is read, unless one is chosen. Several series, or masks
    alone, are described without an image.

    Args:
        path: file, folder or `dicomweb://...`.
        options: choices that the file leaves open.
        window: how values become gray, over the rule of the modality.

    Returns:
        The facts, and the image with the way its values are shown, if there is one.

    Raises:
        PromptsegError: nothing that can be read.
    """
    options = options or ReadOptions()
    facts = Facts(shown(path))
    if _remote_list(path, options, facts) or _local_list(path, options, facts):
        return facts, None
    if _is_video(path) and options.frame is None:
        return facts, _video(path, options, window, facts)
    image = _read(path, options, facts)
    intensity = choose_intensity(image, window=window, keep_8bit=CARDS["lite-medsam"].keep_8bit)
    _add_image(facts, image, intensity)
    return facts, (image, intensity)


def _remote_list(path: Path, options: ReadOptions, facts: Facts) -> bool:
    """List the series of a study on a server; whether that is all there is to say."""
    if address_in(path) is None:
        return False
    from promptseg.formats.dicomweb import Address, series_at

    listed = series_at(Address.parse(path))
    facts.format = "dicomweb"
    facts.series = [
        {
            "uid": s.uid,
            "modality": s.modality,
            "description": s.description,
            "slices": None,
            "files": s.count,
        }
        for s in listed
    ]
    return len(_images(facts.series)) != 1 and options.series is None


def _local_list(path: Path, options: ReadOptions, facts: Facts) -> bool:
    """List the series and objects of a DICOM file or folder; whether that is all there is to say."""
    if not _may_be_dicom(path):
        return False
    found = scan(path)
    facts.format = "dicom"
    facts.series = [series_facts(s) for s in found.series]
    made = objects_in(path) if found.derived else []
    facts.objects = [object_facts(one) for one in made]
    instances = [i for s in found.series for i in s.instances] + made
    facts.identifying_fields = identifying_in(i.header for i in instances)
    if made and not facts.series and all(holds_own_facts(one.header) for one in made):
        facts.notes.append(
            "promptseg removed the patient's identity; the identifying fields were written for the "
            "mask itself afterwards"
        )
    if facts.objects and not facts.series:
        kinds = {o["kind"]: o["modality"] for o in facts.objects}
        if len(kinds) == 1:
            ((facts.kind, facts.modality),) = kinds.items()
        return True
    return len(_images(facts.series)) > 1 and options.series is None


def _may_be_dicom(path: Path) -> bool:
    if not os.path.isfile(path):  # never raises, and is no for pipes, which may never end
        return os.path.isdir(path)
    known = format_by_suffix(path)
    return is_dicom_file(path) or (known is not None and known.module == "dicom")


def _images(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The series that an image could be read from without being asked for."""
    others = {"RTDOSE", "SEG", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG", "DOC"}
    return [s for s in series if s["modality"] not in others] or series


def _read(path: Path, options: ReadOptions, facts: Facts) -> Image:
    """The image, or the first of several frames."""
    what = None
    try:
        image = read(path, options)
    except ChoiceError as error:
        if options.frame is not None or error.option != "frame":
            raise
        what = error.offers
        try:
            image = read(path, options, frame=0)
        except InputError:
            raise error from None  # slices that do not fit, rather than frames
    for note in notes_of(image.source.notes, "frame"):
        shown, count = note.facts["index"], note.facts["count"]
        facts.frames = {"count": count, "shown": shown, "what": what or str(note)}
    if image.kind == "video":
        count = image.geometry.shape[0]
        facts.frames = {"count": count, "shown": None, "what": f"{count} frames in time"}
    return image


def _is_video(path: Path) -> bool:
    return is_video(path) and not _holds_dicom(path)


def _holds_dicom(path: Path) -> bool:
    return os.path.isdir(path) and any(map(is_dicom_file, sorted(path.iterdir())))


def _video(
    path: Path, options: ReadOptions, window: str | None, facts: Facts
) -> tuple[Image, Intensity]:
    """A video whose frames are decoded when they are looked at; all of them are counted."""
    video = open_video(path, options).video
    whole = Selection(video, range(len(video)))
    image = whole.image()
    sample = whole.sample(_SAMPLE)
    keep = CARDS["lite-medsam"].keep_8bit
    intensity = choose_intensity(sample, window=window, keep_8bit=keep)
    _add_grid(facts, image)
    facts.dtype, facts.intensity = str(video.dtype), intensity.rule
    facts.modality_guess = intensity.modality if intensity.guessed else None
    facts.frames = {"count": len(video), "shown": None, "what": f"{len(video)} frames in time"}
    times = video.facts.times
    last = 0.0 if times is None or video.rate is None else float(times[-1] - times[0])
    facts.video = {
        "codec": video.facts.codec,
        "rate": None if video.rate is None else round(video.rate, 4),
        "duration_s": None if video.rate is None else round(last + 1 / video.rate, 4),
        "even": video.even,
        "turned": video.facts.turned,
    }
    facts.notes = list(image.source.notes)
    return image, intensity


def _add_grid(facts: Facts, image: Image) -> None:
    geometry = image.geometry
    ndim = geometry.ndim
    facts.format = image.source.format
    facts.kind, facts.colour = image.kind, image.is_colour
    facts.modality = image.modality
    facts.size_xyz = [int(n) for n in geometry.shape[::-1]]
    facts.spacing_xyz = [round(float(v), 5) for v in geometry.spacing[:ndim]]
    facts.unit, facts.orthogonal = geometry.unit, geometry.is_orthogonal
    if geometry.unit == "mm" and ndim == 3:
        facts.orientation = geometry.orientation
        facts.origin = [round(float(v), 5) for v in geometry.origin]
        facts.direction = [[round(float(v), 6) for v in row] for row in geometry.direction]


def _add_image(facts: Facts, image: Image, intensity: Intensity) -> None:
    _add_grid(facts, image)
    facts.modality_guess = intensity.modality if intensity.guessed else None
    facts.dtype = str(image.voxels.dtype)
    facts.range = [float(image.voxels.min()), float(image.voxels.max())]
    facts.intensity = intensity.rule
    header = image.source.header
    if isinstance(header, DicomSource) and facts.identifying_fields is None:
        facts.identifying_fields = identifying_in(i.header for i in header.slices)
    if image.source.format.startswith("nifti"):
        there = [k for k in _FREE_TEXT if k in header.keys()]  # noqa: SIM118 - no mapping
        facts.free_text = [k for k in there if header[k].tobytes().strip(b"\0 ")]
    facts.prompts_in_file = len(image.source.prompts)
    facts.notes = list(image.source.notes)
