"""Paths of a job, which have to mean on the machines of a cluster what they mean here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from promptseg.errors import InputError
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.location import address_in, storage_in
from promptseg.jobs.doers import executor_of, is_elsewhere
from promptseg.models.cards import model_file
from promptseg.work import Executor, Watched

__all__ = ["MODELS", "executor_of_files", "from_folder", "is_written", "origin", "watched"]

T = TypeVar("T")

_READ_HERE = {"config", "replay", "splits", "held_out", "leaks"}
MODELS = ("model", "start_model", "refine")
"""Options that name weights."""


def origin(job: Any) -> str:
    """Return the folder that relative paths of a job for a cluster begin in; empty without any.

    Args:
        job: the options of a verb for many inputs.
    """
    if not is_elsewhere(job):
        return ""
    names = [field.name for field in dataclasses.fields(job) if field.name not in _READ_HERE]
    values = [one for name in names for one in _each(getattr(job, name))]
    models = [model for name in MODELS for model in _each(getattr(job, name, None))]
    paths = [one for one in values if isinstance(one, Path)]
    paths += [file for model in models if (file := model_file(model)[1]) is not None]
    return os.getcwd() if any(map(_is_relative, paths)) else ""


def from_folder(folder: str, make: Callable[..., T], *given: Any) -> T:
    """Return what a function makes on a machine of a cluster, which works in the job's folder.

    Args:
        folder: as `origin` gives it.
        make: the function.
        given: to the function.

    Raises:
        InputError: the machine has no such folder, so that relative paths mean something else there.
    """
    if folder and not os.path.isdir(folder):
        raise InputError(
            f"the folder {folder} on every machine, as relative paths begin there",
            "none",
            "share it, or name inputs, outputs and weights by absolute paths",
        )
    return make(*given)


def executor_of_files(job: Any, most: int | None = None) -> Executor:
    """Return who does tasks of a job that need no model, a process with one thread each.

    Args:
        job: the options of a verb for many inputs.
        most: how many tasks there are, if that is known.
    """
    folder = origin(job)
    return executor_of(
        job,
        partial(from_folder, folder, _nothing),
        threads=1,
        divided=False,
        most=most,
        look=partial(from_folder, folder, str),  # nothing that has to be alike
    )


def watched(
    executor: Executor, job: Any, is_seen: Callable[[Any, Any], bool] | None = None
) -> Executor:
    """Return the executor of a job; that of a cluster misses results that are not seen here.

    Args:
        executor: of the job.
        job: its options.
        is_seen: see `Watched`; `is_written` if not given.
    """
    return Watched(executor, is_seen or is_written) if is_elsewhere(job) else executor


def is_written(task: Any, result: Any) -> bool:
    """Tell whether the output of a task's job is seen here, from the request that was done elsewhere.

    Args:
        task: has a job with an output.
        result: what it gave: a mapping with the `request`.
    """
    output: Path = task.job.output
    return output.exists() and bool(
        read_provenance_beside(output).get("request") == result["request"]
    )


def _nothing(threads: int | None = None) -> None:
    """What a process needs for every task: nothing."""


def _each(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple | list):
        return tuple(value)
    return () if value is None else (value,)


def _is_relative(path: Path) -> bool:
    return not path.is_absolute() and storage_in(path) is None and address_in(path) is None
