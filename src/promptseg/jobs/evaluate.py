"""An evaluation from beginning to end: tasks, tables, report; or one share of its tasks."""

from __future__ import annotations

import csv
import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from promptseg.datasets.description import unknown_modalities
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.over_seeds import SEED_FILES, write_seeds
from promptseg.evaluate.results import Results
from promptseg.evaluate.rows import Row
from promptseg.inference.predictor import Predictor
from promptseg.jobs.evaluation_setup import begin, now
from promptseg.jobs.evaluation_work import EvaluationWork
from promptseg.jobs.lists import Listed
from promptseg.jobs.seeds import begin_seeds, of_each_seed
from promptseg.names import from_csv
from promptseg.noted import lines_of, refuse
from promptseg.work import WHOLE, Shard

__all__ = ["Evaluated", "evaluate", "evaluate_share"]

log = logging.getLogger("promptseg")

_POOLED = ("all", "all")


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
        lines += _frames_scored(self.folder / "tables" / "frames.csv")
        return [*lines, *(f"note: {line}" for line in lines_of(self.notes))]


_CLIPS = ("clips", "clip")


def _frames_scored(path: Path) -> list[str]:
    """Lines on videos: frames that were scored, and what propagation alone has come to on them."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [[from_csv(cell) for cell in row] for row in csv.reader(stream)][1:]
    return [
        f"{model} {prompt} on {dataset}: {frames} frames of {clips} {_CLIPS[clips == '1']} scored; "
        f"mean DSC behind the prompted frame {behind} % ({masks} masks)"
        for prompt, model, dataset, clips, frames, _, _, masks, behind in rows
    ]


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
    if job.shard is not None:
        raise InputError("a whole evaluation", f"--shard {job.shard}", "call evaluate_share")
    if job.seeds > 1:
        return _of_seeds(job, models)
    begun = begin(job, models or {})
    plan, results, facts = begun.plan, begun.results, begun.facts
    work = EvaluationWork(job, begun, WHOLE)
    tasks, finished = list(plan.tasks()), False
    try:
        with work.told():
            facts["failed"] += work.do(tasks)
            if "interactive-3d" in job.protocol and plan.models:
                searched = list(plan.searched_tasks(facts["chosen_settings"]))
                tasks += searched
                facts["failed"] += work.do(searched)
        finished = True
    finally:
        rows = results.gather(plan.labels, tasks, finished, job.parquet)
        facts["warnings"] += _unknown_modalities(job, rows)
        facts["scored"] = _scored(rows)
        facts["notes"] = results.notes
        results.write_run({**facts, "finished": now()})
    report = _report(job, results)
    if job.strict:  # cases that were done without it
        refuse(list(results.notes), f"cases in {job.output / 'notes.csv'}")
    tally = work.tally
    return Evaluated(
        job.output, report, tally.skipped, tally.done, facts["failed"], notes=results.notes
    )


def evaluate_share(job: EvaluateJob) -> Listed:
    """Score one share of the cases, as `job.shard` says; tables and report are made by `evaluate`.

    Any number of shares may be at work in one folder; each has a results table of its own. Once they
    are done, the same job without `shard` finds their results and writes what is made of all.

    Args:
        job: what and how; the same for all shares but for `shard`.

    Raises:
        PromptsegError: bad options or data, or what no share can do; what was done until then is kept.
    """
    shard = Shard.parse(job.shard)
    _require_shareable(job)
    begun = begin(job, {}, shared=True)
    work = EvaluationWork(job, begun, shard)
    with work.told() as record:
        work.do(list(begun.plan.tasks()))
    assert record is not None
    return Listed(work.tally, record.table.path, record.failures)


def _require_shareable(job: EvaluateJob) -> None:
    """Refuse what one share cannot do by itself.

    Raises:
        InputError: it was asked for.
    """
    whole = "use --workers or --cluster"
    if "interactive-3d" in job.protocol:
        raise InputError("protocols whose cases need no others", "interactive-3d, a search", whole)
    if job.seeds > 1:
        raise InputError("one seed for --shard", f"--seeds {job.seeds}", whole)
    if job.overwrite:  # each would remove what the others have done
        raise InputError("results that stay for --shard", "--overwrite", "name another folder")


def _of_seeds(job: EvaluateJob, models: dict[str, Predictor] | None) -> Evaluated:
    """One evaluation after the other, a seed each, and how far they lie apart."""
    own = begin_seeds(job.output, "evaluate --seeds", SEED_FILES, beside="run.json")
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


def _scored(rows: list[Row]) -> dict[str, int]:
    """Cases with rows, by dataset: of all runs into the folder, failed ones left out."""
    cases = {(row.dataset, row.case) for row in rows}
    return dict(sorted(Counter(dataset for dataset, _ in cases).items()))


def _unknown_modalities(job: EvaluateJob, rows: list[Row]) -> list[str]:
    """Warnings about images whose values were scaled by guess; masks of other tools need no values."""
    if job.predictions or job.window:
        return []
    found = unknown_modalities((row.dataset, row.modality) for row in rows)
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
