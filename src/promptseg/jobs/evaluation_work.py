"""The tasks of an evaluation as they are done: by one process, several, or machines of a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from promptseg.errors import PromptsegError
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.predictions import Predictions
from promptseg.evaluate.tasks import EvaluationTask, Evaluator
from promptseg.jobs.doers import all_weights_here, executor_of, is_elsewhere
from promptseg.jobs.elsewhere import from_folder, origin
from promptseg.jobs.evaluation_setup import Begun, models_of
from promptseg.jobs.live_record import About, LiveRecord, record_files
from promptseg.runtime import set_threads
from promptseg.work import Executor, Inline, Shard, Tally, Task, await_results, run
from promptseg.work.footprint import process_bytes

__all__ = ["EvaluationWork"]

log = logging.getLogger("promptseg")

_COLUMNS = ("dataset", "case", "model", "protocol", "rows")


class EvaluationWork:
    """The tasks of a job as they are done, and counted.

    A share of the cases, and a cluster, leave a results table and a live page beside the results.

    Args:
        job: what and how.
        begun: what it has opened.
        shard: which share is done.

    Attributes:
        tally: what became of the tasks.
    """

    def __init__(self, job: EvaluateJob, begun: Begun, shard: Shard) -> None:
        self.job, self._begun, self._shard = job, begun, shard
        self._apart = job.shard is not None or is_elsewhere(job)
        self.tally = Tally()
        self._record: LiveRecord | None = None
        self._rows: dict[int, int] = {}

    @contextmanager
    def told(self) -> Iterator[LiveRecord | None]:
        """Open the results table, where there is one."""
        if not self._apart:
            yield None
            return
        own = self._begun.results.own
        own.claim_ahead("run.json", *record_files(self._shard))
        self._record = LiveRecord(
            self.job.output,
            self._shard,
            _COLUMNS,
            title=self.job.output.name,
            total=0,
            tally=self.tally,
        )
        with self._record.writing():
            yield self._record

    def do(self, tasks: list[EvaluationTask]) -> list[dict[str, str]]:
        """Do what is not done yet of the share's part of some tasks; return what failed."""
        first = len(self._rows) + 1
        self._rows |= {id(task): row for row, task in enumerate(tasks, start=first)}
        tasks = self._own(tasks)
        if self._record is not None:
            self._record.page.total += len(tasks)
            own = self._begun.results.own
            own.claim_ahead(*(name for task in tasks for name in task.part.names(own.root)))
        outcome = run(
            tasks,
            self._executor,
            title="cases",
            quiet=self.job.quiet,
            keep_going=self.job.keep_going,
            tally=self.tally,
            on_end=self._ended,
        )
        failed = {id(failure.task) for failure in outcome.failures}
        if is_elsewhere(self.job):
            await_results(task for task in tasks if id(task) not in failed)
        return [
            {
                "dataset": failure.task.dataset.name,
                "case": failure.task.case.name,
                "model": failure.task.label,
                "error": str(failure.error),
            }
            for failure in outcome.failures
            if isinstance(failure.task, EvaluationTask)
        ]

    def _own(self, tasks: list[EvaluationTask]) -> list[EvaluationTask]:
        """Those of the share's cases: all models of a case belong to one share."""
        cases = dict.fromkeys((task.dataset.name, task.case.name) for task in tasks)
        own = set(self._shard.of(cases))
        return [task for task in tasks if (task.dataset.name, task.case.name) in own]

    def _ended(self, task: Task[Any, Any], result: Any, error: PromptsegError | None) -> None:
        assert isinstance(task, EvaluationTask)
        if error is not None and self.job.keep_going:
            log.warning("%s, %s: left out: %s", task.dataset.name, task.case.name, error)
        if self._record is not None:
            about = About(self._rows[id(task)], str(task.case.image), str(task.part.folder))
            facts = {
                "dataset": task.dataset.name,
                "case": task.case.name,
                "model": task.label,
                "protocol": task.protocol,
            }
            self._record.add(about, {**facts, **(result or {})}, error)

    def _executor(self, tasks: Sequence[Task[Any, Any]]) -> Executor:
        job, own = self.job, self._begun.evaluator
        models = models_of(job)
        folder = origin(job)
        make = partial(_evaluator, own.options, own.device, own.predictions, own.strict)
        return executor_of(
            job,
            partial(from_folder, folder, make),
            threads=job.threads,
            most=len(tasks),
            gpus=bool(models) and job.device in ("auto", "cuda"),
            look=partial(from_folder, folder, all_weights_here, models),
            context_bytes=process_bytes(models, job.engine),
            inline=lambda: Inline(lambda: own),
        )


def _evaluator(
    options: EvaluateOptions,
    device: str,
    predictions: dict[str, Predictions],
    strict: bool,
    threads: int | None = None,
) -> Evaluator:
    """The evaluator of a worker process."""
    set_threads(threads)
    return Evaluator(options, device, predictions=predictions, strict=strict)
