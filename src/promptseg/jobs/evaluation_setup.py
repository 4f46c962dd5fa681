"""An evaluation before any work: data, models, plan, and a folder that takes the results."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.datasets import Dataset, DatasetOptions, choose_cases, limit_cases, open_datasets
from promptseg.datasets.splits import read_splits
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob, EvaluateOptions
from promptseg.evaluate.plan import ModelUnderTest, Plan
from promptseg.evaluate.predictions import open_predictions
from promptseg.evaluate.protocols import prompts_for
from promptseg.evaluate.results import FILES, PARTS, Results
from promptseg.evaluate.tasks import Evaluator, model_label
from promptseg.evaluate.trained import lists_of, unknown_lists
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.systems import clash
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import ModelCard, model_file
from promptseg.models.heads.semantic.card import SemanticCard, is_semantic
from promptseg.runtime import set_threads
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes

__all__ = ["Begun", "begin", "models_of", "now"]

log = logging.getLogger("promptseg")

_Model = Predictor | ClassSegmenter
_OWN = ("missing", "device", "workers", "keep_going", "leaks")
"""Options that every model of a folder may have of its own, as the record says."""


@dataclass(frozen=True)
class Begun:
    """An evaluation whose folder is there and whose tasks can be done.

    Attributes:
        plan: what the tasks are.
        results: the folder.
        facts: for run.json.
        evaluator: does tasks in this process.
    """

    plan: Plan
    results: Results
    facts: dict[str, Any]
    evaluator: Evaluator


def begin(job: EvaluateJob, given: dict[str, Predictor], shared: bool = False) -> Begun:
    """Open what an evaluation needs, and write down what it is going to do.

    Args:
        job: what and how.
        given: loaded models by the names the job gives them.
        shared: whether other shares of the job may be at work in the same folder.

    Raises:
        PromptsegError: bad options or data, or a folder with other results; nothing was done then.
    """
    started = now()
    _settle_protocol(job)
    datasets = _datasets(job)
    threads = set_threads(job.threads)
    loaded = {} if job.predictions else _models(job, given)
    plan = _plan(job, datasets, loaded)
    _require_names(plan, job.output)
    _protect(job)
    results = Results(job.output, job.to_json(), job.overwrite, shared)
    facts = _facts(job, plan, started, threads)
    results.check_data(facts)
    # leaks are looked for in all images, once
    leaks = [] if shared else _leaks(job, datasets)
    facts["warnings"] = [*_unlisted(job, plan), *leaks, *_engines(loaded)]
    results.write_run(facts)  # what a run that is killed goes on from
    evaluator = Evaluator(plan.options, job.device, loaded, plan.predictions, job.strict)
    return Begun(plan, results, facts, evaluator)


def models_of(job: EvaluateJob) -> list[str]:
    """Return the models that a job loads, as the user named them."""
    if job.predictions is not None:
        return []
    return [*job.model, *([job.start_model] if job.start_model else [])]


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


def _protect(job: EvaluateJob) -> None:
    """Refuse to write over what is read; other files of the data are not ours and stay anyway."""
    weights = [model_file(name)[1] for name in models_of(job)]
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
    loaded = {
        n: given.get(n) or Predictor.load(n, job.device, job.quiet, job.engine)
        for n in models_of(job)
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
    start_sha256 = known[job.start_model][1] if job.start_model else ""
    models = [
        ModelUnderTest(
            name,
            label,
            *known[name],
            start_sha256=start_sha256,
            trained_on=lists_of({label: known[name][0], **starter}),
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
            "run": {**with_what, **({"start_sha256": m.start_sha256} if m.start_sha256 else {})},
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


def now() -> str:
    """Return the time of day, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
