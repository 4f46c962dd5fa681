"""A curation from beginning to end: datasets, parts, groups, splits, index, reports."""

from __future__ import annotations

import logging
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.curate import report
from promptseg.curate.folder import check_folder, remove_others
from promptseg.curate.groups import Group, LookAlike, grouped, look_alikes, person
from promptseg.curate.options import ConversionOptions, CurateJob
from promptseg.curate.parts import SHARDS, Part, Result, parts_of_dataset
from promptseg.curate.rules import Exclusion
from promptseg.curate.sources import open_sources
from promptseg.curate.split import (
    check_division,
    divide,
    divide_as_given,
    hold_out,
    read_held_out,
)
from promptseg.datasets import Dataset
from promptseg.datasets.collection import Collection, Sample, Split
from promptseg.datasets.description import unknown_modalities
from promptseg.datasets.manifest import ManifestRow, write_manifest
from promptseg.datasets.splits import read_splits
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import OwnFolder
from promptseg.formats.systems import clash
from promptseg.jobs.doers import is_elsewhere
from promptseg.jobs.elsewhere import executor_of_files
from promptseg.jobs.lists import Listed
from promptseg.jobs.live_record import About, LiveRecord, record_files
from promptseg.noted import counted, lines_of, refuse
from promptseg.work import WHOLE, Shard, Tally, Task, await_results, run

__all__ = ["curate", "curate_share"]

log = logging.getLogger("promptseg")

_LACKS = {"image": "no image", "labels": "no mask"}  # rules
_FEW, _MUCH = 10, 0.1  # a group of patients is large: their number, their share
_COLUMNS = ("cases", "samples", "left_out")
_ROOM = 2  # JPEG pictures grow, volumes shrink


def curate(job: CurateJob) -> Collection:
    """Make a collection of training data.

    Parts that are done already, by the same options and from the same files, are left alone.

    Args:
        job: what and how.

    Returns:
        The collection that was written.

    Raises:
        InputError: bad options or data, or nothing that could be used; what was left out until then
            is in exclusions.csv.
        OutputError: the folder holds something else, cannot be written, or the disk is full.
    """
    if job.shard is not None:
        raise InputError("a whole curation", f"--shard {job.shard}", "call curate_share")
    datasets = open_sources(job)
    known = _Given(job, datasets)
    parts = _begun(job, datasets)
    _do(parts, parts, job, WHOLE)
    results = [(part, part.result()) for part in parts]
    done = [result for _, result in results if result is not None]
    if len(done) < len(results):
        lost = next(part.name for part, result in results if result is None)
        raise InputError("data that does not change", f"files of {lost} that did", "run it again")
    excluded = [*_incomplete(datasets), *(each for result in done for each in result.excluded)]
    report.write_exclusions(excluded, job.output / "exclusions.csv")
    notes = [each for result in done for each in result.notes]
    report.write_notes(notes, job.output / "notes.csv")
    for line in lines_of(counted(text for _, _, text in notes)):
        log.warning("%s", line)
    if job.strict:
        refuse([text for _, _, text in notes], f"cases in {job.output / 'notes.csv'}")
    _warn(excluded)
    if not any(result.samples for result in done):
        counts = report.exclusion_counts(excluded)
        why = ", ".join(f"{rule} ({sum(each.values())})" for rule, each in counts.items())
        raise InputError(
            "at least one image with an object",
            f"none of {sum(len(d.cases) + len(d.missing) for d in datasets)} cases left: {why}",
            f"see {job.output / 'exclusions.csv'} and loosen the rules",
        )
    if not job.window:
        for line in unknown_modalities((s.dataset, s.modality) for r in done for s in r.samples):
            log.warning("%s", line)
    collection = _write(job, datasets, done, excluded, known)
    remove_others(job.output, parts)
    return collection


def curate_share(job: CurateJob) -> Listed:
    """Convert one share of the parts, as `job.shard` says; `curate` makes the collection of all.

    Any number of shares may be at work in one folder; each has a results table of its own. Once they
    are done, the same job without `shard` finds their parts, and writes index, splits and reports.

    Args:
        job: what and how; the same for all shares but for `shard`.

    Raises:
        InputError, OutputError: as `curate`, or what a share cannot do.
    """
    shard = Shard.parse(job.shard)
    if job.overwrite:  # each would remove what the others have done
        raise InputError("parts that stay for --shard", "--overwrite", "name another folder")
    datasets = open_sources(job)
    _Given(job, datasets)
    parts = _begun(job, datasets)
    return _do(parts, list(shard.of(parts)), job, shard)


def _begun(job: CurateJob, datasets: Sequence[Dataset]) -> list[Part]:
    """The folder for the collection, and the parts of the work."""
    check_folder(job)
    options = ConversionOptions(**{k: getattr(job, k) for k in job.conversion()})
    parts = [
        part for dataset in datasets for part in parts_of_dataset(dataset, job.output, options)
    ]
    if same := clash((part.shard for part in parts), job.output):
        raise InputError(
            "datasets with names of their own, where capitals do not count",
            " and ".join(path.stem for path in same),
            "rename one",
        )
    return parts


class _Given:
    """Parts that the user gives, read before anything is converted.

    Raises:
        InputError: a list that does not fit the data.
    """

    def __init__(self, job: CurateJob, datasets: Sequence[Dataset]) -> None:
        self.job = job
        self.held_out = read_held_out(job.held_out, datasets) if job.held_out else None
        self.splits = read_splits(job.splits) if job.splits else None
        if self.splits is not None:  # patients are known before any image is read
            rows = [
                ManifestRow(d.name, c.name, c.patient)
                for d in datasets
                for c in d.cases
                if (d.name, c.name) in self.splits
            ]
            divide_as_given(grouped(rows, Counter()), self.splits)

    def divide(self, groups: Sequence[Group]) -> dict[str, Split]:
        """Part of every group."""
        shares = self.job.shares()
        if self.splits is not None:
            return divide_as_given(groups, self.splits)
        if self.held_out is not None:
            return hold_out(groups, self.held_out, shares, self.job.seed)
        return divide(groups, shares, self.job.seed)


def _do(parts: Sequence[Part], own: Sequence[Part], job: CurateJob, shard: Shard) -> Listed:
    """Convert what is not converted yet of a share of the parts."""
    tally = Tally()
    waiting = [part for part in own if not part.is_done()]
    tally.skipped += len(own) - len(waiting)
    record = _record(job, own, shard, tally)
    if not waiting and record is None:
        return Listed(tally, job.output, [])
    if waiting:
        (job.output / "collection.json").unlink(missing_ok=True)  # of what is about to change
        _require_space(waiting, job)
    rows = {id(part): row for row, part in enumerate(parts, start=1)}

    def ended(part: Task[Any, Any], result: Any, error: PromptsegError | None) -> None:
        assert isinstance(part, Part)
        if record is not None:
            record.add(About(rows[id(part)], part.name, str(part.shard)), result, error)

    telling: AbstractContextManager[Any] = record.writing() if record else nullcontext()
    with telling:
        outcome = run(
            waiting,
            lambda some: executor_of_files(job, len(some)),
            title="cases",
            quiet=job.quiet,
            keep_going=record is not None,
            tally=tally,
            on_end=ended,
        )
    if is_elsewhere(job):
        failed = {id(failure.task) for failure in outcome.failures}
        await_results(part for part in waiting if id(part) not in failed)
    if job.shard is None and outcome.failures:  # a collection is of all parts
        raise outcome.failures[0].error
    if record is None:
        return Listed(tally, job.output, [])
    return Listed(tally, record.table.path, record.failures)


def _record(job: CurateJob, own: Sequence[Part], shard: Shard, tally: Tally) -> LiveRecord | None:
    """Table and page on the work of a share or cluster; the whole collection takes them away."""
    if job.shard is None and not is_elsewhere(job):
        return None
    files = (path.relative_to(job.output).as_posix() for p in own for path in (p.shard, p.facts))
    OwnFolder(job.output).claim_ahead(*record_files(shard), *files)
    about = f"{job.output.name}, in parts of many cases"
    return LiveRecord(job.output, shard, _COLUMNS, title=about, total=len(own), tally=tally)


def _require_space(waiting: Sequence[Part], job: CurateJob) -> None:
    """Refuse to begin where the disk has no room for what will be written.

    Raises:
        OutputError: it has not.
    """
    sizes: dict[Path, int] = {}  # files that parts share, such as annotations of COCO, count once
    for part in waiting:
        sizes |= part.input_sizes()
    needed = _ROOM * sum(sizes.values())
    free = shutil.disk_usage(job.output).free
    if free < needed:
        raise OutputError(
            f"{needed / 1e9:.1f} GB of free disk, twice as much as the data takes",
            f"{free / 1e9:.1f} GB in {job.output}",
            "free some space or choose another folder",
        )


def _incomplete(datasets: Sequence[Dataset]) -> Iterator[Exclusion]:
    for dataset in datasets:
        for lost in dataset.missing:
            yield Exclusion(dataset.name, lost.case, None, "", _LACKS[lost.kind], lost.what)


def _warn(excluded: Sequence[Exclusion]) -> None:
    """Say loudly which whole cases were left out."""
    whole = [each for each in excluded if not each.target and each.slice is None]
    for rule, count in sorted(Counter(each.rule for each in whole).items()):
        first = next(each for each in whole if each.rule == rule)
        log.warning(
            "%d cases left out: %s (%s/%s: %s)",
            count,
            rule,
            first.dataset,
            first.case,
            first.detail,
        )


def _warn_of_size(groups: Sequence[Group]) -> None:
    """Say it where look-alikes have chained many patients together."""
    people = [len({person(case) for case in group.cases}) for group in groups]
    if max(people) > max(_FEW, sum(people) * _MUCH):
        log.warning(
            "%d of %d patients are one group, as their images look alike: see look_alikes.csv",
            max(people),
            sum(people),
        )


def _warn_of_empty(job: CurateJob, samples: Counter[Split]) -> None:
    """Say it where patients are too few, or too large, for every part to get one."""
    if job.splits is not None:
        return
    for part, share in job.shares().items():
        if share and not samples[part]:
            log.warning(
                "the %s part is empty, for which --split has %g %%: give more patients, or a larger "
                "share",
                part,
                100 * share,
            )


def _write(
    job: CurateJob,
    datasets: Sequence[Dataset],
    results: Sequence[Result],
    excluded: Sequence[Exclusion],
    known: _Given,
) -> Collection:
    """Divide what was converted, and write the index and the reports."""
    cases = [case for result in results for case in result.cases]
    sizes = Counter((s.dataset, s.case) for result in results for s in result.samples)
    alike = list(look_alikes(cases))
    groups = grouped(cases, sizes, alike if job.look_alikes == "join" else None)
    _warn_of_size(groups)
    parts = known.divide(groups)
    place = {
        (case.dataset, case.case): (group.name, parts[group.name])
        for group in groups
        for case in group.cases
    }
    samples = [
        replace(s, group=place[s.dataset, s.case][0], split=place[s.dataset, s.case][1])
        for result in results
        for s in result.samples
    ]
    by_part = {case: part for case, (_, part) in place.items()}
    check_division(cases, by_part, alike if job.look_alikes == "join" else None)
    _warn_of_empty(job, Counter(sample.split for sample in samples))
    root = job.output
    report.write_look_alikes(alike, root / "look_alikes.csv")
    report.write_held_out(samples, root / "held_out.txt")
    write_manifest(
        (case for case in cases if by_part[case.dataset, case.case] != "test"),
        root / "manifest.csv",
        overwrite=True,
    )
    notes = counted(text for result in results for _, _, text in result.notes)
    facts = _facts(
        job, datasets, samples=samples, excluded=excluded, groups=groups, alike=alike, notes=notes
    )
    collection = Collection.write(root, samples, facts)
    with atomic_path(root / "summary.md") as path:
        path.write_text(report.markdown(collection.facts), encoding="utf-8")
    return collection


def _facts(
    job: CurateJob,
    datasets: Sequence[Dataset],
    samples: Sequence[Sample],
    excluded: Sequence[Exclusion],
    groups: Sequence[Group],
    alike: Sequence[LookAlike],
    notes: dict[str, int],
) -> dict[str, Any]:
    from importlib.metadata import version

    shards = {sample.shard for sample in samples}
    return {
        "promptseg": __version__,
        "options": job.request(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "pillow")},
        },
        "datasets": [dataset.to_json() for dataset in datasets],
        "targets": sum(len(sample.targets) for sample in samples),
        "bytes": sum((job.output / SHARDS / name).stat().st_size for name in shards),
        "groups": len(groups),
        "largest_group": max(len(group.cases) for group in groups),
        "look_alikes": len(alike),
        "counts": report.counts_of(samples),
        "excluded": report.exclusion_counts(excluded),
        "notes": notes,
        "licences": report.licences_of(samples),
    }
