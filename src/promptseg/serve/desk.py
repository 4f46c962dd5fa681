"""Sessions on loaded models: who works on what, within limits, with slices encoded meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptseg.errors import ModelError, PromptsegError
from promptseg.formats import ReadOptions, read
from promptseg.formats.exclusive import put_aside
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
from promptseg.serve.open_sessions import Coloured, Held, OpenSessions
from promptseg.serve.refusals import (
    AbsentError,
    FullError,
    TooLargeError,
    require_unusable,
    right_to,
)
from promptseg.serve.times import Times
from promptseg.serve.turns import Turns
from promptseg.serve.users import caller, require_own, require_reviewer
from promptseg.serve.work import Work

__all__ = ["Desk", "part_of", "require_work_of"]

log = logging.getLogger("promptseg.serve")


class Desk(OpenSessions[Work]):
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

    KIND = "an image"

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
        super().__init__()
        self.models, self.folder = dict(models), folder
        self.limits, self.options, self.clock = (
            limits or Limits(),
            options or SegmentOptions(),
            clock,
        )
        self._times = times if times or folder is None else folder.times_file
        self._turns: dict[str, Turns] = {}
        self.guests: list[OpenSessions[Any]] = []
        self._encoder = Encoder(lambda: self.works) if encode else None

    @property
    def all_works(self) -> list[Held]:
        """Return all that is open, sessions of other kinds on this desk among them."""
        return [*self.works, *(work for guests in self.guests for work in guests.works)]

    def turns_of(self, segmenter: Segmenter) -> Turns:
        """Return the turns that say who may use a model's device next."""
        return self._turns.setdefault(str(segmenter.predictor.device), Turns())

    def end_of(self, user: str) -> int:
        """End all sessions of a user; how many there were."""
        ended = [work.id for work in self.all_works if work.owner == user]
        for token in ended:
            for holder in (self, *self.guests):
                holder.close(token, "an admin ended it")
        return len(ended)

    def paint(self, work: Coloured, name: str, colour: tuple[int, int, int]) -> None:
        """Give an object a colour, now and when what is open is opened again.

        Raises:
            DeniedError: it is somebody else's work.
        """
        require_own(work.read_only)
        work.colours[name] = colour
        if self.folder is not None and work.path is not None:
            self.folder.paint(work.path, name, colour)

    def segmenter(self, name: str | None) -> Segmenter:
        """Return a loaded model by its name; the first one, where none is given.

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
        """Return a new lease."""
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
        of: str | None = None,
    ) -> Work:
        """Open an image of the folder, with its session where that stood.

        Args:
            name: path below the root.
            model: name; the first, if not given.
            choices: how the file is to be read.
            options: modality, window, axis, propagation.
            take_over: end another session on it.
            afresh: leave an earlier session aside; it is kept under another name.
            of: the user whose work is looked at, and not gone on with.

        Raises:
            AbsentError: no such image, or no work of that user on it.
            TakenError: it is open already.
            DeniedError: an annotator asks for the work of somebody else.
            FullError, TooLargeError: beyond the limits.
        """
        if self.folder is None:
            raise AbsentError("a server with a folder", "none", "start it with --root FOLDER")
        path = self.folder.image(name)
        name = self.folder.name_of(path)
        caller().image = name
        segmenter = self.segmenter(model)
        options = options or self.options
        choices = choices or ReadOptions()
        file = self.folder.session_file(name, part_of(_part(choices), of))
        if of is not None:
            require_work_of(file)
        proposed = self.folder.proposal_file(name)
        whole = not _part(choices) and proposed.is_file()
        proposal = Journal(proposed) if whole else None
        self._free(name, take_over)

        def begun() -> Work:
            looked_at = of is not None
            anew = afresh and not looked_at
            right = None if looked_at else right_to(file, self.KIND, take_over)
            try:
                image = read(path, choices, modality=options.modality)
                work = self._begun(
                    image,
                    segmenter,
                    options,
                    file,
                    name,
                    looked_at=looked_at,
                    anew=anew,
                    proposal=proposal,
                )
                work.read_only, work.right = looked_at, right
                if anew:  # not before it is sure that there is another one in its place
                    put_aside(file)
            except BaseException:
                if right is not None:
                    right.release()
                raise
            return work

        return self._enter(begun)

    def open_image(
        self,
        image: Image,
        model: str | None = None,
        options: SegmentOptions | None = None,
        lease: Lease | None = None,
    ) -> Work:
        """Open an image that a client brought along; its session lasts as long as its lease.

        Raises:
            FullError, TooLargeError: beyond the limits.
        """
        segmenter = self.segmenter(model)
        options = options or self.options
        return self._enter(lambda: self._begun(image, segmenter, options, None, None, lease))

    def sweep(self) -> None:
        """End what nobody has been heard of for too long."""
        super().sweep()
        for guests in self.guests:
            guests.sweep()

    def stop(self) -> None:
        """End everything."""
        if self._encoder:
            self._encoder.stop()
        super().stop()
        for guests in self.guests:
            guests.stop()

    def require_room(self, bytes_needed: int = 0) -> None:
        """Refuse another session, or one so large, before anything is allocated.

        Raises:
            FullError: too many sessions; TooLargeError: too many bytes.
        """
        self._require_place()
        self.require_bytes(bytes_needed)

    def _require_place(self) -> None:
        self.sweep()
        limit = self.limits.sessions
        if sum(sessions.places for sessions in (self, *self.guests)) >= limit:
            raise FullError(
                f"at most {limit} sessions at a time",
                "one more",
                "close one, wait, or start the server with a larger --sessions",
            )

    def require_bytes(self, needed: int) -> None:
        """Refuse a session of so many bytes, or that much more in all.

        Raises:
            TooLargeError: beyond the limits, or what memory is free.
        """
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
                    self._admit(work)
        work.propagate()
        if self._encoder:
            self._encoder.wake()
        return work

    def _admit(self, work: Work) -> None:
        """Keep a session, unless another window has opened the image meanwhile; with the lock held."""
        try:
            if work.path is not None:
                self._free(work.path, take_over=False)
        except PromptsegError:
            work.close("the image was opened by another window")
            raise
        self._works[work.id] = work

    def _begun(
        self,
        image: Image,
        segmenter: Segmenter,
        options: SegmentOptions,
        file: Path | None,
        path: str | None,
        lease: Lease | None = None,
        looked_at: bool = False,
        anew: bool = False,
        proposal: Journal | None = None,
    ) -> Work:
        """A session, resumed if there is a file of it and not `anew`; one looked at is not kept.

        Where there is no file yet it begins with the proposal, which stays for others.
        """
        self.require_bytes(image.voxels.nbytes)
        turns = self.turns_of(segmenter)
        limits = self.limits
        room = max(limits.session_bytes - image.voxels.nbytes, 0) // 2

        def opened(with_options: SegmentOptions) -> TurnImage:
            return TurnImage.of(segmenter.open(image, with_options), turns, room)

        notes: list[str] = []
        session: Session | None = None
        journal = None if file is None else Journal(file)
        begun = None if anew else journal if file is not None and file.is_file() else proposal
        if file is not None and begun is not None:
            try:
                options_then = begun.options()
                session = Session(segmenter, opened(options_then), options_then)
                begun.resume(session)
                notes += _ignored(options, options_then)
            except PromptsegError as error:  # kept for the user to look at, and never written over
                if looked_at:
                    raise
                require_unusable(error)
                session, journal = None, Journal(file)
                if begun is not proposal:
                    put_aside(file)
                what = "proposal" if begun is proposal else "earlier session"
                notes.append(f"the {what} is not used: {error}")
        if session is None:
            session = Session(segmenter, opened(options), options)
        if looked_at:
            journal = None
            session.leave_as_is()
        work = Work(
            session,
            lease or self.lease(),
            turns,
            journal,
            path,
            limits.session_bytes,
            times=Times(self._times, path or image.name),
        )
        work.warning = " ".join(notes)
        if self.folder is not None and path is not None:
            folder, known = self.folder, self.folder.remembered(path)
            work.colours = {name: (r, g, b) for name, r, g, b in known.colours}
            if not looked_at:
                work.on_change = lambda: _mark_begun(folder, path)
        return work


def part_of(part: str, of: str | None = None) -> str:
    """Return the words in the name of a session file: the part of the image, and whose work it is."""
    user = caller().name if of is None else of
    return f"{part} user={user}".lstrip() if user else part


def require_work_of(file: Path) -> None:
    """Refuse the work of somebody else to annotators, and where there is none.

    Raises:
        DeniedError: an annotator asks.
        AbsentError: there is none.
    """
    require_reviewer()
    if not file.is_file():
        raise AbsentError("work of that user on the image", "none", "ask for another user")


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


def _mark_begun(folder: Folder, path: str) -> None:
    """An image that is worked on is no longer to do."""
    try:
        if folder.remembered(path).state == "to do":
            folder.remember(path, state="begun")
    except PromptsegError:
        log.warning("the state of an image could not be written")
