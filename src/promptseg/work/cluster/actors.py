"""Actors on the nodes: processes that hold a model, and processes that read and write."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from promptseg._version import __version__
from promptseg.errors import InputError, PromptsegError
from promptseg.work.executors import attempt
from promptseg.work.memory import TooLargeError, need_of
from promptseg.work.task import Staged, Task

__all__ = ["NO_NODE", "Hand", "Holder", "bytes_of", "enter", "resident_bytes"]

NO_NODE = "on the node that has most"
"""Where there is no room for a task, in words."""

Answer = tuple[Any, PromptsegError | None, float]
"""What a stage gave, or what is wrong with the task (the former is None then), and seconds."""


def enter(folder: str) -> None:
    """Work where the driving process does, so that relative paths mean the same."""
    if os.path.isdir(folder):
        os.chdir(folder)


class _Place:
    """Makes what its process needs once, before the first task, and says what it could not make."""

    def __init__(self, make: Callable[[], Any], folder: str, version: str) -> None:
        enter(folder)
        self._made: Any = None
        self._error: PromptsegError | None = None
        try:
            if version != __version__:  # of a node that has joined since all were looked at
                raise InputError(
                    f"promptseg {version} on every node", __version__, "install the same version"
                )
            self._made = make()
        except PromptsegError as error:  # raised here, Ray would only say that an actor died
            self._error = error

    def hello(self) -> tuple[str, int, PromptsegError | None]:
        """The node, bytes that this process holds, and why nothing can be done here, if so."""
        import ray

        return ray.get_runtime_context().get_node_id(), resident_bytes(), self._error

    def _attempt(self, work: Callable[[], Any]) -> Answer:
        begun = time.monotonic()
        return *attempt(work), time.monotonic() - begun


class Holder(_Place):
    """A process that holds the context of tasks, a loaded model as a rule."""

    def compute(self, task: Staged[Any, Any, Any, Any], given: Any) -> tuple[Any, Answer]:
        """Do the middle stage; the result comes apart from what is said of it, and stays here."""
        made, error, seconds = self._attempt(lambda: task.compute(self._made, given))
        return made, (None, error, seconds)

    def do(self, task: Task[Any, Any]) -> Answer:
        """Do a task that has no stages."""
        return self._attempt(lambda: task.do(self._made))


class Hand(_Place):
    """Reads what models need, and writes what they found."""

    def read(
        self, task: Staged[Any, Any, Any, Any], again: bool, most: float
    ) -> tuple[Any, Answer]:
        """Do the first stage; return the bytes of what was read, its need, and a result of before.

        Args:
            task: what is to be read.
            again: whether somebody has died doing it, who may have written its result before.
            most: bytes that a node has for a task.
        """
        cached = task.cached_result() if again else None
        if cached is not None:
            return None, ((0, 0, cached), None, 0.0)
        need = need_of(task)
        if need > most:
            return None, (None, TooLargeError.of(need, most, NO_NODE), 0.0)
        given, error, seconds = self._attempt(lambda: task.read(self._made))
        return given, ((bytes_of(given), need, None), error, seconds)

    def write(
        self, task: Staged[Any, Any, Any, Any], given: Any, computed: Any, again: bool = False
    ) -> Answer:
        """Do the last stage; as `read`, where somebody may have written the result before dying."""

        def written() -> Any:
            cached = task.cached_result() if again else None
            return task.write(self._made, given, computed) if cached is None else cached

        return self._attempt(written)


def resident_bytes() -> int:
    """Return the bytes of memory of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def bytes_of(value: Any, depth: int = 4) -> int:
    """Estimate how much memory the arrays in a value take."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes | bytearray):
        return len(value)
    if depth == 0:
        return 0
    if isinstance(value, dict):
        return sum(bytes_of(one, depth - 1) for one in value.values())
    if isinstance(value, list | tuple):
        return sum(bytes_of(one, depth - 1) for one in value)
    return sum(bytes_of(one, depth - 1) for one in getattr(value, "__dict__", {}).values())
