"""Executors for the many inputs of a verb: this process, several, or the machines of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from promptseg.assets import fetch, sha256_of
from promptseg.errors import InputError, ModelError
from promptseg.models.cards import find_card, model_file
from promptseg.segment.options import ManyOptions
from promptseg.work import Executor, Inline, Processes

__all__ = [
    "all_weights_here",
    "engine_there",
    "executor_of",
    "is_elsewhere",
    "require_many",
    "weights_here",
]


class Make(Protocol):
    """Maker of what a process needs for every task; it is pickled.

    `threads` is the process's share of them: all that the job allows if None.
    """

    def __call__(self, threads: int | None = None) -> Any: ...


def executor_of(
    job: ManyOptions,
    make: Make,
    *,
    threads: int | None = None,
    divided: bool = True,
    most: int | None = None,
    make_hand: Callable[[], Any] | None = None,
    gpus: bool = False,
    look: Callable[[], str] | None = None,
    context_bytes: int = 0,
    inline: Callable[[], Executor] | None = None,
) -> Executor:
    """Build the executor that a job's options ask for.

    Args:
        job: with workers and cluster.
        make: of what tasks need.
        threads: CPU threads that the job may use.
        divided: whether several processes share them; else each takes one, and none is set.
        most: how many tasks there are, if that is known.
        make_hand: of what reading and writing need, where the tasks have stages.
        gpus: whether a process of a cluster takes a GPU, where there is any.
        look: called on every node of a cluster before any work; the same everywhere.
        context_bytes: about what a process holds with what `make` gives.
        inline: makes who does them in this process alone; one after the other if not given.
    """
    if is_elsewhere(job):
        from promptseg.work.cluster import OnCluster

        return OnCluster(
            str(job.cluster),
            make,
            make_hand,
            workers=job.workers,
            threads=threads,
            gpus=gpus,
            look=look,
        )
    workers = job.workers or 1
    workers = workers if most is None else max(1, min(workers, most))
    if workers == 1:
        return inline() if inline else Inline(make)
    return Processes(
        workers, partial(make, _share(threads, workers) if divided else 1), context_bytes
    )


def _share(threads: int | None, workers: int) -> int:
    from promptseg.runtime import set_threads  # brings torch, which not every verb needs

    return max(1, set_threads(threads) // workers)


def is_elsewhere(job: ManyOptions) -> bool:
    """Tell whether a job is done by the machines of a cluster."""
    return job.cluster is not None


def require_many(job: Any, what: str) -> None:
    """Refuse a cluster for one input.

    Raises:
        InputError: one was asked for.
    """
    if is_elsewhere(job):
        raise InputError(f"{what} for --cluster", str(job.input), "leave it out")


def engine_there(engine: str | None) -> str | None:
    """Return the name of the engine asked for here: nodes have an environment of their own."""
    return engine or os.environ.get("PROMPTSEG_ENGINE")


def weights_here(model: str) -> str:
    """Return the SHA-256 of a model's weights on this machine, so that machines can be compared.

    Raises:
        PromptsegError: they are not here and cannot be had.
    """
    name, file = model_file(model)
    if file is None and name is not None:
        file = fetch(find_card(name).weights, quiet=True)
    if file is None or not file.is_file():
        raise ModelError("the weights on every machine", f"no {model}", "copy the file there")
    return sha256_of(file)


def all_weights_here(models: Sequence[str]) -> str:
    """Return the SHA-256 of the weights of several models on this machine.

    Raises:
        PromptsegError: as `weights_here`.
    """
    return " ".join(map(weights_here, models))
