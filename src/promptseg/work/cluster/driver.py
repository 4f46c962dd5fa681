"""Tasks handed to the processes of a cluster: read ahead by bytes, done again where something dies."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from promptseg.errors import InputError, PromptsegError
from promptseg.work.cluster.actors import NO_NODE, Hand, Holder
from promptseg.work.cluster.cases import Call, Case, Stage, set_aside
from promptseg.work.cluster.nodes import connect, disconnect, looked_at, ray_module
from promptseg.work.cluster.room import NodesRoom
from promptseg.work.cluster.worker_pool import Member, WorkerPool
from promptseg.work.executors import Done
from promptseg.work.memory import TooLargeError, need_of
from promptseg.work.pace import Pace
from promptseg.work.task import Staged, Task

__all__ = ["OnCluster", "places"]

log = logging.getLogger("promptseg")

_SHARE = 0.4  # of the cluster's memory for objects that may be in use
_FIRST_GUESS = 64 << 20  # bytes of a task, as long as none was read
_AHEAD = 4  # tasks for each model, at most
_POLL = 1.0  # seconds
_GRACE = 10.0  # seconds in which a lost node is noticed
_PATIENCE = 900.0  # seconds without any process that could work
_MOST_ASIDE = 4  # tasks after each other that kill their processes, until they are not to blame


class OnCluster:
    """Does tasks on the machines of a Ray cluster; an `Executor`.

    Tasks with stages (`Staged`) are read and written by processes that hold no model, so that those
    that hold one always compute. What is read ahead is bounded by bytes. A process that dies is
    replaced and its task done again; a task that kills two is given back with an error, while those on
    a node that was lost are not blamed. Where nothing waits any more, what takes far longer than usual
    is begun once more elsewhere, and the first answer counts. A task is computed where the memory that
    it needs is free; one that no node has the memory for is given back with an error.

    Args:
        address: HOST:PORT of the cluster's head, or "auto".
        make_context: called in each process that computes; it and the tasks are pickled.
        make_hand: called in each process that reads and writes; there are none if None.
        workers: processes that compute; as many as there is room for if None.
        threads: CPUs that each takes; up to 4 if None.
        gpus: whether each takes a GPU, where the cluster has any.
        look: called on every node before any work; has to return the same text everywhere.
        grace: seconds until a death is blamed on a task, in which a lost node is noticed.
    """

    def __init__(
        self,
        address: str,
        make_context: Callable[[int], Any],
        make_hand: Callable[[], Any] | None = None,
        *,
        workers: int | None = None,
        threads: int | None = None,
        gpus: bool = True,
        look: Callable[[], str] | None = None,
        grace: float = _GRACE,
    ) -> None:
        self._address, self._look, self._grace = address, look, grace
        self._make_context, self._make_hand = make_context, make_hand
        self._workers, self._threads, self._gpus = workers, threads, gpus
        self._connected = False
        self.pace = Pace()

    def __enter__(self) -> OnCluster:
        self._ray = ray_module()
        self._connected = connect(self._address)
        try:
            self.nodes = looked_at(self._look)
            self._hire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (getattr(self, "models", None), getattr(self, "hands", None)):
            if pool is not None and self._ray.is_initialized():
                pool.end()
        if self._connected:
            disconnect()
            self._connected = False

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """See `Executor`.

        Raises:
            InputError: no process that could work for a long time, or all of them die.
        """
        work = _Work(self, iter(tasks), self._ray)
        while True:
            yield from work.settled()
            work.admit()
            work.dispatch()
            if work.is_over():
                return
            work.wait()

    def _hire(self) -> None:
        resources = self._ray.cluster_resources()
        cpus = [int(n["Resources"].get("CPU", 0)) for n in self._ray.nodes() if n["Alive"]]
        gpus = int(resources.get("GPU", 0)) if self._gpus else 0
        threads, room = places(cpus, gpus, self._threads)
        size = self._workers or room
        if size < 1:
            raise InputError(
                f"a node with {threads} CPUs",
                f"{max(cpus, default=0)} at most",
                "lower --threads, or say by --workers how many to wait for",
            )
        self.budget = int(_SHARE * resources.get("object_store_memory", 1 << 30))
        holder = {"num_cpus": 1 if gpus else threads, "num_gpus": 1 if gpus else 0}
        spread = {"scheduling_strategy": "SPREAD"}
        make = self._make_context
        self.models = WorkerPool(Holder, lambda: make(threads), size, {**holder, **spread})
        # beside GPUs the reading is the work of the CPUs; else it takes little of those at work
        hand = {"num_cpus": 1 if gpus else 0, **spread}
        make_hand = self._make_hand or _no_hand
        hands = 0 if self._make_hand is None else size if gpus else max(1, (size + 1) // 2)
        self.hands = WorkerPool(Hand, make_hand, hands, hand)


def places(cpus: Sequence[int], gpus: int, threads: int | None) -> tuple[int, int]:
    """Return the CPUs that each process takes, and for how many processes there is room.

    Args:
        cpus: of every node; a head that does no work has none.
        gpus: of the cluster, that may be used.
        threads: asked for; up to 4, as far as every node has them, if None.

    Examples:
        >>> places([0, 8, 8], 0, None)
        (4, 4)
    """
    each = threads or min([4, *(count for count in cpus if count)])
    return each, gpus or sum(count // each for count in cpus)


def _no_hand() -> None:
    """What nobody needs."""


class _Work:
    """The tasks of one `each`: those on their way, and what is known of others already."""

    def __init__(self, own: OnCluster, tasks: Iterator[Task[Any, Any]], ray: Any) -> None:
        self.own, self.ray = own, ray
        self._tasks = tasks
        self._more = True
        self._waiting: dict[Stage, deque[Case]] = {
            stage: deque() for stage in ("read", "compute", "write", "do")
        }
        self._calls: dict[Any, Call] = {}
        self._suspects: list[tuple[float, Case, str]] = []
        self._done: list[Done] = []
        self._open = self._bytes = 0
        self._read_bytes = self._read = 0
        self._aside = 0
        self._room = NodesRoom()
        self._look()
        self._worked = self._moved = time.monotonic()

    def settled(self) -> Iterator[Done]:
        """Tasks whose outcome is known, each once."""
        done, self._done = self._done, []
        yield from done

    def admit(self) -> None:
        """Take tasks as long as what they need in memory has room."""
        most = self.own.models.size * _AHEAD
        while self._more and self._open < most:
            guess = self._read_bytes // self._read if self._read else _FIRST_GUESS
            if self._open and self._bytes + guess > self.own.budget:
                return
            task = next(self._tasks, None)
            if task is None:
                self._more = False
                return
            case = Case(task, guess)
            self._open += 1
            self._bytes += guess
            if not isinstance(task, Staged):  # of others, who reads it looks
                case.need = need_of(task)
            self._queue(case)

    def dispatch(self) -> None:
        """Give idle processes something to do; what is nearest to its end comes first."""
        self._give("write", self.own.hands)
        self._give("read", self.own.hands)
        self._give("compute", self.own.models)
        self._give("do", self.own.models)
        self._help_stragglers()

    def is_over(self) -> bool:
        """Whether every task's outcome is known and was given back."""
        return not self._more and not self._open and not self._done

    def wait(self) -> None:
        """Until something has happened, or a second has passed."""
        pools = (self.own.models, self.own.hands)
        starting = {ref: pool for pool in pools for ref in pool.starting}
        refs = [*self._calls, *starting]
        if self._done:
            return
        ready: list[Any] = []
        if refs:
            ready, _ = self.ray.wait(refs, num_returns=1, timeout=_POLL, fetch_local=False)
        else:
            time.sleep(_POLL)
        if ready:  # and whatever else is there by now
            ready, _ = self.ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in ready:
            if ref in starting:
                starting[ref].greeted(ref)
            else:
                call = self._calls.pop(ref)
                self._room.give_back(call.member, call.need)
                self._answered(ref, call)
        if any(ref in starting for ref in ready):
            self._look()
        self._judge()
        if all(pool.ready for pool in pools if pool.size):
            self._worked = time.monotonic()
        elif time.monotonic() - self._worked > _PATIENCE:
            raise InputError(
                "a cluster with room for a worker",
                f"none for {_PATIENCE / 60:.0f} minutes",
                "add nodes, or lower --threads; the same command goes on",
            )

    def _queue(self, case: Case) -> None:
        case.given = case.computed = None
        self._waiting["read" if isinstance(case.task, Staged) else "do"].append(case)

    def _look(self) -> None:
        self._room.look(self.ray.nodes(), [*self.own.models.members, *self.own.hands.members])

    def _most(self) -> float:
        """Bytes that a task may take: on nodes where models are, or may yet come to be."""
        models = self.own.models
        coming = models.starting and time.monotonic() - self._moved < _PATIENCE
        return self._room.most(() if coming else {one.node for one in models.members})

    def _give(self, stage: Stage, pool: WorkerPool) -> None:
        """Give waiting cases to idle processes, in turn; those without room are passed over."""
        waiting = self._waiting[stage]
        for case in list(waiting) if pool.idle else ():
            need = _needs(case, stage)
            member = pool.take(partial(self._room.has, need=need) if need else None)
            if member is not None:
                waiting.remove(case)
                self._call(case, stage, member)
            elif need > (most := self._most()):
                waiting.remove(case)
                self._close(case, None, TooLargeError.of(need, most, NO_NODE))
            elif not pool.idle:
                return

    def _call(self, case: Case, stage: Stage, member: Member) -> None:
        actor, result = member.actor, None
        if stage == "read":
            result, ref = actor.read.options(num_returns=2).remote(
                case.task, case.again, self._most()
            )
        elif stage == "compute":
            result, ref = actor.compute.options(num_returns=2).remote(case.task, case.given)
        elif stage == "write":
            ref = actor.write.remote(case.task, case.given, case.computed, case.again)
        else:
            ref = actor.do.remote(case.task)
        case.running += 1
        need = _needs(case, stage)
        self._room.take(member, need)
        self._moved = time.monotonic()
        self._calls[ref] = Call(case, stage, member, result, need)

    def _answered(self, ref: Any, call: Call) -> None:
        case, errors = call.case, self.ray.exceptions
        case.running -= 1
        pool = self.own.hands if call.stage in ("read", "write") else self.own.models
        try:
            value, error, seconds = self.ray.get(ref)
        except errors.RayTaskError as failed:
            pool.give_back(call.member)
            if isinstance(failed.cause, errors.RayError):  # an input was on a node that is lost
                self._lost(call)
                return
            raise failed.cause from failed
        except (errors.RayActorError, errors.OutOfMemoryError) as died:
            pool.replace(call.member)
            self._died(call, " ".join(str(died).split())[:200])
            return
        except errors.RayError:
            pool.give_back(call.member)
            self._lost(call)
            return
        pool.give_back(call.member)
        if case.closed:  # by its twin
            return
        if error is not None:
            self._close(case, None, error)
        elif call.stage == "read":
            size, case.need, cached = value
            if cached is not None:
                self._close(case, cached, None)
                return
            self._read, self._read_bytes = self._read + 1, self._read_bytes + size
            self._bytes += size - case.bytes
            case.bytes, case.given = size, call.result
            self._waiting["compute"].append(case)
        elif call.stage == "compute":
            self.own.pace.ended(seconds)
            if case.computed is None:
                case.computed = call.result
                self._waiting["write"].append(case)
        else:
            self._close(case, value, None)

    def _close(self, case: Case, result: Any, error: PromptsegError | None) -> None:
        if case.closed:
            return
        case.closed = True
        case.given = case.computed = None  # the cluster may forget them
        self._open -= 1
        self._bytes -= case.bytes
        self._aside = 0
        self._done.append((case.task, result, error))

    def _lost(self, call: Call) -> None:
        """What was read or computed for a task is gone, with the node that had it."""
        call.case.lost += 1
        self._again(call, "its node was lost again and again")

    def _died(self, call: Call, reason: str) -> None:
        call.case.deaths.append(call.member.node)
        self._again(call, reason)

    def _again(self, call: Call, reason: str) -> None:
        """Do a task anew whose call has failed, unless its twin is on its way to the same end."""
        case = call.case
        if call.stage == "write":
            case.computed = None  # so that the answer of a twin that still computes counts
        if case.closed or case.running or case.computed is not None:
            return
        if case.suspect:
            self._suspects.append((time.monotonic() + self.own._grace, case, reason))
        else:
            self._queue(case)

    def _judge(self) -> None:
        """Set tasks aside that have killed two processes on nodes that are still there.

        Raises:
            PromptsegError: so many after each other that they cannot be to blame.
        """
        if not self._suspects:
            return
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        now, left = time.monotonic(), []
        for until, case, reason in self._suspects:
            if any(node not in alive for node in case.deaths) and not case.to_blame(alive):
                self._queue(case)
            elif now < until:
                left.append((until, case, reason))
            else:
                aside = self._aside + 1
                if aside == _MOST_ASIDE:
                    raise set_aside(reason)
                self._close(case, None, set_aside(reason))
                self._aside = aside
        self._suspects = left

    def _help_stragglers(self) -> None:
        """Where nothing waits, begin what takes far too long once more."""
        models = self.own.models
        if self._more or not models.idle or any(self._waiting.values()):
            return
        now = time.monotonic()
        slow = [
            call
            for call in self._calls.values()
            if call.stage == "compute"
            and call.case.running == 1
            and self.own.pace.is_slow(now - call.begun)
        ]
        for call in sorted(slow, key=lambda one: one.begun):
            member = models.take(partial(self._room.has, need=call.need))
            if member is None:
                return
            log.warning(
                "%s takes far longer than usual (%.0f s): begun once more elsewhere",
                call.case.task.title,
                now - call.begun,
            )
            self._call(call.case, "compute", member)


def _needs(case: Case, stage: Stage) -> int:
    """Bytes that a stage takes on its node: those of computing; what is read is counted apart."""
    return case.need if stage in ("compute", "do") else 0
