"""The slides that are open on a server, beside its images and within the same limits."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from promptseg.errors import PromptsegError
from promptseg.formats.exclusive import Exclusive, put_aside
from promptseg.formats.whole_slide import identity, open_slide
from promptseg.segment.options import SegmentOptions
from promptseg.serve.desk import Desk, part_of, require_work_of
from promptseg.serve.folder import Folder
from promptseg.serve.open_sessions import OpenSessions
from promptseg.serve.refusals import AbsentError, require_unusable, right_to
from promptseg.serve.slide_work import SlideWork
from promptseg.serve.users import caller
from promptseg.slides.journal import SlideJournal
from promptseg.slides.session import SlideSession

__all__ = ["SlideDesk"]

_PART = "slide"  # of the session's file name


class SlideDesk(OpenSessions[SlideWork]):
    """Everything that is open of slides.

    Args:
        desk: whose models, folder, limits and devices are used.
    """

    KIND = "a slide"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk, self._one_at_a_time = desk, Lock()
        desk.guests.append(self)

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
        """Open a slide of the folder, where its session stood.

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
        with self._one_at_a_time:
            self._free(name, take_over)
            self.desk.require_room()
            slide, reading = open_slide(path, series), Lock()
            right: Exclusive | None = None
            try:
                if of is None:
                    right = right_to(file, self.KIND, take_over)
                options = SegmentOptions(modality=self.desk.options.modality)
                session = SlideSession(segmenter, slide, options)
                journal = SlideJournal(file, identity(path))
                turns = self.desk.turns_of(segmenter)
                work = SlideWork(session, self.desk.lease(), turns, journal, name, reading)
                work.read_only, work.right = of is not None, right
                if afresh and of is None:
                    put_aside(file)
                elif file.is_file():
                    self._resume(work, file)
            except BaseException:
                slide.close()
                if right is not None:
                    right.release()
                raise
            known = folder.remembered(name)
            work.colours = {n: (r, g, b) for n, r, g, b in known.colours}
            work.on_change = lambda: _mark_begun(folder, name)
            with self._lock:
                self._works[work.id] = work
        return work

    def _resume(self, work: SlideWork, file: Path) -> None:
        try:
            work.journal.resume(work.session)
        except PromptsegError as error:  # kept for the user to look at, and never written over
            if work.read_only:
                raise
            require_unusable(error)
            work.journal = SlideJournal(file, work.journal.slide)
            work.session.history, work.session.position = work.session.history[:1], 0
            put_aside(file)
            work.warning = f"the earlier session is not used: {error}"


def _mark_begun(folder: Folder, path: str) -> None:
    """A slide that is worked on is no longer to do."""
    try:
        if folder.remembered(path).state == "to do":
            folder.remember(path, state="begun")
    except PromptsegError:
        pass
