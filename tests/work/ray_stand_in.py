"""In place of Ray: calls of actors are done in this process, when and as a test says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

Fate = str
"""`answer`, `wait` (not yet), `die` (without doing it), or `do and die`."""


class RayError(Exception):
    """As Ray's."""


class ActorDiedError(RayError):
    """A process is gone."""


class Ref:
    """What a call will give; kept after it was done."""

    def __init__(self, method: str, given: tuple[Any, ...], do: Callable[[], Any]) -> None:
        self.method, self.given, self._do = method, given, do
        self._came: list[Any] = []
        self.fate: Fate = "answer"

    def value(self) -> Any:
        if not self._came and self.fate != "die":
            self._came.append(self._do())
        if "die" in self.fate:
            raise ActorDiedError("the process was killed")
        return self._came[0]


class Ray:
    """One node, whose actors live in this process.

    Args:
        fate: says of a call, by its method, its task and its number among the calls of this method for
            this task (from 1), what becomes of it; asked again while it is `wait`.

    Attributes:
        dead: method and task of the calls that processes have died in, as far as that was told.
    """

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=type("RayTaskError", (RayError,), {}),
        RayActorError=ActorDiedError,
        OutOfMemoryError=type("OutOfMemoryError", (RayError,), {}),
    )

    def __init__(self, fate: Callable[[str, Any, int], Fate]) -> None:
        self._fate = fate
        self.dead: list[tuple[str, Any]] = []
        self._told: list[tuple[str, Any]] = []
        self._calls: dict[tuple[str, Any], int] = {}
        self._numbers: dict[Ref, int] = {}
        self._idle = 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "object_store_memory": 1e9}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "here", "Alive": True, "Resources": {"CPU": 2.0}}]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def kill(self, actor: Any) -> None:
        """Nothing is there to be killed."""

    def remote(self, kind: type[Any]) -> Any:
        def options(**_: Any) -> Any:
            return SimpleNamespace(remote=lambda *given: _Actor(self, kind(*given)))

        return SimpleNamespace(options=options)

    def called(self, method: str, given: tuple[Any, ...], do: Callable[[], Any]) -> Ref:
        ref, about = Ref(method, given, do), (method, given[0] if given else None)
        self._calls[about] = self._numbers[ref] = self._calls.get(about, 0) + 1
        return ref

    def wait(self, refs: list[Ref], num_returns: int, **_: Any) -> tuple[list[Ref], list[Ref]]:
        for ref in refs:
            task = ref.given[0] if ref.given else None
            ref.fate = (
                "answer" if task is None else self._fate(ref.method, task, self._numbers[ref])
            )
        ready = [ref for ref in refs if ref.fate != "wait"][:num_returns]
        self._idle = 0 if ready else self._idle + 1
        assert self._idle < 20, f"it waits for ever for {[ref.method for ref in refs]}"
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Ref) -> Any:
        if ref.given:
            told = self.dead if "die" in ref.fate else self._told
            told.append((ref.method, ref.given[0]))
        return ref.value()

    def count(self, method: str, task: Any) -> int:
        """How many calls of a method there were for a task."""
        return self._calls.get((method, task), 0)

    def answered(self, method: str, task: Any) -> bool:
        """Whether one of them has answered."""
        return (method, task) in self._told


class _Actor:
    def __init__(self, ray: Ray, own: Any) -> None:
        self._ray, self._own = ray, own

    def __getattr__(self, method: str) -> Any:
        def do(given: tuple[Any, ...]) -> Any:
            known = [one.value() if isinstance(one, Ref) else one for one in given]
            return getattr(self._own, method)(*known)

        def call(*given: Any) -> Ref:
            return self._ray.called(method, given, lambda: do(given))

        def two(*given: Any) -> tuple[Ref, Ref]:
            both = cache(lambda: do(given))
            return Ref(method, (), lambda: both()[0]), self._ray.called(
                method, given, lambda: both()[1]
            )

        return SimpleNamespace(remote=call, options=lambda num_returns: SimpleNamespace(remote=two))
