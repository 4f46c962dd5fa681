"""An evaluation from beginning to end: datasets, models, units, tables, report."""

from __future__ import annotations

import csv
import logging
import platform
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from promptseg._version import __version__
from promptseg.datasets import Dataset, DatasetOptions, limit_cases, open_datasets
from promptseg.errors import InputError
from promptseg.evaluate.crew import Crew
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.plan import Contestant, Plan
from promptseg.evaluate.predictions import open_predictions
from promptseg.evaluate.protocols import prompts_for
from promptseg.evaluate.results import Results
from promptseg.evaluate.rows import Row
from promptseg.evaluate.units import Bench, model_label
from promptseg.inference.predictor import Predictor
from promptseg.runtime import set_threads

__all__ = ["evaluate"]

log = logging.getLogger("promptseg")

_POOLED = ("all", "all")
_NOT_SHARED = {"dataset", "max_cases"}  # what results in one folder may differ by


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
    started = _now()
    datasets = _datasets(job)
    threads = set_threads(job.threads)
    loaded = {} if job.predictions else _models(job, models or {})
    plan = _plan(job, datasets, loaded)
    shared = {k: v for k, v in job.to_json().items() if k not in _NOT_SHARED}
    results = Results(job.output, shared, job.overwrite)
    facts = _facts(job, plan, started, _leaks(job, datasets))
    results.write_run(facts)  # what a run that is killed goes on from
    bench = Bench(plan.options, results.parts, job.device, loaded, plan.predictions)
    try:
        with Crew(job, bench, threads) as crew:
            facts["failed"] += crew.do(list(plan.units()))
            if "interactive-3d" in job.protocol and plan.models:
                units = list(plan.searched_units(results.parts, facts["chosen_settings"]))
                facts["failed"] += crew.do(units)
    finally:
        rows = results.gather(job.parquet)
        facts["scored"] = _scored(rows)
        results.write_run({**facts, "finished": _now()})
    _report(job, results)
    return 2 if facts["failed"] else 0


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
    loaded = {
        n: given.get(n) or Predictor.load(n, job.device, job.quiet, job.engine) for n in names
    }
    starter = loaded[job.start_model] if job.start_model else None
    for name in job.model:
        for protocol in job.protocol:
            prompts_for(loaded[name], protocol, job, starter)
    return loaded


def _plan(job: EvaluateJob, datasets: list[Dataset], loaded: dict[str, Predictor]) -> Plan:
    options = EvaluateOptions(**job.to_json())
    if job.predictions is not None:
        predictions = open_predictions(job.predictions, datasets, job.missing, job.resample)
        label = job.predictions_name or job.predictions.resolve().name
        return Plan(options, datasets, [], predictions, label)
    labels = _labels({name: loaded[name] for name in job.model})
    contestants = [
        Contestant(name, label, loaded[name].card, loaded[name].weights_sha256)
        for name, label in labels.items()
    ]
    return Plan(options, datasets, contestants, {})


def _labels(models: dict[str, Predictor]) -> dict[str, str]:
    """What the rows call each model; no two alike."""
    labels = {name: model_label(name, predictor) for name, predictor in models.items()}
    for name, label in labels.items():
        if list(labels.values()).count(label) > 1:
            labels[name] = f"{label} {models[name].weights_sha256[:8]}"
    return labels


def _facts(job: EvaluateJob, plan: Plan, started: str, warnings: list[str]) -> dict[str, Any]:
    """run.json: what is run, with what, by which rules."""
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
        "models": [
            {"name": m.label, "weights_sha256": m.weights_sha256, "licence": m.card.licence}
            for m in plan.models
        ],
        "predictions": None if job.predictions is None else str(job.predictions),
        "datasets": [d.to_json() for d in plan.datasets],
        "chosen_settings": {},
        "versions": _versions(),
        "failed": absent,
        "warnings": warnings,
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


def _leaks(job: EvaluateJob, datasets: list[Dataset]) -> list[str]:
    """Warnings about evaluation data that a model may have been trained on."""
    if job.leaks is None:
        return []
    from promptseg.datasets.leaks import leaks_in

    found = [str(leak) for leak in leaks_in(job.leaks, datasets)]
    for line in found:
        log.warning("%s", line)
    return found


def _report(job: EvaluateJob, results: Results) -> None:
    from promptseg.evaluate.report import ReportOptions, write_report

    options = ReportOptions(
        holm=job.holm,
        baseline=job.baseline,
        published=job.published,
        images=job.pictures,
        overwrite=True,
    )
    path = write_report(results.folder, options)
    if not job.quiet:
        _print_summary(results)
        print(f"report: {path}")


def _print_summary(results: Results) -> None:
    """Mean DSC and NSD over all tasks, of the first and the last step."""
    with (results.folder / "summary.csv").open(newline="", encoding="utf-8") as stream:
        pooled = [r for r in csv.DictReader(stream) if (r["dataset"], r["target"]) == _POOLED]
    last = max((int(r["step"]) for r in pooled), default=0)
    for row in pooled:
        if row["metric"] in ("dsc", "nsd") and int(row["step"]) in (0, last):
            words = (row[name] for name in ("model", "protocol", "prompt", "setting"))
            step = f" step {row['step']}" if last else ""
            value = f"{float(row['mean']):.3f}" if row["mean"] else "none"
            name = " ".join(filter(None, words)) + step
            print(f"{name}: mean {row['metric'].upper()} {value} ({row['n']} masks)")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
