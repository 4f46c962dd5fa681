"""A task for an expert: a folder that the page opens, with proposals; and what came back of it.

    task/NAME.png                 copies of the images
    task/proposals/NAME.png       what the present model makes of them, where it makes anything
    task/answers/                 for masks of any other tool, called after their image
    task/README.txt               the same for people
    task/.promptseg/              proposals, states, notes, sessions, times of the page (docs/server.md)

An image counts as done if the page says so, or if there is an answer in `answers`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats import format_by_suffix, is_dicom_file, read
from promptseg.formats.colours import COLOURS
from promptseg.formats.files import atomic_path, beside
from promptseg.formats.masks import read_masks
from promptseg.image import Image, Segment
from promptseg.loop.pool import Entry, copy_image, free_for
from promptseg.provenance import Provenance
from promptseg.result import Result
from promptseg.segment.options import SegmentOptions
from promptseg.segment.provenance import object_facts
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.folder import Folder
from promptseg.timing import read_log

__all__ = ["Answer", "Picked", "TaskFolder"]

log = logging.getLogger("promptseg")

ANSWERS, PROPOSALS, _WRITTEN = "answers", "proposals", "README.txt"
State = Literal["done", "half done", "to do", "flagged"]


@dataclass(frozen=True)
class Picked:
    """An image that was chosen.

    Attributes:
        name: of its entry.
        part: whether it is learnt from, or measured on.
        why: in a word or two.
        score: how unsure the model was of it; None where that was not asked.
    """

    name: str
    part: Literal["train", "validation"]
    why: str
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return asdict(self)


@dataclass
class Answer:
    """The answer on one image.

    Attributes:
        name: of its entry.
        state: how far the expert is.
        objects: name and mask on the image's grid of all that is there; empty where nothing is.
        seconds: of the expert, as far as they were logged; None if not.
        note: what the expert wrote.
        source: page, file or labels.
    """

    name: str
    state: State
    objects: list[tuple[str, NDArray[np.bool_]]] = field(default_factory=list)
    seconds: float | None = None
    note: str = ""
    source: str = "page"


class TaskFolder:
    """The folder of one round's task.

    Args:
        root: the folder; it need not be there.
        options: modality and window that images are read with.
    """

    def __init__(self, root: Path, options: SegmentOptions) -> None:
        self.root, self.options = root, options

    @property
    def is_written(self) -> bool:
        """Tell whether the task is written whole, so that an expert may have begun."""
        return (self.root / _WRITTEN).exists()

    def write(
        self,
        entries: Sequence[Entry],
        picked: Mapping[str, Picked],
        proposals: Mapping[str, Sequence[Segment]],
        segmenter: Segmenter,
        classes: Sequence[str],
    ) -> None:
        """Write copies of the images, with proposals where there are any; leave alone what is there.

        Args:
            entries: the images.
            picked: why each was chosen.
            proposals: name -> objects of the present model.
            segmenter: under whose name proposals are kept for the page.
            classes: names of objects that are expected, in the order of their numbers.

        Raises:
            OutputError: no room, or a folder that cannot be written.
        """
        free_for([e for e in entries if self._image_of(e.name) is None], self.root)
        for entry in entries:
            copy_image(entry, self.root)
        (self.root / ANSWERS).mkdir(exist_ok=True)
        folder = Folder(self.root)
        for entry in entries:
            path = self.image_of(entry.name)
            name, chosen = folder.name_of(path), picked[entry.name]
            if folder.has_session(name) or folder.remembered(name).state != "to do":
                continue
            if objects := [s for s in proposals.get(entry.name, ()) if not s.is_empty]:
                own = _numbered(objects, classes)
                self._propose(folder, entry.name, path, own, segmenter)
            colours = tuple((c, *COLOURS[k % len(COLOURS)]) for k, c in enumerate(classes))
            folder.remember(name, note=_note(chosen), colours=colours)
        with atomic_path(self.root / _WRITTEN) as temporary:
            temporary.write_text(_readme(entries, classes, bool(proposals)), encoding="utf-8")

    def image_of(self, name: str) -> Path:
        """Find the copy of an image.

        Raises:
            InputError: somebody has removed it.
        """
        path = self._image_of(name)
        if path is None:
            raise InputError(
                "the images of the task, as they were written",
                f"{self.root} without {name}",
                "put it back",
            )
        return path

    def read(self, name: str) -> Image:
        """Read an image of the task."""
        return read(self.image_of(name), modality=self.options.modality)

    def proposal(self, name: str) -> dict[str, NDArray[np.bool_]]:
        """Read the masks that were proposed for an image, by name; empty if none were."""
        path = _called(self.root / PROPOSALS, name)
        if path is None:
            return {}
        image = self.read(name)
        found = read_masks(path, image)
        return {s.name: s.mask(image.geometry.shape) for s in found.segments if not s.is_empty}

    def answers(
        self, names: Sequence[str], segmenter: Segmenter, classes: Sequence[str]
    ) -> list[Answer]:
        """Read the answers that have come back so far.

        Args:
            names: of the images.
            segmenter: for the sessions of the page.
            classes: by their numbers from 1, for masks of tools that keep no names.

        Raises:
            InputError: an answer or a session that cannot be read.
        """
        folder, seconds = Folder(self.root), self._seconds(names)
        found = []
        for name in names:
            path = self.image_of(name)
            shown = folder.name_of(path)
            known = folder.remembered(shown)
            file = _called(self.root / ANSWERS, name)
            state: State = "flagged" if known.state == "flagged" else "to do"
            answer = Answer(name, state, seconds=seconds.get(name), note=known.note)
            if state != "flagged" and file is not None:
                answer.objects = _named(file, self.read(name), classes)
                answer.state, answer.source = "done", "file"
            elif known.state == "done":
                objects = self._in_session(self._session(folder, shown), name, segmenter)
                answer.state = "half done" if objects is None else "done"
                answer.objects = objects or []
            elif known.state == "begun":
                answer.state = "half done"
            found.append(answer)
        return found

    def seconds_in_all(self) -> float | None:
        """Sum the seconds that the log of the page has, whatever they are of; None without a log."""
        path = self.root / ".promptseg" / "times.jsonl"
        if not path.exists():
            return None
        return sum(one.seconds for one in read_log(path).finished)

    def _seconds(self, names: Sequence[str]) -> dict[str, float]:
        """Name of an image -> seconds of all sittings that the log has of it."""
        own = {name.lower(): name for name in names}
        own |= {self.image_of(name).name.lower(): name for name in names}
        found: dict[str, float] = {}
        for one in read_log(self.root / ".promptseg" / "times.jsonl").finished:
            if name := own.get(one.case.lower()):
                found[name] = found.get(name, 0.0) + one.seconds
        return found

    def _propose(
        self,
        folder: Folder,
        name: str,
        path: Path,
        objects: Sequence[Segment],
        segmenter: Segmenter,
    ) -> None:
        """A proposal as a file for any tool, and as what every session of the page begins with."""
        image = read(path, modality=self.options.modality)
        shape = image.geometry.shape
        result = Result(list(objects), image.geometry, image.source, image=image)
        result.provenance = Provenance(objects=object_facts(result))  # which keeps their names
        result.save(self.root / PROPOSALS / f"{name}{mask_ending(result)}", overwrite=True)
        session = Session(segmenter, image, self.options)
        for segment in objects:
            session.put(segment.mask(shape), segment.name)
        Journal(folder.proposal_file(folder.name_of(path))).write(session)

    def _session(self, folder: Folder, shown: str) -> Path:
        """The session that is the answer on an image; the proposal where nobody has changed it.

        Raises:
            InputError: several people's, as nobody says which one counts.
        """
        found = folder.session_files(shown)
        answers = self.root / ANSWERS / beside(Path(shown), "").name
        if len(found) > 1:
            raise InputError(
                f"the work of one person on {shown}, which is marked as done",
                f"{len(found)} sessions",
                f"save the masks that count as {answers}.nii.gz (.png, ...)",
            )
        return found[0] if found else folder.proposal_file(shown)

    def _in_session(
        self, file: Path, name: str, segmenter: Segmenter
    ) -> list[tuple[str, NDArray[np.bool_]]] | None:
        """The objects that the page has of an image; None while they lack slices that are to follow.

        They follow by the model of the page, whose answers the expert sees: not by another one here.
        """
        if not file.exists():  # done without anything to be seen
            return []
        image = self.read(name)
        session = Session(segmenter, image, self.options)
        Journal(file).resume(session)
        if lacking := session.unspread:
            log.warning(
                "%s is marked as done, but %s is answered on the prompted slices alone: open it again, "
                "so that the others can follow",
                name,
                ", ".join(lacking),
            )
            return None
        return [
            (called, segment.mask(image.geometry.shape))
            for called, segment in session.step.objects.items()
            if segment is not None and not segment.is_empty
        ]

    def _image_of(self, name: str) -> Path | None:
        return _called(self.root, name)


def _numbered(objects: Sequence[Segment], classes: Sequence[str]) -> list[Segment]:
    """Objects under the numbers of their classes; others after them."""
    known = {name: k for k, name in enumerate(classes, 1)}
    for segment in objects:
        known.setdefault(segment.name, len(known) + 1)
    return [replace(segment, label=known[segment.name]) for segment in objects]


def mask_ending(result: Result) -> str:
    """Choose a mask file's ending, to keep names, numbers and overlaps in what most tools read."""
    overlapping = result.has_overlap()
    if result.geometry.ndim == 2:
        return ".tif" if overlapping else ".png"
    return ".seg.nrrd" if overlapping else ".nii.gz"


def _called(folder: Path, name: str) -> Path | None:
    """The image or mask of a name in a folder, whatever its ending.

    Raises:
        InputError: there are several.
    """
    if not folder.is_dir():
        return None
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith((".json", ".overlay.png", ".raw")):
            continue
        if path.is_dir():
            if path.name == name and path.name not in (ANSWERS, PROPOSALS):
                found.append(path)
        elif beside(path, "").name == name and (format_by_suffix(path) or is_dicom_file(path)):
            found.append(path)
    heads = [p for p in found if p.suffix.lower() not in (".img", ".brik")] or found
    if len(heads) > 1:
        raise InputError(
            f"one file for {name}",
            f"{heads[0].name} and {heads[1].name} in {folder}",
            "remove one of them",
        )
    return heads[0] if heads else None


def _named(file: Path, image: Image, classes: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """The objects of a mask file; those without a name of their own are called by their number."""
    found = []
    for segment in read_masks(file, image).segments:
        if segment.is_empty:
            continue
        name = segment.name
        nameless = name in ("object", f"label {segment.label}")
        if nameless and 1 <= segment.label <= len(classes):
            name = classes[segment.label - 1]
        found.append((name, segment.mask(image.geometry.shape)))
    return found


def _note(chosen: Picked) -> str:
    part = " To be measured on: nothing is learnt from it." if chosen.part == "validation" else ""
    score = "" if chosen.score is None else f" ({chosen.score:.3f})"
    return f"Chosen: {chosen.why}{score}.{part}"


def _readme(entries: Sequence[Entry], classes: Sequence[str], proposed: bool) -> str:
    """What an expert has to know."""
    numbers = "".join(f"  {k} {name}\n" for k, name in enumerate(classes, 1))
    return (
        f"{len(entries)} images to annotate.\n\n"
        "In the page: promptseg serve --root THIS_FOLDER. "
        + ("Each image opens with the model's proposal: correct it. " if proposed else "")
        + "Ctrl+Enter marks an image as done; one that cannot be used is flagged. Log annotation times "
        "there if the report is to know them.\n\n"
        f"With any other tool: save the mask of NAME as {ANSWERS}/NAME.nii.gz (.png, .nrrd, .dcm, ...)"
        + (f"; proposals are in {PROPOSALS}/" if proposed else "")
        + ". A mask without anything in it says that there is nothing.\n"
        + (f"\nObjects, and their numbers in masks without names:\n{numbers}" if numbers else "")
        + "\nThen give the command of the loop again.\n"
    )
