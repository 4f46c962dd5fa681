"""One image that somebody works on: a session whose steps are quick, safe on disk and told to all."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from promptseg.errors import PromptsegError
from promptseg.formats.exclusive import Exclusive
from promptseg.geometry import Axis
from promptseg.image import Segment
from promptseg.prompts import Mask, Prompt, Text
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.changes import Masks, differences
from promptseg.serve.lease import Lease
from promptseg.serve.refusals import (
    EndedError,
    TooLargeError,
    changed_by_others,
    fault_or_message,
    require_right,
)
from promptseg.serve.times import Times
from promptseg.serve.turns import CancelledError, Job, Turns, Urgency
from promptseg.serve.users import caller, require_own

__all__ = ["Event", "Work"]

log = logging.getLogger("promptseg.serve")

T = TypeVar("T")
Event = dict[str, Any]

_REMEMBERED = 64  # revisions a client may lag behind and still get differences


class Snapshot(NamedTuple):
    """The masks of a revision, and what else clients are told of it.

    Attributes:
        masks: the objects.
        unspread: whether other slices are still to come.
        kept: how many of the first steps are those of the revision before.
    """

    masks: Masks
    unspread: bool
    kept: int


class Work:
    """A session with its lease, its file and those who watch it; for any threads.

    A prompt is answered on its own slice first and then propagated to the others by a thread of its
    own, which the next prompt interrupts and which then begins again; nothing of it is lost but time.

    Args:
        session: the image, its objects and steps.
        lease: how long it lasts.
        turns: of the model's device.
        journal: where every step is kept; None keeps it in memory alone.
        path: of the image below the root, if it is a file there.
        limit: bytes it may hold.
        times: of those who work on it, where they are logged.

    Attributes:
        owner: who opened it; empty where users have no names.
        read_only: whether it is the work of somebody else, which is looked at.
        colours: (red, green, blue) of objects by name, where the user chose one.
        revision: grows with every change.
        focus: axis and slice that is looked at.
        warning: what is wrong, such as a step that could not be saved.
        on_change: called after every change.
        image_facts: what is told of the image, once it has been found.
        right: to go on with its file; None where it has none.
    """

    def __init__(
        self,
        session: Session,
        lease: Lease,
        turns: Turns,
        journal: Journal | None = None,
        path: str | None = None,
        limit: int = 1 << 62,
        times: Times | None = None,
    ) -> None:
        self.session, self.lease, self.turns = session, lease, turns
        self.journal, self.path, self.limit = journal, path, limit
        self.times = times or Times(None, "")
        self.owner, self.read_only = caller().name, False
        self.colours: dict[str, tuple[int, int, int]] = {}
        self.revision = 1
        self.focus: tuple[Axis, int] = (
            session.axis,
            session.geometry.slice_count(session.axis) // 2,
        )
        self.warning = ""
        self._fault: Exception | None = None
        self._notes: list[str] = []  # on words, told with the next revision
        self.image_facts: dict[str, Any] | None = None
        self.right: Exclusive | None = None
        self._actions: list[str] = []
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._remember(1)
        self._listeners: set[Callable[[Event], None]] = set()
        self._lock = threading.RLock()
        self._gate = threading.Lock()
        self._propagating: Job | None = None
        self._coming = 0
        self._at_rest = threading.Condition()
        self._closed = False
        self._keeping = threading.Lock()  # while a step is put on disk; closing waits for it
        self.on_change: Callable[[], None] = lambda: None
        session.progress = self._progress

    @property
    def id(self) -> str:
        """Return the name that clients use for it; nobody can guess it."""
        return self.lease.token

    @property
    def file(self) -> Path | None:
        """Return the file that keeps it; None if it is in memory alone."""
        return None if self.journal is None else self.journal.path

    @property
    def masks(self) -> dict[str, Segment | None]:
        """Return the masks of the objects by name."""
        return dict(self.session.step.objects)

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds: voxels, embeddings, and the masks of all its steps."""
        session = self.session
        segments = {id(s): s for step in list(session.history) for s in step.objects.values() if s}
        opened = [image.nbytes for image in session.opened.values()]
        return (
            session.image.voxels.nbytes
            + sum(opened)
            + sum(s.crop.nbytes for s in segments.values())
        )

    @property
    def propagating(self) -> bool:
        """Tell whether answers are being propagated to slices whose masks are not told yet."""
        return self._snapshots[self.revision].unspread and not self._closed

    def prompt(
        self,
        prompt: Prompt,
        object: str | None = None,
        spread: bool = True,
        at: int | None = None,
    ) -> Event:
        """Add a prompt and answer it on its slice; the other slices follow, unless not wanted.

        Args:
            prompt: what it is.
            object: the object it is for.
            spread: whether the other slices follow.
            at: the slice on which words are answered first; the middle one if None.

        Returns:
            What it changed, as of `change`.

        Raises:
            PromptError: as of `Session.add`.
        """

        if spread or not (isinstance(prompt, Mask) and prompt.as_drawn):
            self.times.require_model()

        def do() -> None:
            self.session.add(prompt, object, spread=False, at=at)
            if not spread:
                self.session.leave_as_is()
            if isinstance(prompt, Text):
                self._notes = self.session.notes_on(str(self.session.step.current))

        return self.change(do, model=True)[1]

    def preview(
        self, prompt: Prompt, object: str | None = None, at: int | None = None
    ) -> Segment | None:
        """Return the answer to a prompt on its slice, without keeping it; propagation goes on then.

        Raises:
            PromptError: as of `Session.add`.
        """
        self._require_open()
        self.times.require_model()
        with self.turns.take(Job(self.id, Urgency.CLICK)):
            return self.session.preview(prompt, object, at)

    def change(self, do: Callable[[], T], *, model: bool = False) -> tuple[T, Event]:
        """Do something to the session, save it, tell everybody, and go on propagating.

        Args:
            do: what.
            model: whether it needs the device.

        Returns:
            What `do` returned, and what changed, see `since`.
        """
        require_own(self.read_only)
        with self.lease.held(), self._instead_of_propagating():
            self._require_open()
            if model and self.nbytes > self.limit:
                raise TooLargeError(
                    f"a session of at most {self.limit >> 20} MiB",
                    f"one of {self.nbytes >> 20} MiB",
                    "save the masks and open the image afresh, or start the server with a larger "
                    "--session-mib",
                )
            before, job = self.revision, Job(self.id, Urgency.CLICK)
            if model:
                with self.times.model(), self.turns.take(job):
                    done = do()
            else:
                done = do()
            self._commit()
            return done, self.since(before)

    def since(self, revision: int | None) -> Event:
        """Return the changes since an earlier revision; everything, if that one is not known any more.

        Returns:
            `{"revision", "since", "regions", "following", "warning"}`; `since` is 0 where the regions
            are those of all objects.
        """
        now = self.revision
        known, new = self._snapshots.get(revision or 0), self._snapshots[now]
        return {
            "revision": now,
            "since": revision if known is not None else 0,
            "regions": differences(known.masks if known else {}, new.masks),
            "following": new.unspread and not self._closed,
            "warning": self.warning,
        }

    def steps_since(self, revision: int) -> tuple[int, list[str]]:
        """Return the number of the first step that differs since a revision, and all steps from it on.

        All steps, if that revision is not known any more.
        """
        actions = self._actions  # before the snapshots, which are there first
        snapshots = dict(self._snapshots)
        if revision not in snapshots:
            return 0, actions
        kept = (snapshot.kept for number, snapshot in snapshots.items() if number > revision)
        first = min(kept, default=len(actions))
        return first, actions[first:]

    def cancel(self) -> Event:
        """Stop propagating; answers that were given stay on their slices alone."""
        return self.change(self.session.leave_as_is)[1]

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is propagated any more; False if that takes longer."""
        with self._at_rest:
            return self._at_rest.wait_for(lambda: not self.propagating, seconds)

    def require_propagated(self) -> None:
        """Refuse to give out answers that the other slices lack, because propagating them failed.

        The next change is another attempt: it is nothing to be asked about then.

        Raises:
            PromptsegError: why it failed; any other exception is a fault of ours.
        """
        if self._fault is not None:
            raise self._fault

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have everything told that happens; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def tell(self, event: Event) -> None:
        """Tell everybody who listens."""
        for listener in list(self._listeners):
            listener(event)

    def close(self, why: str, *, abandoned: bool = False) -> None:
        """End it; what was done is on disk. `abandoned`: nobody was heard of any more.

        A step still at work is refused when it comes to be kept: the file may be another's by then.
        """
        with self._keeping:
            self._closed = True
            if self.right is not None:
                self.right.release()
        try:
            self.times.close(abandoned=abandoned)
        except PromptsegError:
            log.warning("the end of a timed phase could not be logged")
        self._interrupt()
        with self._at_rest:
            self._at_rest.notify_all()
        self.tell({"type": "closed", "detail": why})
        self.turns.forget(self.id)

    def _require_open(self) -> None:
        if self._closed:
            raise EndedError("a session that is open", "one that has ended", "open the image again")

    def _commit(self, fault: Exception | None = None) -> None:
        """What has changed is saved, and remembered; `fault`: why propagation failed.

        Raises:
            EndedError: it was closed meanwhile.
        """
        notes, self._notes = self._notes, []
        self._fault = fault
        self.warning = "; ".join(filter(None, (self.times.take_fault(), *notes)))
        with self._keeping:
            self._require_open()
            require_right(self.right)
            if self.journal is not None:
                try:
                    others = changed_by_others(self.journal.write(self.session))
                    self.warning = "; ".join(filter(None, (self.warning, others)))
                except PromptsegError as error:  # the step is there, and is tried with the next
                    self.warning = f"this step is not on disk: {error}"
        self._remember(self.revision + 1)
        self.revision += 1
        self.on_change()
        with self._at_rest:
            self._at_rest.notify_all()

    def _remember(self, revision: int) -> None:
        """What is told of a new revision."""
        actions = [step.action for step in self.session.history]
        alike = (a == b for a, b in zip(self._actions, actions, strict=False))
        kept = sum(takewhile(bool, alike))
        unspread = self._fault is None and bool(self.session.unspread)
        self._snapshots[revision] = Snapshot(self.masks, unspread, kept)
        while len(self._snapshots) > _REMEMBERED:
            self._snapshots.popitem(last=False)
        self._actions = actions

    def _progress(self, encoded: int, name: str) -> None:
        self.tell({"type": "progress", "object": name, "encoded": encoded})

    @contextmanager
    def _instead_of_propagating(self) -> Iterator[None]:
        """Have the session to oneself: propagation stops, and begins again afterwards."""
        with self._gate:
            self._coming += 1
        self._interrupt()
        with self._lock:
            with self._gate:
                self._coming -= 1
            try:
                yield
            finally:
                self._propagate()

    def _interrupt(self) -> None:
        with self._gate:
            job = self._propagating
        if job is not None:
            self.turns.cancel(job)

    def propagate(self) -> None:
        """Go on propagating what has not been propagated, such as after a crash."""
        with self._lock:
            self._propagate()

    def _propagate(self) -> None:
        """Begin to propagate, with the lock held; not while somebody does, or something comes first."""
        with self._gate:
            if not self.propagating or self._propagating is not None or self._coming:
                return
            self._propagating = job = Job(self.id, Urgency.SPREAD)
        threading.Thread(target=self._to_the_end, args=(job,), daemon=True).start()

    def _to_the_end(self, job: Job) -> None:
        """What the propagating thread does; if it was interrupted, another one begins again."""
        with self._lock:
            event = self._propagated(job)
            with self._gate:
                self._propagating = None
            self._propagate()
        if event is not None:
            self.tell(event)

    def _propagated(self, job: Job) -> Event | None:
        """Propagate everything; what there is to tell of it."""
        before = self.revision
        try:
            with self.times.model(), self.turns.take(job):
                spread = self.session.spread()
            self._notes = [note for name in spread for note in self.session.notes_on(name)]
            self._commit()
        except (CancelledError, EndedError):
            return None
        except Exception as error:
            lacking = ", ".join(self.session.unspread)
            self._notes = [
                f"{lacking}: on the prompted slices alone, as the others failed, which the next "
                f"step tries again: {fault_or_message(error)}"
            ]
            with contextlib.suppress(EndedError):
                self._commit(error)
            if not isinstance(error, PromptsegError):
                log.exception("propagation failed")
            return {"type": "error", "detail": fault_or_message(error)}
        return {"type": "changed", **self.since(before)}
