"""The slides that are open on a server, beside its images and within the same limits."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock, RLock

from promptseg.errors import PromptsegError
from promptseg.formats.whole_slide import identity, open_slide
from promptseg.segment.options import SegmentOptions
from promptseg.serve.desk import Desk, part_of, require_work_of
from promptseg.serve.folder import Folder
from promptseg.serve.refusals import AbsentError, EndedError, TakenError
from promptseg.serve.slide_work import SlideWork
from promptseg.serve.users import caller
from promptseg.slides.journal import SlideJournal
from promptseg.slides.session import SlideSession

__all__ = ["SlideDesk"]

_PART = "slide"  # of the session's file name
_REMEMBERED_ENDS = 1000


class SlideDesk:
    """Everything that is open of slides.

    Args:
        desk: whose models, folder, limits and devices are used.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._works: dict[str, SlideWork] = {}
        self._ends: OrderedDict[str, str] = OrderedDict()
        self._opening, self._lock = Lock(), RLock()
        desk.guests.append(self)

    @property
    def works(self) -> list[SlideWork]:
        """What is open."""
        return list(self._works.values())

    def open(
        self,
        name: str,
        model: str | None = None,
        series: str | None = None,
        *,
        take_over: bool = False,
        afresh: bool = False,
        of: str | None = None,
    ) -> SlideWork:
        """A slide of the folder, where its session stood.

        Args:
            name: path below the root.
            model: name; the first, if not given.
            series: of a DICOM folder with several.
            take_over: end another session on it.
            afresh: leave an earlier session aside; it is kept under another name.
            of: the user whose work is looked at, and not gone on with.

        Raises:
            AbsentError: no such slide.
            TakenError: it is open already.
            FullError: too many sessions.
            InputError: no slide.
        """
        if self.desk.folder is None:
            raise AbsentError("a server with a folder", "none", "start it with --root FOLDER")
        folder = self.desk.folder
        path = folder.image(name)
        name = folder.name_of(path)
        caller().image = name
        segmenter = self.desk.segmenter(model)
        file = folder.session_file(name, part_of(_PART, of))
        if of is not None:
            require_work_of(file)
        with self._opening:
            self._free(name, take_over)
            self.desk.require_room()
            slide, reading = open_slide(path, series), Lock()
            try:
                options = SegmentOptions(modality=self.desk.options.modality)
                session = SlideSession(segmenter, slide, options)
                journal = SlideJournal(file, identity(path))
                if afresh and of is None and file.exists():
                    file.rename(_aside(file))
                turns = self.desk.turns_of(segmenter)
                work = SlideWork(session, self.desk.lease(), turns, journal, name, reading)
                work.read_only = of is not None
                if file.is_file():
                    self._resume(work, file)
            except BaseException:
                slide.close()
                raise
            known = folder.remembered(name)
            work.colours = {n: (r, g, b) for n, r, g, b in known.colours}
            work.on_change = lambda: _mark_begun(folder, name)
            with self._lock:
                self._works[work.id] = work
        return work

    def get(self, token: str, act: bool = True) -> SlideWork:
        """A session by its name; `act` says whether this is a real action.

        Raises:
            AbsentError: there never was one.
            EndedError: it is over.
        """
        self.sweep()
        work = self._works.get(token)
        if work is None and (why := self._ends.get(token)):
            raise EndedError(
                "a session that is open", f"one that has ended: {why}", "open it again"
            )
        if work is None or work.owner != caller().name:
            raise AbsentError("a session", "none of that name", "open a slide first")
        caller().image = work.path
        (work.lease.act if act else work.lease.touch)()
        return work

    def close(self, token: str, why: str = "it was closed") -> None:
        """End a session, if it is there."""
        with self._lock:
            work = self._works.pop(token, None)
            if work is None:
                return
            self._ends[token] = why
            while len(self._ends) > _REMEMBERED_ENDS:
                self._ends.popitem(last=False)
        work.close()

    def sweep(self) -> None:
        """End what nobody has been heard of for too long."""
        for work in self.works:
            if work.lease.ended:
                self.close(work.id, "nothing was heard of it for too long")

    def stop(self) -> None:
        """End everything."""
        for work in self.works:
            self.close(work.id, "the server was stopped")

    def _free(self, name: str, take_over: bool) -> None:
        self.sweep()
        for work in self.works:
            if work.path == name and work.owner == caller().name:
                if not take_over:
                    raise TakenError(
                        "a slide that nobody has open",
                        "one that is open in another window",
                        "close it there, or take it over",
                    )
                self.close(work.id, "it was taken over by another window")

    def _resume(self, work: SlideWork, file: Path) -> None:
        try:
            work.journal.resume(work.session)
        except PromptsegError as error:  # kept for the user to look at, and never written over
            if work.read_only:
                raise
            work.journal = SlideJournal(file, work.journal.slide)
            work.session.history, work.session.position = work.session.history[:1], 0
            file.rename(_aside(file))
            work.warning = f"the earlier session is not used: {error}"


def _aside(file: Path) -> Path:
    """A name for an earlier session that is kept."""
    return file.with_stem(f"session-{time.time_ns()}")


def _mark_begun(folder: Folder, path: str) -> None:
    """A slide that is worked on is no longer to do."""
    try:
        if folder.remembered(path).state == "to do":
            folder.remember(path, state="begun")
    except PromptsegError:
        pass
