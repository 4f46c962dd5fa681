"""What the panel does, without a widget: every button is a method, every answer a line of text."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from PromptSegLib import prompts
from PromptSegLib.connection import Connected, connect
from PromptSegLib.launcher import Launched, launch
from PromptSegLib.problems import GoneError, Problem, VersionProblem, told
from PromptSegLib.sequence import TimeLine
from PromptSegLib.worker import Task, Worker
from PromptSegLib.workspace import Opening, Workspace

__all__ = ["Controller"]

_ALIVE = 30.0  # seconds between two signs of life; the server waits for 120


class Controller:
    """Connection, volume and what is being done.

    Args:
        say: shows what goes on; an empty text when nothing does.
        complain: shows what went wrong, in one line.
        changed: called when the panel has to look again: what is connected, open, found.

    Attributes:
        connected: the server; None without.
        workspace: the open volume; None without.
        timeline: its time points, if it is shown by a sequence.
        launched: a server that was started here.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.say, self.complain, self.changed = say, complain, changed
        self.worker = Worker(self._failed)
        self.connected: Optional[Connected] = None
        self.workspace: Optional[Workspace] = None
        self.timeline: Optional[TimeLine] = None
        self.launched: Optional[Launched] = None
        self._address = ""
        self._heard = time.monotonic()

    # The timer.

    def poll(self) -> None:
        """Go on; to be called some times a second."""
        silent = time.monotonic() - self._heard > _ALIVE
        if silent and self.workspace is not None and not self.worker.busy:
            self._do(self.workspace.heartbeat())
        self.worker.poll()

    # The server.

    def connect(self, address: str, token: str = "", any_version: bool = False) -> None:
        """Ask a server what it has; ends what was open on another one."""

        def task() -> Task:
            self._address = address.partition("?")[0]
            self.say(f"connecting to {self._address}")
            found = yield lambda: connect(address, token, any_version)
            yield from self._closed()
            self.connected = found
            self.say(
                f"connected: {', '.join(found.models)}. {found.info.get('notice', '')}".strip()
            )
            self.changed()

        self._do(task())

    def start(
        self,
        python: str,
        root: str,
        models: Sequence[str] = (),
        environment: Optional[Dict[str, str]] = None,
    ) -> None:
        """Start a server in another Python, and connect to it when it is ready."""

        def task() -> Task:
            self.stop_server()
            self.say("starting a server; its models are loaded")
            self.launched = started = yield lambda: launch(python, root, models, 0, environment)
            while started.address is None:
                started.check()
                if started is not self.launched:
                    return
                self.say(f"starting a server: {started.said}"[:200])
                yield lambda: time.sleep(0.2)
            self.connect(started.address)

        self._do(task())

    def stop_server(self) -> None:
        """End the server that was started here."""
        if self.launched is not None:
            self.launched.stop()
            self.launched = None

    # The volume.

    def open(self, volume: Any, segments: Any, opening: Opening, points: Any = None) -> None:
        """Open a volume for a segmentation; `points` are its time points, of a sequence."""

        def task() -> Task:
            if self.connected is None:
                raise Problem("expected a server, got none; connect to one first")
            yield from self._closed()
            workspace = Workspace(self.connected, volume, segments, self.worker, self.say)
            self.workspace = workspace
            self.timeline = None if points is None else TimeLine(workspace, points, self.say)
            yield from workspace.open(opening)
            self.changed()

        self._do(task())

    def close(self) -> None:
        """End the session."""

        def task() -> Task:
            yield from self._closed()
            self.changed()

        self._do(task())

    def scene_closed(self) -> None:
        """The scene is going: what waits is dropped, and the session ended."""
        self.worker.clear()
        self.close()

    # Prompts; points, corners and ends are places in space (RAS).

    def clicks(self, inside: Any, outside: Any, axis: str, segment: Optional[str]) -> None:
        """Points in and beside the object."""
        self._prompt(lambda grid: prompts.clicks(grid, inside, outside, axis), segment, "point")

    def region(self, corners: Any, axis: str, segment: Optional[str]) -> None:
        """A region of interest."""
        self._prompt(lambda grid: [prompts.region(grid, corners, axis)], segment, "box")

    def box(
        self,
        corners: Any,
        axis: str,
        segment: Optional[str],
        top: Optional[int] = None,
        bottom: Optional[int] = None,
    ) -> None:
        """A box on a slice, or from a bottom slice to a top one."""
        self._prompt(
            lambda grid: [prompts.box_on_slice(grid, corners, axis, top, bottom)], segment, "box"
        )

    def lines(self, ends: Sequence[Any], axis: str, segment: Optional[str]) -> None:
        """Lines as for RECIST, on two slices or more."""
        self._prompt(lambda grid: prompts.lines(grid, ends, axis), segment, "box")

    def words(self, phrase: str, axis: str, index: Optional[int] = None) -> None:
        """Words, for a new segment under their name; a slice is answered first, if one is given."""

        def task(workspace: Workspace) -> Task:
            self._require(workspace, "text")
            if not phrase.strip():
                raise Problem("expected words, got none; write what to look for")
            yield from workspace.find(phrase.strip(), axis, index)

        self._on_open(task)

    # Steps.

    def undo(self) -> None:
        """One step back."""
        self._on_open(lambda w: w.undo())

    def redo(self) -> None:
        """One step forth."""
        self._on_open(lambda w: w.redo())

    def send_edits(self) -> None:
        """Tell the server what was done by hand."""
        self._on_open(lambda w: w.send_edits())

    def cancel(self) -> None:
        """Stop what follows through slices or time points."""
        if self.timeline is not None:
            self.timeline.stop()
        elif self.workspace is not None:
            self.workspace.stop_following()

    def go_to(self, index: int) -> None:
        """Another time point."""
        self._on_time(lambda line: line.go_to(index))

    def carry_on(self, last: Optional[int] = None) -> None:
        """The time points after this one."""
        self._on_time(lambda line: line.carry_on(last))

    # What is shown.

    @property
    def quality(self) -> List[str]:
        """A line for each object."""
        found = []
        for q in [] if self.workspace is None else self.workspace.quality:
            sure = "" if q.predicted_iou is None else f"predicted IoU {q.predicted_iou:.2f}"
            slices = ", ".join(map(str, q.doubtful[:20])) + (" ..." if len(q.doubtful) > 20 else "")
            look = f"look at {q.axis} = {slices}" if slices else ""
            found.append(
                "; ".join(text for text in (f"{q.name}: {sure or 'edited'}", look) if text)
            )
        return found

    # How it is done.

    def _do(self, task: Task) -> None:
        self._heard = time.monotonic()
        self.worker.add(task)
        self.worker.poll()

    def _prompt(self, bodies: Callable[[Any], Any], segment: Optional[str], kind: str) -> None:
        def task(workspace: Workspace) -> Task:
            self._require(workspace, kind)
            yield from workspace.prompt(bodies(workspace.volume.grid), segment)

        self._on_open(task)

    def _require(self, workspace: Workspace, kind: str) -> None:
        """Refuse a kind of prompt that the model of a volume does not take, and say which does."""
        model, connected = workspace.opening.model, workspace.connected
        if not connected.takes(model, kind):
            takes = ", ".join(m for m in connected.models if connected.takes(m, kind))
            raise Problem(
                f"expected a prompt that {model or connected.models[0]} takes, got a {kind}; "
                + (f"open the volume with {takes}" if takes else "serve another model")
            )

    def _on_open(self, do: Callable[[Workspace], Task]) -> None:
        def task() -> Task:
            if self.workspace is None:
                raise Problem("expected an open volume, got none; open one first")
            yield from do(self.workspace)
            self.changed()

        self._do(task())

    def _on_time(self, do: Callable[[TimeLine], Task]) -> None:
        def task() -> Task:
            if self.timeline is None:
                raise Problem("expected a volume of a sequence, got another; choose one")
            yield from do(self.timeline)
            self.changed()

        self._do(task())

    def _closed(self) -> Task:
        workspace, self.workspace, self.timeline = self.workspace, None, None
        if workspace is not None:
            try:
                yield from workspace.close()
            except Exception as error:  # a server that has gone has closed it, too
                self.say(str(told(error, self._address)))

    def _failed(self, error: Exception) -> None:
        problem = told(error, self._address)
        if isinstance(error, VersionProblem):
            self.connected = None
        self.say("")
        self.complain(str(problem))
        if isinstance(problem, GoneError):
            self.close()
        self.changed()
