"""Who does the units of an evaluation: this process, or several."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from promptseg.errors import PromptsegError
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.predictions import Predictions
from promptseg.evaluate.units import Bench, Part, Unit
from promptseg.progress import step_progress
from promptseg.runtime import set_threads

__all__ = ["Crew"]

log = logging.getLogger("promptseg")


class Crew:
    """Does units in this process, or in several."""

    def __init__(self, job: EvaluateJob, bench: Bench, threads: int) -> None:
        self.job, self.bench = job, bench
        self.pool: ProcessPoolExecutor | None = None
        if job.workers > 1:
            share = max(1, threads // job.workers)
            self.pool = ProcessPoolExecutor(
                job.workers,
                get_context("spawn"),
                _begin,
                (bench.options, bench.parts, bench.device, bench.predictions, share),
            )

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def do(self, units: list[Unit]) -> list[dict[str, str]]:
        """Do what is not done yet.

        Returns:
            What failed, if the job keeps going: dataset, case, model and error.

        Raises:
            PromptsegError: what failed first, if it does not.
        """
        failed = []
        waiting = [u for u in units if not self._is_done(u)]
        if len(waiting) < len(units) and not self.job.quiet:
            print(f"{len(units) - len(waiting)} of {len(units)} done already", file=sys.stderr)
        done = len(units) - len(waiting)
        with step_progress("cases", len(units), self.job.quiet) as update:
            update(done, "")
            for unit, error in self._each(waiting):
                done += 1
                update(done, f"{unit.label} {unit.dataset.name} {unit.case.name}")
                if error is not None:
                    if not self.job.keep_going:
                        raise error
                    place = {"dataset": unit.dataset.name, "case": unit.case.name}
                    failed.append({**place, "model": unit.label, "error": str(error)})
                    log.warning("%s, %s: left out: %s", *place.values(), error)
        return failed

    def _is_done(self, unit: Unit) -> bool:
        try:
            request = unit.request(self.bench.options)
        except OSError:
            return False
        return Part(self.bench.parts / unit.folder).is_done(request)

    def _each(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, PromptsegError | None]]:
        if self.pool is None:
            for unit in units:
                yield unit, _attempt(self.bench, unit)
            return
        futures: dict[Future[PromptsegError | None], Unit] = {
            self.pool.submit(_do, unit): unit for unit in units
        }
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()


_bench: Bench | None = None  # of a worker process


def _begin(
    options: EvaluateOptions,
    parts: Path,
    device: str,
    predictions: dict[str, Predictions],
    threads: int,
) -> None:
    global _bench
    set_threads(threads)
    _bench = Bench(options, parts, device, predictions=predictions)


def _do(unit: Unit) -> PromptsegError | None:
    assert _bench is not None, "a worker begins with _begin"
    return _attempt(_bench, unit)


def _attempt(bench: Bench, unit: Unit) -> PromptsegError | None:
    """Do a unit; what is wrong with the case comes back."""
    try:
        bench.do(unit)
    except PromptsegError as error:
        return error
    return None
