"""Requests of MONAI Label's clients, answered by our sessions: 3D Slicer's module and OHIF's panel.

They send all clicks of an object with every request, in voxel indices, and get one mask back.
So an object is continued where its clicks were added to, and begun anew otherwise.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, NoSpaceError, OutputError, PromptError
from promptseg.formats import format_by_suffix, read
from promptseg.formats.dicomweb.address import is_uid
from promptseg.formats.files import atomic_path, beside
from promptseg.formats.masks import read_masks
from promptseg.image import Image
from promptseg.prompts import Box, Box3D, Points, Prompt
from promptseg.provenance import Provenance
from promptseg.result import Result
from promptseg.segment.provenance import object_facts
from promptseg.serve.archive import Archive
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.refusals import AbsentError, EndedError
from promptseg.serve.results import result_of
from promptseg.serve.users import caller
from promptseg.serve.work import Work

__all__ = ["LABEL", "Answered", "Request", "Rooms"]

LABEL = "object"
"""The label that is offered where nobody has named one."""

_ONE_SLICE = "-slice"
"""Ending of the names under which models answer on one slice alone."""
_PATIENCE_S = 600.0
_KEPT = re.compile(r"\.label(-\d+)?\.")  # in names of masks that were sent
_ENDINGS = {"image": ".nrrd", "all": ".nrrd", "dicom_seg": ".dcm"}


@dataclass(frozen=True)
class Request:
    """A client's request for a segmentation.

    Attributes:
        model: name, as `Rooms.info` gives it.
        label: of the object.
        foreground, background: clicks (i, j, k) in and beside it, all of them.
        roi: first and last index along i, j and k; None without a box.
        anew: whether the object begins anew.
        output: "image", "all" (the same, with what else is known) or "dicom_seg".
        packed: whether voxels may be compressed.
    """

    model: str
    label: str = LABEL
    foreground: tuple[tuple[int, int, int], ...] = ()
    background: tuple[tuple[int, int, int], ...] = ()
    roi: tuple[int, int, int, int, int, int] | None = None
    anew: bool = False
    output: str = "all"
    packed: bool = True

    @classmethod
    def of(cls, model: str, params: Mapping[str, Any], output: str | None = None) -> Request:
        """Read a request from the parameters of a client.

        Raises:
            InputError: they are not what they should be.
        """
        label = params.get("label") or LABEL
        if not isinstance(label, str) or len(label) > 200:
            raise InputError("a label in words", repr(label)[:100])
        named = {label: params[label]} if isinstance(params.get(label), list) else {}
        chosen = output or "all"
        if chosen not in _ENDINGS:
            raise InputError(f"output out of {', '.join(_ENDINGS)}", repr(chosen)[:40])
        roi = params.get("roi")
        return cls(
            model=model,
            label=label,
            foreground=_clicks(params.get("foreground") or named.get(label) or []),
            background=_clicks(params.get("background") or []),
            roi=_roi(roi) if roi else None,
            anew=bool(params.get("reset_state")),
            output=chosen,
            packed=params.get("result_compress") is not False,
        )

    def prompts(self, flat: bool) -> list[Prompt]:
        """Return the box and the clicks as prompts; `flat`: a box lies on the slice in its middle."""
        found: list[Prompt] = []
        if self.roi:
            i0, i1, j0, j1, k0, k1 = self.roi
            middle = (k0 + k1) // 2
            if flat or k0 == k1:
                found.append(Box((i0, j0, i1, j1), middle, self.label, "z"))
            else:
                found.append(Box3D((i0, j0, k0, i1, j1, k1), self.label, "z"))
        for inside, clicks in ((1, self.foreground), (0, self.background)):
            found += [Points(((i, j),), (inside,), k, self.label, "z") for i, j, k in clicks]
        return found


@dataclass(frozen=True)
class Answered:
    """A mask on its way to a client.

    Attributes:
        name: of the file.
        content: its bytes.
        facts: what is known beside, as MONAI Label names it.
    """

    name: str
    content: bytes
    facts: dict[str, Any]


@dataclass
class _Room:
    """An image that a client works on, and what was asked of each object."""

    work: Work
    name: str
    asked: dict[str, list[Prompt]] = field(default_factory=dict)


class Rooms:
    """The images that clients have open, on one desk.

    Args:
        desk: where sessions are opened.
        archive: whose series may be opened by their UIDs; None if there is none.
    """

    def __init__(self, desk: Desk, archive: Archive | None = None) -> None:
        self.desk, self.archive = desk, archive
        self._rooms: dict[tuple[str, str], _Room] = {}
        self._series: set[str] = set()  # that were opened, whose masks the archive may get
        self._lock = threading.Lock()

    def info(self) -> dict[str, Any]:
        """Return the facts that clients fill their panels from."""
        return {
            "name": "promptseg",
            "description": "Promptable models; research software, not a medical device",
            "version": "0.8.5",  # of the protocol, which clients compare
            "labels": [LABEL],
            "models": self._models(),
            "trainers": {},
            "strategies": {"first": {"description": "The first image that is to do"}},
            "scoring": {},
            "train_stats": {},
            "datastore": {"total": len(self._images()), "completed": 0},
        }

    def enter(self, name: str, content: bytes) -> dict[str, Any]:
        """Begin on an image that was sent.

        Args:
            name: of the file, whose ending names the format.
            content: the file.

        Raises:
            InputError: no image that is read here.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _safe(name)
            path.write_bytes(content)
            image = read(path, modality=self.desk.options.modality)
            work = self.desk.open_image(image)
        self._keep((work.id, ""), _Room(work, Path(name).name))
        return {"session_id": work.id, "session_info": self.session(work.id)}

    def session(self, token: str) -> dict[str, Any]:
        """Return the facts on a session.

        Raises:
            AbsentError, EndedError: there is none, or none any more.
        """
        work = self.desk.get(token, act=False)
        return {"name": token, "expiry": int(self.desk.limits.idle_s), "meta": {"id": work.id}}

    def leave(self, token: str) -> dict[str, Any]:
        """End a session."""
        about = self.session(token)
        with self._lock:
            self._rooms.pop((token, ""), None)
        self.desk.close(token)
        return about

    def infer(self, request: Request, image: str, session: str, client: str) -> Answered:
        """Answer clicks and a box by the object's mask.

        Args:
            request: what is asked.
            image: path below the root; not looked at with a session.
            session: of `enter`; empty for an image of the folder.
            client: who asks, so that two do not share an object.

        Raises:
            PromptError: nothing was asked, or what the model does not take.
            AbsentError: no such image or model.
            PromptsegError: the other slices could not be answered.
        """
        flat = request.model.endswith(_ONE_SLICE) and request.model not in self.desk.models
        model = request.model.removesuffix(_ONE_SLICE) if flat else request.model
        if model not in self.desk.models:
            raise AbsentError(f"a model out of {', '.join(self._models())}", repr(model)[:100])
        prompts = request.prompts(flat)
        if not prompts:
            raise PromptError("a click or a box", "none", "place a point on the object")
        room = self._room(image, session, client, model)
        self._ask(room, request, prompts, spread=not flat)
        result = result_of(room.work)
        own = [replace(s, label=1) for s in result.segments if s.name == request.label]
        return self._written(replace(result, segments=own), room, request)

    def images(self) -> dict[str, Any]:
        """List the images of the folder, in the form that clients expect."""
        known = {
            name: {"image": {"name": name}, "labels": {}, "info": {"name": name}}
            for name in self._images()
        }
        return {"name": "promptseg", "description": "", "objects": known}

    def next_image(self) -> dict[str, Any]:
        """Return the first image that is still to be done; an empty dictionary if all are done."""
        for name in self._images():
            if self._folder().remembered(name).state == "to do":
                return {"id": name, "name": Path(name).name}
        return {}

    def image_file(self, name: str) -> Path:
        """Return the path of an image that is one file.

        Raises:
            AbsentError: there is none, or it is a folder.
        """
        path = self._folder().image(name)
        if not path.is_file():
            raise AbsentError(
                "an image in one file", repr(name)[:100], "open the series in the viewer"
            )
        return path

    def keep_label(
        self, image: str, name: str, content: bytes, names: Mapping[int, str]
    ) -> dict[str, Any]:
        """Keep a mask that was sent: beside its image under a new name, or in the archive.

        Args:
            image: path below the root, or UID of a series of the archive.
            name: of the file, whose ending names the format.
            content: the file.
            names: of objects by their numbers in the mask.

        Raises:
            InputError: no mask of that image.
        """
        opened, _ = self._opened(image)
        ending = "".join(Path(name).suffixes[-2:])
        ending = ".nrrd" if ending in ("", ".bin") else ending  # as OHIF's panel calls it
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / _safe(f"label{ending}")
            file.write_bytes(content)
            masks = read_masks(file, opened)  # refuses what is none of it
            named = [replace(s, name=names.get(s.label, s.name)) for s in masks.segments]
            if self.archive is not None and is_uid(image):
                address = self.archive.store(replace(masks, segments=named))
                return {"image": image, "label": address}
            folder = self._folder()
            path = folder.image(image)
            target = _free(path, ending, folder)
            if [s.name for s in named] == [s.name for s in masks.segments] or not _saved(
                Result(named, masks.geometry, opened.source, image=opened), target
            ):
                with atomic_path(target, overwrite=False) as temporary:
                    temporary.write_bytes(content)
        folder.remember(image, state="done")
        return {"image": image, "label": folder.name_of(target)}

    def keep_file(self, content: bytes) -> str:
        """Keep a DICOM SEG in the archive; see `Archive.store_file`.

        Raises:
            AbsentError: no archive, or not a SEG of a series that is open here.
        """
        if self.archive is None:
            raise AbsentError("an archive", "none", "start the server with --archive")
        with self._lock:
            series = set(self._series)
        return self.archive.store_file(content, series)

    def _models(self) -> dict[str, dict[str, Any]]:
        """Those that take clicks or boxes, each for volumes and for one slice."""
        found = {}
        for name, segmenter in self.desk.models.items():
            card = segmenter.predictor.card
            if "point" not in card.prompts and "box" not in card.prompts:
                continue
            for ending, dimension in (("", 3), (_ONE_SLICE, 2)):
                found[name + ending] = {
                    "type": "deepgrow",
                    "labels": [LABEL],
                    "dimension": dimension,
                    "description": card.title,
                    "config": {},
                }
        return found

    def _keep(self, key: tuple[str, str], room: _Room) -> None:
        """Remember a room; those whose sessions have ended would keep their images in memory."""
        with self._lock:
            alive = {work.id for work in self.desk.works}
            self._rooms = {k: one for k, one in self._rooms.items() if one.work.id in alive}
            self._rooms[key] = room

    def _ask(self, room: _Room, request: Request, prompts: list[Prompt], spread: bool) -> None:
        """Ask what was not asked before; from the beginning where something was taken back."""
        work, known = room.work, room.asked.pop(request.label, None)  # unless all is answered
        goes_on = not request.anew and known is not None and all(one in prompts for one in known)
        new = [one for one in prompts if one not in (known or ())] if goes_on else prompts
        if not goes_on and request.label in work.session.objects:
            work.change(lambda: work.session.remove_object(request.label))
        for prompt in new:
            work.prompt(prompt, request.label, spread)
        work.wait(_PATIENCE_S)
        work.require_propagated()
        room.asked[request.label] = prompts

    def _written(self, result: Result, room: _Room, request: Request) -> Answered:
        ending = _ENDINGS[request.output]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mask{ending}"
            result.save(path)
            content = path.read_bytes() if request.packed else _unpacked(path)
        known = {entry.label: entry for entry in result.provenance.objects or ()}
        scores = [e.predicted_iou for e in known.values() if e.name == request.label]
        facts = {
            "label_names": {request.label: 1},
            "predicted_iou": scores[0] if scores else None,
            "model": room.work.session.embedded.predictor.card.name,
        }
        return Answered(_safe(room.name).split(".")[0] + ending, content, facts)

    def _room(self, image: str, session: str, client: str, model: str) -> _Room:
        """Where a client works; an image of the folder is opened with its first request."""
        key = (session, "") if session else (image, f"{caller().name} {client} {model}")
        with self._lock:
            room = self._rooms.get(key)
        if session:
            self.desk.get(session)
            if room is None:
                raise AbsentError(
                    "a session with a sent image", "another one", "send the image again"
                )
            return room
        if room is not None:
            with contextlib.suppress(EndedError):  # then it is opened again
                self.desk.get(room.work.id)
                return room
        opened, name = self._opened(image)
        room = _Room(self.desk.open_image(opened, model), name)
        self._keep(key, room)
        if self.archive is not None and is_uid(image):
            with self._lock:
                self._series.add(image)
        return room

    def _opened(self, image: str) -> tuple[Image, str]:
        """An image of the archive by its UID, or of the folder by its path, and what it is called."""
        modality = self.desk.options.modality
        if self.archive is not None and is_uid(image):
            return self.archive.image(image, modality), image
        path = self._folder().image(image)
        return read(path, modality=modality), path.name

    def _folder(self) -> Folder:
        if self.desk.folder is None:
            raise AbsentError("a server with a folder", "none", "start it with --root FOLDER")
        return self.desk.folder

    def _images(self, below: str = "", seen: set[Path] | None = None) -> list[str]:
        """All images below the root, by their paths; each folder once, whatever links lead to it."""
        if self.desk.folder is None:
            return []
        found, seen = [], set() if seen is None else seen
        seen.add(self.desk.folder.inside(below))
        for entry in self.desk.folder.listing(below):
            if entry["kind"] == "folder":
                if self.desk.folder.inside(entry["path"]) not in seen:
                    found += self._images(entry["path"], seen)
            elif (
                entry["kind"] not in ("video", "slide")
                and not entry["result"]
                and not _KEPT.search(entry["name"])
            ):
                found.append(entry["path"])
        return found


def _clicks(values: Any) -> tuple[tuple[int, int, int], ...]:
    good = isinstance(values, list) and all(isinstance(v, list) and len(v) == 3 for v in values)
    if not good or not all(type(n) in (int, float) and abs(n) < 1e6 for v in values for n in v):
        raise InputError("clicks [[i, j, k], ...]", repr(values)[:100])
    return tuple((round(i), round(j), round(k)) for i, j, k in values)


def _roi(values: Any) -> tuple[int, int, int, int, int, int]:
    good = isinstance(values, list) and len(values) == 6
    if not good or not all(type(n) in (int, float) and abs(n) < 1e6 for n in values):
        raise InputError("a roi [i0, i1, j0, j1, k0, k1]", repr(values)[:100])
    pairs = [sorted((round(a), round(b))) for a, b in zip(values[::2], values[1::2], strict=True)]
    (i0, i1), (j0, j1), (k0, k1) = pairs
    return i0, i1, j0, j1, k0, k1


def _unpacked(path: Path) -> bytes:
    """A NRRD file without compression, which OHIF's reader wants; others as they are."""
    if path.suffix != ".nrrd":
        return path.read_bytes()
    import nrrd

    voxels, header = nrrd.read(str(path))
    raw = path.with_name("raw.nrrd")
    nrrd.write(str(raw), voxels, {**header, "encoding": "raw"})
    return raw.read_bytes()


def _safe(name: str) -> str:
    """A file name of plain letters, with its endings."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).name).lstrip(".") or "image"


def _saved(result: Result, path: Path) -> bool:
    """Write masks under their names; False where that format cannot be written here."""
    result.provenance = Provenance(objects=object_facts(result))  # which keeps the names
    try:
        result.save(path)
    except NoSpaceError:
        raise
    except OutputError:
        return False
    return True


def _free(image: Path, ending: str, folder: Folder) -> Path:
    """A name beside an image that nothing has."""
    known = image.is_file() and format_by_suffix(image)
    stem = beside(image, "").name if known else image.name  # dots may be part of a name
    for number in range(1, 10_000):
        path = image.with_name(f"{stem}.label{'' if number == 1 else f'-{number}'}{ending}")
        if not path.exists():
            return folder.output(folder.name_of(path))
    raise InputError("fewer than 10,000 labels of one image", "more", "move some away")
