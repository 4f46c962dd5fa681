"""One video that somebody works on: prompts answered at once, tracking on a thread, steps on disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.errors import InputError, OutputError, PromptError, PromptsegError
from promptseg.formats.exclusive import Exclusive
from promptseg.formats.own_folder import OwnFolder
from promptseg.jobs.video.prompts import on_frames
from promptseg.prompts import Mask, Prompt
from promptseg.segment.video.masks import Packed
from promptseg.serve.lease import Lease
from promptseg.serve.refusals import (
    BusyError,
    EndedError,
    TooLargeError,
    changed_by_others,
    fault_or_message,
    require_right,
    without_root,
)
from promptseg.serve.turns import CancelledError, Job, Turns, Urgency
from promptseg.serve.users import caller
from promptseg.serve.video import edits
from promptseg.serve.video.clip import Clip
from promptseg.serve.video.journal import VideoJournal
from promptseg.serve.video.steps import ClipObject, Step
from promptseg.serve.video.tracking import Direction, Tracking, answer_on
from promptseg.serve.work import Event

__all__ = ["VideoWork", "absent_on"]

log = logging.getLogger("promptseg.serve")

_RESULTS = "results"
_WAIT_S = 60.0


class VideoWork:
    """A clip with the steps of the work on it, its lease, its folder, and who watches; for any threads.

    A prompt is answered on its frame at once. `track` propagates all prompts that wait for it, on a
    thread of its own; until it has ended or was stopped, nothing else may change. What it finds
    is seen meanwhile, and kept on the disk in parts: the same tracking goes on after a stop or a kill.

    Args:
        clip: the video and the model.
        lease: how long it lasts.
        turns: of the model's device.
        folder: of ours, where it is kept.
        path: of the video below the root.
        limit: bytes it may hold.
        root: of the folder that is served, which no message names.

    Attributes:
        owner: who opened it; empty where users have no names.
        history, position: the steps, and where it stands among them.
        revision: grows with every change.
        tracking: what is being propagated.
        writing: how many frames of results are written, and of how many; None where nothing is.
        warning: what is wrong, such as a step that could not be saved.
        on_change: called after every change.
        focus: what is looked at; for whom it may concern.
        right: to go on with its folder; None where nobody needs one.
    """

    def __init__(
        self,
        clip: Clip,
        lease: Lease,
        turns: Turns,
        folder: Path,
        path: str,
        limit: int = 1 << 62,
        root: str = "",
    ) -> None:
        self.clip, self.lease, self.turns = clip, lease, turns
        self.folder, self.path, self.limit, self.root = folder, path, limit, root
        self.journal = VideoJournal(folder, clip.size)
        self.owner = caller().name
        self.history: list[Step] = [Step("video opened")]
        self.position, self.revision = 0, 1
        self.tracking: Tracking | None = None
        self.writing: tuple[int, int] | None = None
        self.warning = ""
        self.on_change: Callable[[], None] = lambda: None
        self.focus: Any = None
        self.right: Exclusive | None = None
        self._job: Job | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._stop_writing = False
        self._write_lock = threading.Lock()
        self._lock = threading.RLock()
        self._listeners: set[Callable[[Event], None]] = set()
        self._closed = False

    @property
    def id(self) -> str:
        """Return the name that clients use for it; nobody can guess it."""
        return self.lease.token

    @property
    def step(self) -> Step:
        """Return the step at which the session stands."""
        return self.history[self.position]

    @property
    def nbytes(self) -> int:
        """Return the bytes it holds at most: frames, embeddings, and packed masks of all its steps."""
        seen: dict[int, int] = {}
        sets = {id(o.masks): o.masks for step in list(self.history) for o in step.objects}
        for masks in sets.values():
            seen.update({id(p): len(p.bits) + 200 for p in list(masks.values())})
        return self.clip.nbytes + sum(seen.values())

    @property
    def file(self) -> Path:
        """Return the file that keeps its steps."""
        return self.journal.path

    @property
    def results(self) -> Path:
        """Return the folder of the files for download."""
        return self.folder / _RESULTS

    def begin(self) -> Path | None:
        """Be there for the first time; returns what somebody else has left there, under its new name.

        Raises:
            OutputError: the folder cannot be written.
        """
        numbers = self.clip.frames.numbers
        return self.journal.begin(self.clip.identity, numbers, self.clip.options)

    def resume(self) -> None:
        """Stand where an earlier session stood; tracking that was cut off is a step of its own.

        Raises:
            InputError: it is damaged.
        """
        history, position, direction = self.journal.resume()
        if history:
            self.history, self.position = history, position
        if direction is None:
            return
        try:
            tracking = Tracking(self.clip, self.step.objects, _direction(direction), self._own())
            done = tracking.recall()
        except PromptsegError:  # of other prompts, or another model: it begins anew when asked to
            return
        if done:
            said = (
                f"tracking was cut off after {done} frames: track again, and it goes on from there"
            )
            step = edits.stopped(self.step, tracking, f"cut off after {done} frames")
            if step is not None:
                self._add(step)
                self.warning = said

    def prompt(self, prompt: Prompt, name: str | None = None) -> str:
        """Add a prompt, counted in frames of the video, and answer it there; return the object's name.

        Raises:
            PromptError: outside the frame or the chosen frames, or one that makes no sense there.
            BusyError: objects are being propagated.
        """
        with self._alone():
            step = self.step
            name = prompt.name or name or step.current or edits.free_name(self.history)
            placed = on_frames(replace(prompt, name=name), self.clip.frames)
            if isinstance(placed, Mask) and not placed.pixels.any():
                self._require_propagated(name)
            (checked,) = self.clip.run([placed], self.clip.options).objects
            new = checked.planar[0]
            place = new.slice or 0
            old = step.object(name) or edits.fresh(step, name)
            one = replace(old, prompts=(*old.prompts, new))
            with self.turns.take(Job(self.id, Urgency.CLICK)):
                answer = answer_on(self.clip, one, place)
            one = replace(one, answers={**one.answers, place: answer})
            kind = "absent" if isinstance(new, Mask) else new.kind
            number = self.clip.frames.numbers[place]
            self._add(Step(f"{kind} on {name}, frame {number}", step.with_object(one), name))
            return name

    def new_object(self, name: str | None = None) -> str:
        """Add an object without prompts, current from then on, and return its name.

        Raises:
            PromptError: a name that is taken or cannot be written.
        """
        with self._alone():
            chosen = edits.free_name(self.history) if name is None else name
            self._add(edits.added(self.step, chosen))
            return str(self.step.current)

    def select(self, name: str) -> None:
        """Make an object the current one; no step."""
        with self._alone(while_tracking=True):
            edits.known(self.step, name)
            self.history[self.position] = replace(self.step, current=name)
            if self.tracking is None:
                self._commit()
            else:  # the journal says last that tracking is at work; this goes with the next step
                self.revision += 1

    def rename(self, name: str, new: str) -> None:
        """Rename an object.

        Raises:
            PromptError: no such object, or a name that is taken or cannot be written.
        """
        with self._alone():
            self._add(edits.renamed(self.step, name, new))

    def remove(self, name: str) -> None:
        """Take an object out; undo brings it back."""
        with self._alone():
            self._add(edits.removed(self.step, name))

    def reset(self, name: str | None = None) -> None:
        """Start an object anew, or all of them; undo brings them back."""
        with self._alone():
            self._add(edits.reset(self.step, name))

    def go_to(self, position: int) -> None:
        """Go to a step.

        Raises:
            InputError: there is none of that number.
        """
        with self._alone():
            if not 0 <= position < len(self.history):
                raise InputError(f"a step from 0 to {len(self.history) - 1}", str(position))
            self.position = position
            self._commit()

    def move(self, by: int) -> None:
        """Go some steps back or forth, as far as there are any."""
        with self._alone():
            self.position = min(max(self.position + by, 0), len(self.history) - 1)
            self._commit()

    def track(self, direction: Direction = "both") -> None:
        """Begin to propagate what was not propagated yet; it goes on when this returns.

        Raises:
            InputError: nothing to propagate.
            BusyError: something is being propagated already.
        """
        with self._alone():
            self._require_room()
            tracking = Tracking(self.clip, self.step.objects, direction, self._own())
            self._job = job = Job(self.id, Urgency.SPREAD)
            try:
                self.journal.note_tracking(direction)
            except PromptsegError as error:
                self.warning = f"this tracking cannot go on after a crash: {self._told(error)}"
            self.tracking = tracking
            self._ended.clear()
            self.revision += 1
        threading.Thread(
            target=self._propagate, name="tracking", args=(tracking, job), daemon=True
        ).start()

    def cancel(self) -> None:
        """Stop propagating, and writing results, and wait for it; what was found so far is kept."""
        job = self._job
        self._stop_writing = True
        if job is not None:
            self.turns.cancel(job)
            self._ended.wait(_WAIT_S)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is propagated any more; False if that takes longer."""
        return self._ended.wait(seconds)

    def on(self, name: str, place: int) -> Packed | None:
        """Return the mask of an object on a frame; while it is propagated, what was found so far."""
        tracking = self.tracking
        if tracking is not None and name in tracking.names:
            return tracking.on(name, place)
        one = self.step.object(name)
        return None if one is None else one.on(place)

    def shown(self, one: ClipObject) -> dict[int, Packed]:
        """Return the masks of an object on all frames; as `on`."""
        tracking = self.tracking
        live = tracking.shown(one.name) if tracking is not None else None
        return dict(one.shown) if live is None else live

    @contextmanager
    def writing_results(self) -> Iterator[Callable[[int, int], None]]:
        """Write results alone; gives what is told frames done and frames in all, and may stop it.

        Raises:
            BusyError: results are being written already, or objects propagated.
        """
        self._require_open()
        if not self._write_lock.acquire(blocking=False):
            raise BusyError("results to be written once at a time", "another request for them")
        try:
            if self.tracking is not None:
                raise BusyError("tracking to be at its end", "tracking at work", "stop it, or wait")
            self._stop_writing = False

            def told(done: int, of: int) -> None:
                if self._stop_writing or self._closed:
                    raise CancelledError
                self.writing = (done, of)
                self.lease.act()
                if done % max(1, of // 100) == 0 or done == of:
                    self.tell({"type": "writing", "done": done, "of": of})

            with self.lease.held():
                yield told
        finally:
            self.writing = None
            self._write_lock.release()

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have everything told that happens; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def tell(self, event: Event) -> None:
        """Tell everybody who listens."""
        for listener in list(self._listeners):
            listener(event)

    def close(self, why: str, *, abandoned: bool = False) -> None:
        """End it; what was done is on disk, tracking as far as it came."""
        self.cancel()
        with self._lock:
            self._closed = True
        self.tell({"type": "closed", "detail": why})
        self.turns.forget(self.id)
        try:
            OwnFolder(self.folder).remove(_RESULTS)
        except PromptsegError:
            log.warning("files for download could not be removed")
        self.clip.close()
        if self.right is not None:
            self.right.release()

    @contextmanager
    def _alone(self, while_tracking: bool = False) -> Iterator[None]:
        with self.lease.held(), self._lock:
            self._require_open()
            if self.tracking is not None and not while_tracking:
                raise BusyError(
                    "tracking to be at its end", "tracking at work", "stop it first, or wait"
                )
            yield

    def _require_open(self) -> None:
        if self._closed:
            raise EndedError("a session that is open", "one that has ended", "open the video again")
        require_right(self.right)

    def _require_room(self) -> None:
        if self.nbytes > self.limit:
            raise TooLargeError(
                f"a session of at most {self.limit >> 20} MiB",
                f"one of {self.nbytes >> 20} MiB",
                "save the results and open the video afresh, or start the server with a larger "
                "--session-mib",
            )

    def _told(self, error: Exception) -> str:
        return without_root(fault_or_message(error), self.root)

    def _own(self) -> OwnFolder:
        return OwnFolder(self.folder)

    def _require_propagated(self, name: str) -> None:
        one = self.step.object(name)
        if one is None or not one.propagated:
            raise PromptError(
                "an object that was tracked, to say where it is not", repr(name)[:100], "track it"
            )

    def _add(self, step: Step) -> None:
        """One more step; those that were taken back are gone."""
        self.history[self.position + 1 :] = [step]
        self.position += 1
        self._commit()

    def _commit(self) -> None:
        """What has changed is saved, and told."""
        self.warning = ""
        try:
            require_right(self.right)
            self.warning = changed_by_others(self.begin())
            self.journal.write(self.history, self.position)
        except PromptsegError as error:  # the step is there, and is tried again with the next
            self.warning = f"this step is not on disk: {self._told(error)}"
        self.revision += 1
        self.on_change()

    def _propagate(self, tracking: Tracking, job: Job) -> None:
        """What the tracking thread does."""
        told = -1

        def on_frame(done: int, of: int | None) -> None:
            nonlocal told
            self.lease.act()  # a window may be closed meanwhile: tracking goes on to its end
            share = done if of is None else int(200 * done / of)
            if share != told:
                told = share
                self.tell({"type": "progress", "objects": tracking.names, "done": done, "of": of})

        event: Event
        step: Step | None
        try:
            with self.lease.held(), self.turns.take(job):
                tracking.go(on_frame)
            step, event = edits.tracked(self.step, tracking), {"type": "tracked"}
        except CancelledError:
            step = edits.stopped(self.step, tracking, f"stopped after {tracking.visits[0]} frames")
            event = {"type": "stopped"}
        except Exception as error:
            if not isinstance(error, PromptsegError):
                log.error("tracking failed: %s", type(error).__name__)
            step = edits.stopped(self.step, tracking, f"ended after {tracking.visits[0]} frames")
            event = {"type": "error", "detail": self._told(error)}
        with self._lock:
            self.tracking, self._job = None, None
            if step is not None and not self._closed:  # else the folder may be another's by now
                self._add(step)
            elif not self._closed:
                self._commit()
            if event["type"] == "tracked" and not self._closed:
                try:
                    tracking.clear()
                except OutputError:
                    log.warning("parts of a tracking could not be removed")
        self._ended.set()
        self.tell({**event, "revision": self.revision, "action": self.step.action})


def _direction(text: str) -> Direction:
    return text if text in ("forward", "backward") else "both"  # type: ignore[return-value]


def absent_on(clip: Clip, frame: int, name: str | None) -> Mask:
    """Return the prompt that says that an object is not on a frame: an empty mask."""
    return Mask(np.zeros(clip.size, dtype=bool), frame, name, "z", as_drawn=True)
