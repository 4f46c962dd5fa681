"""The same job once for each of several seeds, side by side in one folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from promptseg.errors import OutputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.formats.folder_verbs import Verb
from promptseg.formats.own_folder import OwnFolder
from promptseg.train.options import TrainOptions

__all__ = ["begin_seeds", "of_each_seed"]

_Job = TypeVar("_Job", EvaluateJob, TrainOptions)


def of_each_seed(job: _Job) -> dict[int, _Job]:
    """Return the jobs that a job of several seeds stands for, by seed; their folders are `seed-N`.

    Args:
        job: with `seed`, the first one, and `seeds`, their number.
    """
    return {
        seed: replace(job, seed=seed, seeds=1, output=Path(job.output) / f"seed-{seed}")
        for seed in range(job.seed, job.seed + job.seeds)
    }


def begin_seeds(folder: Path, verb: Verb, files: tuple[str, ...], beside: str) -> OwnFolder:
    """Begin the folder of a job of several seeds, with the files about all of them.

    Args:
        folder: for the results.
        verb: that does the job.
        files: that will be written into it.
        beside: a file that a job of one seed leaves in its folder.

    Returns:
        The folder, whose files may be claimed.

    Raises:
        OutputError: the results of one seed in it, or of another verb, files of others in the place of
            ours, or a file.
    """
    own = OwnFolder(Path(folder))
    if (own.root / beside).exists():
        raise OutputError(
            "a new folder, or one of several seeds", f"{folder} with one", "choose another"
        )
    own.take(verb, *files)
    own.check(*files)
    return own
