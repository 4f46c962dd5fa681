"""An evaluation from beginning to end: datasets, models, tasks, tables, report."""

from __future__ import annotations

import csv
import logging
import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.datasets import Dataset, DatasetOptions, choose_cases, limit_cases, open_datasets
from promptseg.datasets.description import unknown_modalities
from promptseg.datasets.splits import read_splits
from promptseg.errors import InputError, PromptsegError
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.over_seeds import SEED_FILES, write_seeds
from promptseg.evaluate.plan import ModelUnderTest, Plan
from promptseg.evaluate.predictions import Predictions, open_predictions
from promptseg.evaluate.protocols import prompts_for
from promptseg.evaluate.results import FILES, PARTS, Results
from promptseg.evaluate.rows import Row
from promptseg.evaluate.tasks import EvaluationTask, Evaluator, model_label
from promptseg.evaluate.trained import lists_of, unknown_lists
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.systems import clash
from promptseg.inference.predictor import Predictor
from promptseg.jobs.seeds import begin_seeds, of_each_seed
from promptseg.models.cards import ModelCard, model_file
from promptseg.models.heads.semantic.card import SemanticCard, is_semantic
from promptseg.names import from_csv
from promptseg.noted import lines_of, refuse
from promptseg.runtime import set_threads
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes
from promptseg.work import Executor, Failure, Inline, Processes, Task, run

__all__ = ["Evaluated", "evaluate"]

log = logging.getLogger("promptseg")

_Model = Predictor | ClassSegmenter
_POOLED = ("all", "all")
_OWN = ("missing", "device", "workers", "keep_going", "leaks")
"""Options that every model of a folder may have of its own, as the record says."""


@dataclass(frozen=True)
class Evaluated:
    """Results that an evaluation left in its folder.

    Attributes:
        folder: of the results.
        report: the page.
        skipped: tasks of this run that were done already.
        done: tasks that this run did.
        failed: what could not be scored: dataset, case, model and error.
        notes: what readers noted, each with the number of cases; notes.csv names them.
        seeds: of several seeds, what they came to and how far apart they lie.
    """

    folder: Path
    report: Path
    skipped: int
    done: int
    failed: list[dict[str, str]]
    notes: dict[str, int] = field(default_factory=dict)
    seeds: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Return lines on the mean DSC and NSD over all tasks, of the first and the last step.

        Each mean has its 95 % interval, of patients drawn with all their masks, where there are two.
        """
        if self.seeds:
            return [*self.seeds, *(f"note: {line}" for line in lines_of(self.notes))]
        with (self.folder / "summary.csv").open(newline="", encoding="utf-8") as stream:
            pooled = [r for r in csv.DictReader(stream) if (r["dataset"], r["target"]) == _POOLED]
        last = max((int(r["step"]) for r in pooled), default=0)
        lines = []
        for row in pooled:
            if row["metric"] in ("dsc", "nsd") and int(row["step"]) in (0, last):
                words = (from_csv(row[name]) for name in ("model", "protocol", "prompt", "setting"))
                step = f" step {row['step']}" if last else ""
                value = f"{float(row['mean']):.3f}" if row["mean"] else "none"
                low, high = (float(row[name] or "nan") for name in ("mean_low", "mean_high"))
                if math.isfinite(low) and math.isfinite(high):
                    value += f", 95 % interval {low:.3f} to {high:.3f}"
                name = " ".join(filter(None, words)) + step
                lines.append(f"{name}: mean {row['metric'].upper()} {value} ({row['n']} masks)")
        return [*lines, *(f"note: {line}" for line in lines_of(self.notes))]


def evaluate(job: EvaluateJob, models: dict[str, Predictor] | None = None) -> Evaluated:
    """Evaluate models on datasets and write rows, tables and a report.

    Cases that are done already, by the same options and from the same files, are left alone.

    Args:
        job: what and how.
        models: loaded models by the names the job gives them, for one process alone.

    Returns:
        What was done, and what failed where the job keeps going.

    Raises:
        PromptsegError: bad options or data; what was done until then is kept.
    """
    if job.seeds > 1:
        return _of_seeds(job, models)
    started = _now()
    _settle_protocol(job)
    datasets = _datasets(job)
    threads = set_threads(job.threads)
    loaded = {} if job.predictions else _models(job, models or {})
    plan = _plan(job, datasets, loaded)
    _require_names(plan, job.output)
    _protect(job)
    results = Results(job.output, job.to_json(), job.overwrite)
    facts = _facts(job, plan, started, threads)
    results.check_data(facts)
    facts["warnings"] = [*_unlisted(job, plan), *_leaks(job, datasets), *_engines(loaded)]
    results.write_run(facts)  # what a run that is killed goes on from
    evaluator = Evaluator(plan.options, job.device, loaded, plan.predictions, job.strict)
    work = _Work(job, evaluator, threads)
    try:
        facts["failed"] += work.do(list(plan.tasks()))
        if "interactive-3d" in job.protocol and plan.models:
            facts["failed"] += work.do(list(plan.searched_tasks(facts["chosen_settings"])))
    finally:
        rows = results.gather(job.parquet)
        facts["warnings"] += _unknown_modalities(job, rows)
        facts["scored"] = _scored(rows)
        facts["notes"] = results.notes
        results.write_run({**facts, "finished": _now()})
    report = _report(job, results)
    if job.strict:  # cases that were done without it
        refuse(list(results.notes), f"cases in {job.output / 'notes.csv'}")
    return Evaluated(
        job.output, report, work.skipped, work.done, facts["failed"], notes=results.notes
    )


def _of_seeds(job: EvaluateJob, models: dict[str, Predictor] | None) -> Evaluated:
    """One evaluation after the other, a seed each, and how far they lie apart."""
    own = begin_seeds(job.output, SEED_FILES, beside="run.json")
    each = {seed: evaluate(one, models) for seed, one in of_each_seed(job).items()}
    own.claim(*SEED_FILES)
    lines = write_seeds(job.output, {seed: one.folder for seed, one in each.items()})
    done = list(each.values())
    return Evaluated(
        job.output,
        job.output / SEED_FILES[1],
        skipped=sum(one.skipped for one in done),
        done=sum(one.done for one in done),
        failed=[failure for one in done for failure in one.failed],
        notes=done[0].notes,
        seeds=lines,
    )


def _settle_protocol(job: EvaluateJob) -> None:
    """Models of classes are evaluated as such, and by themselves.

    Raises:
        InputError: models of both kinds, or a protocol of the other kind.
    """
    if job.predictions is not None:
        return
    of_classes = [name for name in job.model if is_semantic(name)]
    if of_classes and job.protocol == ("2d",):  # which nobody asked for
        job.protocol = ("classes",)
    prompting = [name for name in job.model if name not in of_classes]
    for protocol in job.protocol:
        idle = prompting if protocol == "classes" else of_classes
        if idle:
            kind = "models of classes" if protocol == "classes" else "models of prompts"
            raise InputError(
                f"{kind} for --protocol {protocol}",
                idle[0],
                "evaluate models of prompts and of classes in runs of their own",
            )
    if of_classes and job.start_model:
        raise InputError("models of prompts for --start-model", of_classes[0], "leave it out")


def _require_names(plan: Plan, folder: Path) -> None:
    """Refuse cases whose results would be one file, where capitals do not count."""
    if same := clash((task.part.folder for task in plan.tasks()), folder):
        raise InputError(
            "cases with names of their own, where capitals do not count",
            " and ".join(path.name for path in same),
            "rename one, or write to another disk",
        )


class _Work:
    """The tasks of a job as they are done, by this process or by several, and counted."""

    def __init__(self, job: EvaluateJob, evaluator: Evaluator, threads: int) -> None:
        self.job, self.evaluator, self.threads = job, evaluator, threads
        self.skipped = self.done = 0

    def do(self, tasks: list[EvaluationTask]) -> list[dict[str, str]]:
        """Do what is not done yet; returns what failed."""
        outcome = run(
            tasks,
            self._executor,
            title="cases",
            quiet=self.job.quiet,
            keep_going=self.job.keep_going,
            on_failure=lambda failure: log.warning("%s: left out: %s", *_place(failure)),
        )
        self.skipped += outcome.skipped
        self.done += len(outcome.results)
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

    def _executor(self, tasks: Sequence[Task[Any, Any]]) -> Executor:
        workers = min(self.job.workers, len(tasks))
        if workers == 1:
            return Inline(lambda: self.evaluator)
        own = self.evaluator
        arguments = (
            own.options,
            own.device,
            own.predictions,
            max(1, self.threads // workers),
            own.strict,
        )
        return Processes(workers, partial(_evaluator, *arguments))


def _evaluator(
    options: EvaluateOptions,
    device: str,
    predictions: dict[str, Predictions],
    threads: int,
    strict: bool,
) -> Evaluator:
    """The evaluator of a worker process."""
    set_threads(threads)
    return Evaluator(options, device, predictions=predictions, strict=strict)


def _place(failure: Failure) -> tuple[str, PromptsegError]:
    task = failure.task
    assert isinstance(task, EvaluationTask)
    return f"{task.dataset.name}, {task.case.name}", failure.error


def _protect(job: EvaluateJob) -> None:
    """Refuse to write over what is read; other files of the data are not ours and stay anyway."""
    names = [*job.model, *([job.start_model] if job.start_model else [])]
    weights = [] if job.predictions else [model_file(name)[1] for name in names]
    reads = Reads([job.leaks, job.config, *weights])
    check_outputs((job.output / name for name in FILES), overwrite=True, reads=reads)


def _datasets(job: EvaluateJob) -> list[Dataset]:
    options = DatasetOptions(**{f.name: getattr(job, f.name) for f in fields(DatasetOptions)})
    datasets = open_datasets(job.input, options)
    names = [d.name for d in datasets]
    if unknown := [name for name in job.dataset if name not in names]:
        raise InputError(f"datasets out of {', '.join(names)}", ", ".join(unknown), "correct them")
    chosen = [d for d in datasets if not job.dataset or d.name in job.dataset]
    if job.splits is not None:
        parts = read_splits(job.splits)
        listed = {case for case, part in parts.items() if part == job.part}
        chosen = [choose_cases(d, listed) for d in chosen]
        chosen = [d for d in chosen if d.cases]
        if not chosen:
            raise InputError(
                f"cases of the {job.part} part in {job.input}",
                f"none that {job.splits} names",
                "correct --splits or --part",
            )
    return [limit_cases(d, job.max_cases) for d in chosen]


def _models(job: EvaluateJob, given: dict[str, Predictor]) -> dict[str, _Model]:
    """All models by the names the job gives them; refuses prompts they were not trained for."""
    if job.protocol == ("classes",):
        return {n: load_classes(n, device=job.device) for n in job.model}
    names = [*job.model, *([job.start_model] if job.start_model else [])]
    loaded = {
        n: given.get(n) or Predictor.load(n, job.device, job.quiet, job.engine) for n in names
    }
    starter = loaded[job.start_model] if job.start_model else None
    every: dict[str, _Model] = {**loaded}
    for name in job.model:
        for protocol in job.protocol:
            prompts_for(loaded[name], protocol, job, starter)
    return every


def _plan(job: EvaluateJob, datasets: list[Dataset], loaded: dict[str, _Model]) -> Plan:
    options = EvaluateOptions(**job.to_json())
    parts = job.output / PARTS
    if job.predictions is not None:
        predictions = open_predictions(job.predictions, datasets, job.missing, job.resample)
        label = job.predictions_name or job.predictions.resolve().name
        return Plan(options, parts, datasets, [], predictions, label)
    labels = _labels({name: loaded[name] for name in job.model})
    known = {name: _about(model) for name, model in loaded.items()}
    starter = {job.start_model: known[job.start_model][0]} if job.start_model else {}
    models = [
        ModelUnderTest(
            name, label, *known[name], trained_on=lists_of({label: known[name][0], **starter})
        )
        for name, label in labels.items()
    ]
    return Plan(options, parts, datasets, models, {})


def _about(model: _Model) -> tuple[ModelCard | SemanticCard, str]:
    """Card, and hash of the weights."""
    if isinstance(model, ClassSegmenter):
        return model.model.card, model.model.weights_sha256
    return model.card, model.weights_sha256


def _labels(models: dict[str, _Model]) -> dict[str, str]:
    """What the rows call each model; no two alike."""
    labels = {name: model_label(name, predictor) for name, predictor in models.items()}
    for name, label in labels.items():
        if list(labels.values()).count(label) > 1:
            labels[name] = f"{label} {_about(models[name])[1][:8]}"
    return labels


def _facts(job: EvaluateJob, plan: Plan, started: str, threads: int) -> dict[str, Any]:
    """run.json: what is run, with what, by which rules."""
    datasets = [d.to_json() for d in plan.datasets]
    with_what = {
        "created": started,
        "promptseg": __version__,
        "input": str(job.input),
        "datasets": {d["name"]: d["sha256"] for d in datasets},
        "options": {**job.to_json(), **{k: getattr(job, k) for k in _OWN}},
        "threads": threads,
        "versions": _versions(),
    }
    tested: list[dict[str, Any]] = [
        {
            "name": m.label,
            "weights_sha256": m.weights_sha256,
            "licence": m.card.licence,
            "trained_on": sum(listed.images for listed in m.trained_on) or None,
            "run": with_what,
        }
        for m in plan.models
    ]
    if job.predictions is not None:
        about = {**with_what, "predictions": str(job.predictions)}
        tested.append({"name": plan.predictions_label, "weights_sha256": None, "run": about})
    absent = [
        {"dataset": d.name, "case": case, "model": "", "error": what}
        for d in plan.datasets
        for case, what in d.missing
    ]
    return {
        "promptseg": __version__,
        "created": started,
        "finished": None,
        "options": {**job.to_json(), "model": [m.label for m in plan.models]},
        "rules": job.rules().to_json(),
        "seed": job.seed,
        "max_objects": job.max_objects,
        "models": tested,
        "predictions": None if job.predictions is None else str(job.predictions),
        "datasets": datasets,
        "chosen_settings": {},
        "versions": _versions(),
        "failed": absent,
        "warnings": [],
    }


def _scored(rows: list[Row]) -> dict[str, int]:
    """Cases with rows, by dataset: of all runs into the folder, failed ones left out."""
    cases = {(row.dataset, row.case) for row in rows}
    return dict(sorted(Counter(dataset for dataset, _ in cases).items()))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "numpy", "scipy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


def _unlisted(job: EvaluateJob, plan: Plan) -> list[str]:
    """Warnings about models of which nobody can tell what they have seen."""
    found = [] if job.leaks else unknown_lists({m.label: m.card for m in plan.models})
    for line in found:
        log.warning("%s", line)
    return found


def _unknown_modalities(job: EvaluateJob, rows: list[Row]) -> list[str]:
    """Warnings about images whose values were scaled by guess; masks of other tools need no values."""
    if job.predictions or job.window:
        return []
    found = unknown_modalities((row.dataset, row.modality) for row in rows)
    for line in found:
        log.warning("%s", line)
    return found


def _engines(loaded: dict[str, _Model]) -> list[str]:
    """Engines that were asked for and do not run, which was said when the models were loaded."""
    prompted = {n: m for n, m in loaded.items() if isinstance(m, Predictor)}
    verdicts = {name: model.verdict for name, model in prompted.items() if model.verdict}
    return [f"{name}: {v.given_up}" for name, v in verdicts.items() if v.given_up]


def _leaks(job: EvaluateJob, datasets: list[Dataset]) -> list[str]:
    """Warnings about evaluation data that a model may have been trained on."""
    if job.leaks is None:
        return []
    from promptseg.datasets.leaks import leaks_in

    found = [str(leak) for leak in leaks_in(job.leaks, datasets)]
    for line in found:
        log.warning("%s", line)
    return found


def _report(job: EvaluateJob, results: Results) -> Path:
    from promptseg.evaluate.report import ReportOptions, write_report

    options = ReportOptions(
        count_trained=job.count_trained,
        holm=job.holm,
        baseline=job.baseline,
        published=job.published,
        images=job.pictures,
        publish=job.publish,
    )
    return write_report(results.folder, options, renewed=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
