"""Sessions on loaded models: who works on what, within limits, with slices encoded meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from promptseg.errors import ModelError, PromptsegError
from promptseg.formats import ReadOptions, read
from promptseg.formats.memory import available_bytes
from promptseg.image import Image
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.background import Encoder
from promptseg.serve.folder import Folder
from promptseg.serve.images import TurnImage
from promptseg.serve.lease import Clock, Lease
from promptseg.serve.limits import Limits
from promptseg.serve.refusals import AbsentError, EndedError, FullError, TakenError, TooLargeError
from promptseg.serve.times import Times
from promptseg.serve.turns import Turns
from promptseg.serve.work import Work

__all__ = ["Desk", "Guests", "Held"]

log = logging.getLogger("promptseg.serve")

_REMEMBERED_ENDS = 1000


class Held(Protocol):
    """A session of any kind."""

    @property
    def path(self) -> str | None:
        """Of what is open, below the root."""

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""


class Guests(Protocol):
    """Sessions of another kind than `Work`, which count with those of the desk."""

    @property
    def works(self) -> Sequence[Held]:
        """What is open."""

    def sweep(self) -> None:
        """End what nobody has been heard of for too long."""

    def stop(self) -> None:
        """End everything."""


class Desk:
    """Everything that is open on one server.

    Args:
        models: by name; the first is taken where none is named.
        folder: whose images may be opened; None serves uploads alone.
        limits: what may be open.
        options: of every session: modality and how prompts spread.
        clock: the time, for leases.
        encode: whether slices are encoded before anybody asks for them.
        times: log of annotation times; one in the folder if not given.

    Attributes:
        guests: sessions of other kinds, within the same limits.
    """

    def __init__(
        self,
        models: Mapping[str, Segmenter],
        folder: Folder | None = None,
        limits: Limits | None = None,
        options: SegmentOptions | None = None,
        clock: Clock = time.monotonic,
        encode: bool = True,
        times: Path | None = None,
    ) -> None:
        self.models, self.folder = dict(models), folder
        self.limits, self.options, self.clock = (
            limits or Limits(),
            options or SegmentOptions(),
            clock,
        )
        self._times = times if times or folder is None else folder.times_file
        self._turns: dict[str, Turns] = {}
        self._works: dict[str, Work] = {}
        self._opening = 0
        self.guests: list[Guests] = []
        self._ends: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.RLock()
        self._encoder = Encoder(lambda: list(self._works.values())) if encode else None

    @property
    def works(self) -> list[Work]:
        """What is open."""
        return list(self._works.values())

    @property
    def all_works(self) -> list[Held]:
        """What is open, sessions of other kinds on this desk among them."""
        return [*self.works, *(work for guests in self.guests for work in guests.works)]

    def turns_of(self, segmenter: Segmenter) -> Turns:
        """Who may use a model's device next."""
        return self._turns.setdefault(str(segmenter.predictor.device), Turns())

    def segmenter(self, name: str | None) -> Segmenter:
        """A loaded model.

        Raises:
            ModelError: not loaded.
        """
        chosen = name or next(iter(self.models))
        if chosen not in self.models:
            raise ModelError(
                f"a model that is loaded ({', '.join(self.models)})",
                repr(chosen)[:100],
                "choose one of them, or name it when starting the server",
            )
        return self.models[chosen]

    def lease(self) -> Lease:
        """A new lease."""
        return Lease(self.clock, self.limits.idle_s, self.limits.liveness_s)

    def open_path(
        self,
        name: str,
        model: str | None = None,
        choices: ReadOptions | None = None,
        options: SegmentOptions | None = None,
        *,
        take_over: bool = False,
        afresh: bool = False,
    ) -> Work:
        """An image of the folder, where its session stood.

        Args:
            name: path below the root.
            model: name; the first, if not given.
            choices: how the file is to be read.
            options: modality, window, axis, propagation.
            take_over: end another session on it.
            afresh: leave an earlier session aside; it is kept under another name.

        Raises:
            AbsentError: no such image.
            TakenError: it is open already.
            FullError, TooLargeError: beyond the limits.
        """
        if self.folder is None:
            raise AbsentError("a server with a folder", "none", "start it with --root FOLDER")
        path = self.folder.image(name)
        name = self.folder.name_of(path)
        segmenter = self.segmenter(model)
        self._free_path(name, take_over)
        options = options or self.options
        choices = choices or ReadOptions()
        file = self.folder.session_file(name, _part(choices))

        def begun() -> Work:
            image = read(path, choices, modality=options.modality)
            if afresh and file.exists():
                file.rename(_aside(file))
            return self._begun(image, segmenter, options, file, name)

        return self._enter(begun)

    def open_image(
        self,
        image: Image,
        model: str | None = None,
        options: SegmentOptions | None = None,
        lease: Lease | None = None,
    ) -> Work:
        """An image that a client brought along; its session lasts as long as its lease.

        Raises:
            FullError, TooLargeError: beyond the limits.
        """
        segmenter = self.segmenter(model)
        options = options or self.options
        return self._enter(lambda: self._begun(image, segmenter, options, None, None, lease))

    def get(self, token: str, act: bool = True) -> Work:
        """A session by its name; `act` says whether this is a real action.

        Raises:
            AbsentError: there never was one.
            EndedError: it is over.
        """
        self.sweep()
        work = self._works.get(token)
        if work is None:
            if why := self._ends.get(token):
                raise EndedError(
                    "a session that is open", f"one that has ended: {why}", "open it again"
                )
            raise AbsentError("a session", "none of that name", "open an image first")
        (work.lease.act if act else work.lease.touch)()
        return work

    def close(self, token: str, why: str = "it was closed", *, abandoned: bool = False) -> None:
        """End a session, if it is there; `abandoned`: nobody was heard of any more."""
        with self._lock:
            work = self._works.pop(token, None)
            if work is None:
                return
            self._ends[token] = why
            while len(self._ends) > _REMEMBERED_ENDS:
                self._ends.popitem(last=False)
        work.close(why, abandoned=abandoned)

    def sweep(self) -> None:
        """End what nobody has been heard of for too long."""
        for work in self.works:
            if work.lease.ended:
                self.close(work.id, "nothing was heard of it for too long", abandoned=True)
        for guests in self.guests:
            guests.sweep()

    def stop(self) -> None:
        """End everything."""
        if self._encoder:
            self._encoder.stop()
        for work in self.works:
            self.close(work.id, "the server was stopped")
        for guests in self.guests:
            guests.stop()

    def require_room(self, bytes_needed: int = 0) -> None:
        """Refuse another session, or one so large, before anything is allocated.

        Raises:
            FullError: too many sessions; TooLargeError: too many bytes.
        """
        self._require_place()
        self._require_bytes(bytes_needed)

    def _require_place(self) -> None:
        self.sweep()
        limit = self.limits.sessions
        if len(self.all_works) + self._opening >= limit:
            raise FullError(
                f"at most {limit} sessions at a time",
                "one more",
                "close one, wait, or start the server with a larger --sessions",
            )

    def _require_bytes(self, needed: int) -> None:
        limits = self.limits
        if needed > limits.session_bytes:
            raise TooLargeError(
                f"an image of at most {limits.session_mib} MiB",
                f"{needed / 2**20:.0f} MiB",
                "crop it, or start the server with a larger --session-mib",
            )
        used = sum(work.nbytes for work in self.all_works)
        free = available_bytes()
        if used + needed > limits.memory_bytes or (free is not None and needed > free):
            raise TooLargeError(
                f"sessions of {limits.memory_mib} MiB in all, or what memory is free",
                f"{(used + needed) / 2**20:.0f} MiB",
                "close other sessions, or start the server with a larger --memory-mib",
            )

    def _enter(self, begin: Callable[[], Work]) -> Work:
        """A session that is open, in a place that was kept for it while it began."""
        with self._lock:
            self._require_place()
            self._opening += 1
        work = None
        try:
            work = begin()
        finally:
            with self._lock:
                self._opening -= 1
                if work is not None:
                    if work.path is not None:
                        self._free_path(work.path, take_over=False)
                    self._works[work.id] = work
        work.follow()
        if self._encoder:
            self._encoder.wake()
        return work

    def _free_path(self, name: str, take_over: bool) -> None:
        self.sweep()
        for work in self.works:
            if work.path == name:
                if not take_over:
                    raise TakenError(
                        "an image that nobody has open",
                        "one that is open in another window",
                        "close it there, or take it over",
                    )
                self.close(work.id, "it was taken over by another window")

    def _begun(
        self,
        image: Image,
        segmenter: Segmenter,
        options: SegmentOptions,
        file: Path | None,
        path: str | None,
        lease: Lease | None = None,
    ) -> Work:
        """A session, resumed if there is a file of it."""
        self._require_bytes(image.voxels.nbytes)
        turns = self.turns_of(segmenter)
        limits = self.limits
        room = max(limits.session_bytes - image.voxels.nbytes, 0) // 2

        def opened(with_options: SegmentOptions) -> TurnImage:
            return TurnImage.of(segmenter.open(image, with_options), turns, room)

        notes: list[str] = []
        session: Session | None = None
        journal = None if file is None else Journal(file)
        if file is not None and journal is not None and file.is_file():
            try:
                options_then = journal.options()
                session = Session(segmenter, opened(options_then), options_then)
                journal.resume(session)
                notes += _ignored(options, options_then)
            except PromptsegError as error:  # kept for the user to look at, and never written over
                session, journal = None, Journal(file)
                file.rename(_aside(file))
                notes.append(f"the earlier session is not used: {error}")
        if session is None:
            session = Session(segmenter, opened(options), options)
        work = Work(
            *(session, lease or self.lease(), turns, journal, path, limits.session_bytes),
            times=Times(self._times, path or image.name),
        )
        work.warning = " ".join(notes)
        if self.folder is not None and path is not None:
            folder, known = self.folder, self.folder.remembered(path)
            work.colours = {name: (r, g, b) for name, r, g, b in known.colours}
            work.on_change = lambda: _mark_begun(folder, path)
        return work


def _part(choices: ReadOptions) -> str:
    """What of a file was chosen; empty where nothing was."""
    chosen = {name: getattr(choices, name) for name in ("series", "frame", "stack")}
    return " ".join(f"{name}={value}" for name, value in chosen.items() if value is not None)


def _ignored(asked: SegmentOptions, then: SegmentOptions) -> list[str]:
    """What is to be said of options that a session which goes on does not take."""
    names = ("modality", "window", "axis", "propagate")
    return [
        f"{name} {new} is not used: the work on this image began with "
        f"{old or f'no {name} given'} and goes on so; begin afresh to use it."
        for name in names
        if (new := getattr(asked, name)) is not None and new != (old := getattr(then, name))
    ]


def _aside(file: Path) -> Path:
    """A name for an earlier session that is kept."""
    return file.with_stem(f"session-{time.time_ns()}")


def _mark_begun(folder: Folder, path: str) -> None:
    """An image that is worked on is no longer to do."""
    try:
        if folder.remembered(path).state == "to do":
            folder.remember(path, state="begun")
    except PromptsegError:
        log.warning("the state of an image could not be written")
