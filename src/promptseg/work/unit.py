"""One unit of work: what is asked for, whether it is done, and how it is done."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

__all__ = ["Unit", "as_json", "request_hash"]

Context = TypeVar("Context")
Result = TypeVar("Result")


class Unit(ABC, Generic[Context, Result]):
    """A piece of a job that is done whole or not at all.

    Units travel to other processes: they hold plain values, paths and options. What is expensive to
    make and shared by many of them (a loaded model) is the context, made once in every process.

    The result of a unit lies on the disk with the request it was made for, written last, so that
    a unit which was cut off is never taken for a finished one.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """What a person calls it, for progress and messages."""

    @property
    def weight(self) -> int:
        """How many steps of the job's progress it counts for."""
        return 1

    @abstractmethod
    def request(self) -> dict[str, Any]:
        """All that the result depends on, as plain values: equal requests give equal results.

        Raises:
            OSError: an input cannot be looked at.
        """

    @abstractmethod
    def is_done(self) -> bool:
        """Whether the result is there, whole, from the very same request."""

    @abstractmethod
    def do(self, context: Context) -> Result:
        """Do it, replacing what an interrupted run left of it.

        Raises:
            PromptsegError: what is wrong with this unit; others are not concerned.
        """


def as_json(values: Any) -> Any:
    """Values as they are after a way through JSON: tuples are lists, paths and others strings.

    Example:
        >>> as_json({"box": (1, 2)})
        {'box': [1, 2]}
    """
    return json.loads(json.dumps(values, default=str))


def request_hash(request: dict[str, Any]) -> str:
    """SHA-256 of a request, the same whatever the order of its entries.

    Example:
        >>> request_hash({"a": 1, "b": (2,)}) == request_hash({"b": [2], "a": 1})
        True
    """
    text = json.dumps(request, default=str, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
