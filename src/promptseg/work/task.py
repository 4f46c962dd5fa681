"""One task of a job: what is asked for, whether it is done, and how it is done."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

__all__ = ["Staged", "Task", "as_json", "request_hash"]

Context = TypeVar("Context")
Result = TypeVar("Result")
Given = TypeVar("Given")
Computed = TypeVar("Computed")


class Task(ABC, Generic[Context, Result]):
    """A piece of a job that is done whole or not at all.

    Tasks travel to other processes: they hold plain values, paths and options. What is expensive to
    make and shared by many of them (a loaded model) is the context, made once in every process.

    The result of a task lies on the disk with the request it was made for, written last, so that
    a task which was cut off is never taken for a finished one.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """Return the name for people, in progress and messages."""

    @property
    def weight(self) -> int:
        """Tell how many steps of the job's progress it counts for."""
        return 1

    def memory(self) -> int:
        """Estimate the bytes that doing it takes beside the context at most; 0 if not known.

        What can be told without reading its inputs as a whole: from the head of a file.
        """
        return 0

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """Return all that the result depends on, as plain values: equal requests give equal results.

        Raises:
            OSError: an input cannot be looked at.
        """

    @abstractmethod
    def is_done(self) -> bool:
        """Tell whether the result is there, whole, from the very same request."""

    @abstractmethod
    def do(self, context: Context) -> Result:
        """Do it, replacing what an interrupted run left of it.

        Raises:
            PromptsegError: what is wrong with this task; others are not concerned.
        """


class Staged(Task[Context, Result], Generic[Context, Result, Given, Computed]):
    """A task whose reading and writing need no model: on a cluster, other processes do them.

    What `read` and `compute` return travels between machines. `hand` is what reading and writing need
    and many tasks share, made once in every process that reads and writes.
    """

    @abstractmethod
    def hand_of(self, context: Context) -> Any:
        """Return the part of the context that reading and writing need."""

    @abstractmethod
    def read(self, hand: Any) -> Given:
        """Read from files what the task needs.

        Raises:
            PromptsegError: what is wrong with this task.
        """

    @abstractmethod
    def compute(self, context: Context, given: Given) -> Computed:
        """Do the work itself, which writes no file.

        Raises:
            PromptsegError: what is wrong with this task.
        """

    @abstractmethod
    def write(self, hand: Any, given: Given, computed: Computed) -> Result:
        """Write the result, replacing what an interrupted run left of it.

        Raises:
            PromptsegError: it cannot be written.
        """

    def cached_result(self) -> Result | None:
        """Return the result that somebody has written whole before dying; None if nobody has."""
        return None

    def do(self, context: Context) -> Result:
        """Do all three stages, one after the other; see `Task`."""
        hand = self.hand_of(context)
        given = self.read(hand)
        return self.write(hand, given, self.compute(context, given))


def as_json(values: Any) -> Any:
    """Return values as they are after a way through JSON: tuples are lists, paths and others strings.

    Examples:
        >>> as_json({"box": (1, 2)})
        {'box': [1, 2]}
    """
    return json.loads(json.dumps(values, default=str))


def request_hash(request: dict[str, Any]) -> str:
    """Return the SHA-256 of a request, the same whatever the order of its entries.

    Examples:
        >>> request_hash({"a": 1, "b": (2,)}) == request_hash({"b": [2], "a": 1})
        True
    """
    text = json.dumps(request, default=str, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
