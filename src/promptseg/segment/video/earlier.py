"""Results of an earlier run on a video, read back: masks by object and frame, and what was said."""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import InputError, PromptError
from promptseg.formats.text import read_text
from promptseg.formats.video import Selection
from promptseg.image import FoundByWords
from promptseg.parsing import parse_json
from promptseg.provenance import ObjectFacts, Provenance
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.write import AREAS, MASKS

__all__ = ["PROVENANCE", "Results", "VideoObject", "read_results"]

PROVENANCE = "provenance.json"

_ENTRY = re.compile(r"(?:\d{1,5}_[^/]*/)?(\d{1,9})\.png")
_MOST_BYTES = 1 << 28  # of a table: a row for every object on every frame
_MOST_LABELS = 65535
_SURE = 1e-5  # tables give probabilities to four places


@dataclass
class VideoObject:
    """An object of a video.

    Attributes:
        name: of the object.
        prompted: places of the frames that prompts have answered.
        words: by what words it was found, and how surely on every place; None if by other prompts.
    """

    name: str
    prompted: set[int]
    words: FoundByWords | None = None


@dataclass
class Results:
    """Results of an earlier run.

    Attributes:
        masks: by object and place of the frame.
        objects: in the order of their labels.
        provenance: what made them; empty where nothing says it.
    """

    masks: FrameMasks
    objects: list[VideoObject]
    provenance: Provenance

    @property
    def names(self) -> list[str]:
        """Return the names of the objects."""
        return [one.name for one in self.objects]


def read_results(path: Path, frames: Selection) -> Results:
    """Read the results of an earlier run on the same video.

    Args:
        path: the folder they are in, or `masks.zip` in it.
        frames: the frames that are chosen now; those of the results must be among them.

    Raises:
        InputError: no results, or such as cannot be read.
        PromptError: results of other frames, or of frames of another size.
    """
    archive = path / MASKS if path.is_dir() else path
    if archive.name != MASKS or not archive.is_file():
        raise InputError(
            "the results of an earlier run on the video",
            str(path) if path.is_dir() else f"{path}: no {MASKS}",
            f"name its output folder, or {MASKS} in it",
        )
    provenance = _provenance(archive.with_name(PROVENANCE))
    told = {one.label: one for one in provenance.objects or () if one.label}
    planes = _Planes(archive, frames)
    masks = planes.masks
    _make_room(masks, max((label for label in told if 0 < label <= _MOST_LABELS), default=0))
    areas = _areas(archive.with_name(AREAS))
    for label, found in enumerate(masks.found, 1):
        for place, packed in found.items():
            iou, presence, area = areas.get((frames.numbers[place], label), (None, None, -1))
            if area == packed.crop().sum():
                found[place] = replace(packed, iou=iou, presence=presence)
    nothing = np.zeros(masks.size, dtype=bool)
    for (number, label), (_, presence, area) in areas.items():
        out_of_place = number not in frames.numbers or not 0 < label <= len(masks.found)
        if presence is None or area or out_of_place:
            continue
        if frames.place(number) not in masks.found[label - 1]:
            masks.add(label - 1, frames.place(number), nothing, None, presence)
    objects = []
    for label in range(1, len(masks.found) + 1):
        one = told.get(label)
        prompted = (one and one.prompted_slices) or ()
        there = {frames.place(k) for k in prompted if k in frames.numbers}
        words = None if one is None else _words(one, frames, archive)
        objects.append(VideoObject((one and one.name) or f"label {label}", there, words))
    if all(packed.is_empty for found in masks.found for packed in found.values()):
        raise PromptError("at least one labelled pixel", f"{archive} with background alone")
    return Results(masks, objects, provenance)


class _Planes:
    """The masks of an archive, one plane of which is unpacked at a time.

    Attributes:
        masks: of every label up to the highest, by place of the frame.
    """

    def __init__(self, path: Path, frames: Selection) -> None:
        self.path, self.frames = path, frames
        self.masks = FrameMasks(frames.video.facts.size, 0)
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    self._add(*self._plane(archive, entry))
        except (OSError, zipfile.BadZipFile, EOFError, SyntaxError, NotImplementedError) as error:
            raise InputError(
                "masks of a video that can be read", f"{path} ({str(error)[:100]})"
            ) from None

    def _add(self, place: int, plane: NDArray[np.integer[Any]]) -> None:
        for label in np.unique(plane):
            if label > 0:
                _make_room(self.masks, int(label))
                self.masks.add(int(label) - 1, place, plane == label)

    def _plane(
        self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
    ) -> tuple[int, NDArray[np.integer[Any]]]:
        match = _ENTRY.fullmatch(entry.filename)
        rows, columns = self.masks.size
        if match is None or entry.file_size > 2 * rows * columns + (rows << 4) + (1 << 16):
            raise InputError(
                f"{MASKS} with numbered images of labels",
                f"{entry.filename!r:.60} in {self.path}",
            )
        place = self.frames.place(int(match[1]), "masks")
        picture = PilImage.open(io.BytesIO(archive.read(entry)), formats=["PNG"])
        if picture.size != (columns, rows):
            raise PromptError(
                f"masks of {columns} x {rows} pixels, as the video has",
                f"{entry.filename} of {picture.width} x {picture.height}",
            )
        plane = np.asarray(picture)
        if plane.ndim != 2 or plane.dtype.kind not in "bui":
            raise InputError("pictures of label numbers", f"{entry.filename} in colour")
        return place, plane


def _make_room(masks: FrameMasks, most: int) -> None:
    """Make room for objects up to a label."""
    masks.found.extend({} for _ in range(most - len(masks.found)))


def _provenance(path: Path) -> Provenance:
    if not path.is_file():
        return Provenance()
    try:
        return Provenance.from_json(parse_json(read_text(path)))
    except (OSError, ValueError, InputError) as error:
        raise InputError("the provenance of a run", f"{path} ({str(error)[:100]})") from None


def _words(told: ObjectFacts, frames: Selection, path: Path) -> FoundByWords | None:
    """What an object was found by, its scores by place of the frames that are chosen.

    Raises:
        InputError: words that make no sense.
    """
    if told.words is None:
        return None
    try:
        words = FoundByWords.from_json(told.words)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            "words and their scores", f"others for {told.name!r} beside {path}"
        ) from None
    scores, presence = (
        {frames.place(k): v for k, v in by_number.items() if k in frames.numbers}
        for by_number in (words.scores, words.presence)
    )
    return replace(words, scores=scores, presence=presence)


def _areas(path: Path) -> dict[tuple[int, int], tuple[float | None, float | None, int]]:
    """(frame, label) -> predicted IoU, logit that the object is there, and area of its mask."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        found = {}
        for row in csv.DictReader(io.StringIO(read_text(path))):
            there = _number(row.get("presence"))
            known = (_number(row["predicted_iou"]), None if there is None else _logit(there))
            found[int(row["frame"]), int(row["label"])] = (*known, int(row["area_px"]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            "areas as a run of ours wrote them",
            f"{path} ({str(error)[:100]})",
            "remove the file to go on without predicted IoU",
        ) from None
    return found


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _logit(probability: float) -> float:
    kept = min(max(probability, _SURE), 1 - _SURE)
    return math.log(kept / (1 - kept))
