"""Videos that are open on a desk: sessions of another kind, within the same limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg.errors import PromptsegError, UnusableError
from promptseg.formats.exclusive import put_aside
from promptseg.formats.options import ReadOptions
from promptseg.formats.video import Selection, open_video
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.serve.desk import Desk, part_of
from promptseg.serve.folder import Folder
from promptseg.serve.open_sessions import OpenSessions
from promptseg.serve.refusals import AbsentError, require_unusable, right_to, without_root
from promptseg.serve.users import caller
from promptseg.serve.video.clip import Clip
from promptseg.serve.video.journal import VideoJournal
from promptseg.serve.video.work import VideoWork

__all__ = ["Videos"]

_NOT_KEPT = ("modality", "window", "propagate")


class Videos(OpenSessions[VideoWork]):
    """Sessions on videos of the folder that is served.

    Args:
        desk: with models, folder and limits; these sessions count among its own.
    """

    KIND = "a video"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        desk.guests.append(self)

    @property
    def folder(self) -> Folder:
        """Return the folder that is served.

        Raises:
            AbsentError: there is none.
        """
        if self.desk.folder is None:
            raise AbsentError("a server with a folder", "none", "start it with --root FOLDER")
        return self.desk.folder

    def facts(self, name: str, series: str | None = None) -> dict[str, Any]:
        """Return the facts on a video before it is opened, and the sessions there are on it.

        Raises:
            AbsentError: there is none.
            InputError: it cannot be read.
        """
        path = self.folder.image(name)
        frames = open_video(path, ReadOptions(series=series))
        video = frames.video
        with video:
            times = video.facts.times
            return {
                "path": self.folder.name_of(path),
                "count": len(video),
                "size": list(video.facts.size),
                "rate": video.rate,
                "seconds": None if times is None else float(times[-1] - times[0]),
                "codec": video.facts.codec,
                "notes": list(video.facts.notes),
                "sessions": self._earlier(self.folder.name_of(path), series),
            }

    def open(
        self,
        name: str,
        frames: str | None = None,
        model: str | None = None,
        series: str | None = None,
        options: SegmentOptions | None = None,
        *,
        take_over: bool = False,
        afresh: bool = False,
    ) -> VideoWork:
        """Open a video of the folder, where the session on these frames of it stood.

        Args:
            name: path below the root.
            frames: FIRST:LAST[:STRIDE]; those that were worked on last, or all, if not given.
            model: name of a loaded one; the first, if not given.
            series: of a DICOM folder with several.
            options: modality, window, propagation.
            take_over: end another session on it.
            afresh: leave an earlier session aside; it is kept under another name.

        Raises:
            AbsentError: no such video.
            TakenError: it is open already.
            FullError, TooLargeError: beyond the limits.
            InputError: it cannot be read.
        """
        path = self.folder.image(name)
        name = self.folder.name_of(path)
        caller().image = name
        segmenter = self.desk.segmenter(model)
        options = options or self.desk.options
        if frames is None:
            earlier = self._earlier(name, series)
            frames = earlier[0]["frames"] if earlier else None
        with self._lock:
            self._free(name, take_over)
            self.desk.require_room()
            self._opening += 1
        work: VideoWork | None = None
        try:
            chosen = open_video(path, ReadOptions(frames=frames, series=series))
            try:
                work = self._opened(
                    name,
                    chosen,
                    series,
                    segmenter=segmenter,
                    options=options,
                    take_over=take_over,
                    afresh=afresh,
                )
            except BaseException:
                chosen.video.close()
                raise
        finally:
            with self._lock:
                self._opening -= 1
                if work is not None:
                    self._works[work.id] = work
        return work

    def _opened(
        self,
        name: str,
        frames: Selection,
        series: str | None,
        *,
        segmenter: Segmenter,
        options: SegmentOptions,
        take_over: bool,
        afresh: bool,
    ) -> VideoWork:
        """A session that goes on where it stood."""
        turns = self.desk.turns_of(segmenter)
        folder = self.folder.video_folder(name, part_of(_part(frames.numbers, series)))
        notes: list[str] = []
        right = right_to(folder, self.KIND, take_over)
        clip: Clip | None = None
        try:
            then = self._begun_with(folder, options, notes, afresh)
            clip = Clip.open(frames, series, segmenter, then, turns)
            self.desk.require_bytes(clip.nbytes)
            root = str(self.folder.root)
            work = VideoWork(
                clip,
                self.desk.lease(),
                turns=turns,
                folder=folder,
                path=name,
                limit=self.desk.limits.session_bytes,
                root=root,
            )
            work.right = right
            self._resume(work, notes, afresh)
            work.warning = without_root(work.warning, root)
            work.on_change = lambda: self._begun(name)
            with self._lock:
                self._free(name, take_over=False)
            if afresh:  # not before it is sure that there is another one in its place
                put_aside(folder)
        except BaseException:
            if clip is not None:
                clip.close()
            right.release()
            raise
        return work

    def _earlier(self, name: str, series: str | None) -> list[dict[str, Any]]:
        """Sessions on a video of who asks, the one that was worked on last first."""
        found = []
        for folder in self.folder.video_folders(name):
            try:
                head = VideoJournal.head(folder)
                start, stop, step = head["frames"] if head else (0, 0, 1)
                numbers = range(int(start), int(stop), int(step))
                own = self.folder.video_folder(name, part_of(_part(numbers, series)))
                if caller().name and own != folder:
                    continue
                found.append({"frames": f"{numbers[0]}:{numbers[-1]}:{numbers.step}"})
            except (PromptsegError, ValueError, TypeError, IndexError):
                continue  # said by who opens it
        return found

    def _begun_with(
        self, folder: Path, options: SegmentOptions, notes: list[str], afresh: bool
    ) -> SegmentOptions:
        """The options of an earlier session, which go on; else those that are asked for."""
        journal = VideoJournal(folder, (0, 0))
        if afresh:
            return options
        try:
            if VideoJournal.head(folder) is None:
                return options
            then = journal.options()
        except PromptsegError as error:
            require_unusable(error)
            put_aside(folder)
            notes.append(f"the earlier session is not used: {error}")
            return options
        asked = {key: getattr(options, key) for key in _NOT_KEPT}
        kept = {key: getattr(then, key) for key in _NOT_KEPT}
        notes += [
            f"{key} {new} is not used: the work on this video began with {kept[key] or 'none given'} "
            "and goes on so; begin afresh to use it."
            for key, new in asked.items()
            if new is not None and new != kept[key]
        ]
        return replace(options, **kept)

    def _resume(self, work: VideoWork, notes: list[str], afresh: bool) -> None:
        """Let a session stand where it stood; a damaged one, or one of another clip, is kept aside."""
        try:
            head = VideoJournal.head(work.folder)
            if head is not None and not afresh:
                if head.get("identity") != work.clip.identity:
                    raise UnusableError(
                        "the clip that the work began on", "another one of its name"
                    )
                work.resume()
        except PromptsegError as error:
            require_unusable(error)
            put_aside(work.folder)
            work.journal = VideoJournal(work.folder, work.clip.size)
            notes.append(f"the earlier session is not used: {error}")
        work.warning = " ".join([*notes, work.warning]).strip()

    def _begun(self, name: str) -> None:
        """A video that is worked on is no longer to do."""
        if self.folder.remembered(name).state == "to do":
            try:
                self.folder.remember(name, state="begun")
            except PromptsegError:
                return


def _part(numbers: range, series: str | None) -> str:
    """Which frames a session is on, in words that never change."""
    return f"{numbers.start}:{numbers[-1]}:{numbers.step} {series or ''}".strip()
