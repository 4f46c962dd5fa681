"""Open sessions of one kind on a server, each for the user who opened it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from promptseg.runtime.allocator import give_back_freed_memory
from promptseg.serve.lease import Lease
from promptseg.serve.refusals import AbsentError, EndedError, TakenError
from promptseg.serve.users import caller

__all__ = ["Coloured", "Held", "OpenSessions"]

_REMEMBERED_ENDS = 1000


class Held(Protocol):
    """A session of any kind."""

    @property
    def id(self) -> str:
        """Return the name by which its client asks for it."""

    @property
    def owner(self) -> str:
        """Return the name of the user who opened it; empty where users have no names."""

    @property
    def lease(self) -> Lease:
        """Return its lease, which says how long it lasts."""

    @property
    def path(self) -> str | None:
        """Return the path below the root of what was opened."""

    @property
    def file(self) -> Path | None:
        """Return the file that keeps it; None if it is in memory alone."""

    @property
    def nbytes(self) -> int:
        """Return the number of bytes that it holds."""

    def close(self, why: str, *, abandoned: bool = False) -> None:
        """End it; `abandoned`: nobody was heard of any more."""


class Coloured(Held, Protocol):
    """A session whose objects have colours."""

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """Return the colours that the user chose, (red, green, blue) by the names of objects."""

    @property
    def read_only(self) -> bool:
        """Tell whether it is the work of somebody else, which is looked at."""


W = TypeVar("W", bound=Held)


class OpenSessions(Generic[W]):
    """Sessions by name, and why those that are over have ended; for any threads."""

    KIND: ClassVar[str]
    """What a session is on, with its article: an image."""

    def __init__(self) -> None:
        self._works: dict[str, W] = {}
        self._opening = 0  # places that are kept while sessions begin
        self._ends: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def works(self) -> list[W]:
        """Return the open sessions."""
        return list(self._works.values())

    @property
    def places(self) -> int:
        """Return the number of sessions that are open or being opened."""
        return len(self._works) + self._opening

    @property
    def mine(self) -> list[W]:
        """Return the open sessions of the user who asks."""
        return [work for work in self.works if work.owner == caller().name]

    def get(self, token: str, act: bool = True) -> W:
        """Return a session by its name; `act` says whether this is a real action.

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
            raise AbsentError("a session", "none of that name", f"open {self.KIND} first")
        caller().image = work.path
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
        del work
        give_back_freed_memory()

    def sweep(self) -> None:
        """End what nobody has been heard of for too long."""
        for work in self.works:
            if work.lease.ended:
                self.close(work.id, "nothing was heard of it for too long", abandoned=True)

    def stop(self) -> None:
        """End everything."""
        for work in self.works:
            self.close(work.id, "the server was stopped")

    def _free(self, name: str, take_over: bool) -> None:
        """Let nobody have a path open: refuse who asks, or end the session that has it."""
        self.sweep()
        for work in self.mine:
            if work.path == name:
                if not take_over:
                    raise TakenError(
                        f"{self.KIND} that nobody has open",
                        "one that is open in another window",
                        "close it there, or take it over",
                    )
                self.close(work.id, "it was taken over by another window")
