"""An evaluation from beginning to end: datasets, models, units, tables, report."""

from __future__ import annotations

import logging
import platform
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

from promptseg._version import __version__
from promptseg.errors import InputError, PromptsegError
from promptseg.evaluate.datasets import Dataset, DatasetOptions, limit_cases, open_datasets
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.predictions import Predictions, open_predictions
from promptseg.evaluate.protocols import prompts_for
from promptseg.evaluate.results import Results
from promptseg.evaluate.rows import Row
from promptseg.evaluate.settings import Setting, default_settings, setting_of
from promptseg.evaluate.units import Bench, Part, Unit, model_label
from promptseg.progress import step_progress
from promptseg.runtime import set_threads
from promptseg.segment.predictor import Predictor

__all__ = ["evaluate"]

log = logging.getLogger("promptseg")

_NOT_SHARED = {"dataset", "max_cases"}  # what results in one folder may differ by


@dataclass
class _Run:
    """What is known while it goes on."""

    job: EvaluateJob
    results: Results
    datasets: list[Dataset]
    models: dict[str, Predictor]
    predictions: dict[str, Predictions]
    labels: dict[str, str]
    warnings: list[str]
    failed: list[dict[str, str]] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def evaluate(job: EvaluateJob, models: dict[str, Predictor] | None = None) -> int:
    """Evaluate models on datasets and write rows, tables and a report.

    Cases that are done already, by the same options and from the same files, are left alone.

    Args:
        job: what and how.
        models: loaded models by the names the job gives them, for one process alone.

    Returns:
        0 if every case is done, 2 if some failed and the job keeps going.

    Raises:
        PromptsegError: bad options or data; what was done until then is kept.
    """
    datasets = _datasets(job)
    threads = set_threads(job.threads)
    predictions: dict[str, Predictions] = {}
    loaded: dict[str, Predictor] = {}
    if job.predictions is not None:
        predictions = open_predictions(job.predictions, datasets, job.missing)
        labels = {"": job.predictions_name or job.predictions.resolve().name}
    else:
        loaded = _models(job, models or {})
        labels = _labels({name: loaded[name] for name in job.model})
    shared = {k: v for k, v in job.to_json().items() if k not in _NOT_SHARED}
    results = Results(job.output, shared, job.overwrite)
    failed = [
        {"dataset": d.name, "case": case, "model": "", "error": what}
        for d in datasets
        for case, what in d.missing
    ]
    run = _Run(job, results, datasets, loaded, predictions, labels, _leaks(job, datasets), failed)
    results.write_run({"created": run.started, "finished": None})  # what a killed run goes on from
    try:
        with _Crew(
            job, Bench(_options(job), results.parts, job.device, loaded, predictions), threads
        ) as crew:
            crew.do(run, [u for u in _units(run) if u.applies])
            if "interactive-3d" in job.protocol and not predictions:
                crew.do(run, [u for u in _searched(run) if u.applies])
    finally:
        publishable = {d.name for d in datasets if d.may_publish_images}
        rows = results.gather(publishable, job.parquet)
        results.write_run(_facts(run, rows))
    _report(run)
    return 2 if run.failed else 0


def _datasets(job: EvaluateJob) -> list[Dataset]:
    options = DatasetOptions(**{f.name: getattr(job, f.name) for f in fields(DatasetOptions)})
    datasets = open_datasets(job.input, options)
    names = [d.name for d in datasets]
    if unknown := [name for name in job.dataset if name not in names]:
        raise InputError(f"datasets out of {', '.join(names)}", ", ".join(unknown), "correct them")
    chosen = [d for d in datasets if not job.dataset or d.name in job.dataset]
    return [limit_cases(d, job.max_cases) for d in chosen]


def _models(job: EvaluateJob, given: dict[str, Predictor]) -> dict[str, Predictor]:
    """All models by the names the job gives them; refuses prompts they were not trained for."""
    names = [*job.model, *([job.start_model] if job.start_model else [])]
    loaded = {n: given.get(n) or Predictor.load(n, job.device, job.quiet) for n in names}
    starter = loaded[job.start_model] if job.start_model else None
    for name in job.model:
        for protocol in job.protocol:
            prompts_for(loaded[name], protocol, job, starter)
    return loaded


def _labels(models: dict[str, Predictor]) -> dict[str, str]:
    labels = {name: model_label(name, predictor) for name, predictor in models.items()}
    for name, label in labels.items():
        if list(labels.values()).count(label) > 1:
            labels[name] = f"{label} {models[name].weights_sha256[:8]}"
    return labels


def _units(run: _Run) -> Iterator[Unit]:
    """All units but those that wait for the search of interactive-3d."""
    for dataset in run.datasets:
        searched = _validation(dataset, run.job)
        for case in dataset.cases:
            if run.predictions:
                masks = run.predictions[dataset.name].files.get(case.name)
                yield Unit("", run.labels[""], "2d", dataset, case, masks=masks)
                continue
            for protocol in run.job.protocol:
                for name in run.job.model:
                    unit = Unit(name, run.labels[name], protocol, dataset, case)
                    if protocol != "interactive-3d":
                        yield unit
                    elif case.name in searched:
                        settings = _grid(run.job, run.models[name])
                        yield Unit(name, unit.label, protocol, dataset, case, settings, True)


def _grid(job: EvaluateOptions, predictor: Predictor) -> tuple[Setting, ...]:
    return tuple(map(setting_of, job.grid)) or tuple(default_settings(predictor.card))


def _validation(dataset: Dataset, job: EvaluateOptions) -> set[str]:
    """Names of the cases that are for the search alone: those of the first patients, at most half."""
    patients = sorted({case.patient for case in dataset.cases})
    kept = set(patients[: min(job.validation, len(patients) // 2)])
    return {case.name for case in dataset.cases if case.patient in kept}


def _searched(run: _Run) -> Iterator[Unit]:
    """The units of interactive-3d, with the settings that the search found best.

    Best is the mean over datasets of the mean DSC over objects, for each model and prompt.
    """
    scores: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for dataset in run.datasets:
        searched = _validation(dataset, run.job)
        for name in run.job.model:
            for case in (c for c in dataset.cases if c.name in searched):
                settings = _grid(run.job, run.models[name])
                label = run.labels[name]
                unit = Unit(name, label, "interactive-3d", dataset, case, settings, True)
                part = Part(run.results.parts / unit.folder)
                for row in part.rows() if part.is_done(unit.request(run.job)) else ():
                    scores[name, row.prompt][row.setting][row.dataset].append(row.dsc)
    for name in run.job.model:
        best = []
        for (model, prompt), found in scores.items():
            if model == name:
                means = {s: fmean(map(fmean, by.values())) for s, by in found.items()}
                text = max(means, key=lambda s: means[s])
                run.chosen[f"{run.labels[name]}, {prompt}"] = text
                best.append(setting_of(text)._replace(prompt=prompt))
        if not best:
            raise InputError(
                "volumes of at least two patients for the search of interactive-3d",
                "none that could be searched",
                "use --protocol 3d, or give more cases",
            )
        for dataset in run.datasets:
            searched = _validation(dataset, run.job)
            for case in (c for c in dataset.cases if c.name not in searched):
                label = run.labels[name]
                yield Unit(name, label, "interactive-3d", dataset, case, tuple(best))


class _Crew:
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

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def do(self, run: _Run, units: list[Unit]) -> None:
        """Do what is not done yet; failures are noted, or raised unless the job keeps going."""
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
                    run.failed.append({**place, "model": unit.label, "error": str(error)})
                    log.warning("%s, %s: left out: %s", *place.values(), error)

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


def _options(job: EvaluateJob) -> EvaluateOptions:
    """The part of a job that results depend on."""
    return EvaluateOptions(**job.to_json())


def _facts(run: _Run, rows: list[Row]) -> dict[str, Any]:
    """run.json: what was run, with what, by which rules."""
    job = run.job
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.dataset] += 1
    return {
        "promptseg": __version__,
        "created": run.started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": {**job.to_json(), "model": list(run.labels.values())},
        "rules": job.rules().to_json(),
        "seed": job.seed,
        "max_objects": job.max_objects,
        "models": [
            {
                "name": label,
                "weights_sha256": run.models[name].weights_sha256,
                "licence": run.models[name].card.licence,
            }
            for name, label in run.labels.items()
            if name
        ],
        "predictions": None if job.predictions is None else str(job.predictions),
        "datasets": [{**d.to_json(), "rows": counts[d.name]} for d in run.datasets],
        "chosen_settings": run.chosen,
        "versions": _versions(),
        "failed": run.failed,
        "warnings": run.warnings,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "numpy", "scipy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


def _leaks(job: EvaluateJob, datasets: list[Dataset]) -> list[str]:
    """Warnings about evaluation data that a model may have been trained on."""
    if job.leaks is None:
        return []
    from promptseg.evaluate.leaks import leaks_in

    found = [str(leak) for leak in leaks_in(job.leaks, datasets)]
    for line in found:
        log.warning("%s", line)
    return found


def _report(run: _Run) -> None:
    from promptseg.evaluate.report import ReportOptions, write_report

    job = run.job
    options = ReportOptions(
        holm=job.holm,
        baseline=job.baseline,
        published=job.published,
        images=job.pictures,
        overwrite=True,
    )
    path = write_report(run.results.folder, options)
    if not job.quiet:
        print(f"report: {path}")
