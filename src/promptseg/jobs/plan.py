"""Cost of a long list, told before it is begun: some of its cases are done, and measured."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from promptseg.datasets.case_list import Case
from promptseg.errors import InputError, PromptsegError
from promptseg.formats.location import address_in, storage_in
from promptseg.formats.outputs import Reads
from promptseg.formats.own_temporary import private_folder
from promptseg.jobs.image_task import tools_for
from promptseg.jobs.listed import CaseTask, Segmenting
from promptseg.jobs.lists import checked
from promptseg.jobs.plan_options import PlanJob
from promptseg.models.cards import model_file
from promptseg.runtime import set_threads
from promptseg.work import Shard

__all__ = ["Estimate", "Plan", "PlanJob", "drawn", "estimated_total", "plan_list"]

T = TypeVar("T")

_RESAMPLES = 2000
_NODES = (1, 10, 100)


@dataclass(frozen=True)
class Estimate:
    """A value for the whole list, and between which values it lies with 95 %."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """Multiply the estimate and its interval by a factor."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Plan:
    """Estimate of what a list will take.

    Attributes:
        cases: of the list, or of the share that was asked for.
        absent: images that are not there.
        measured, failed: cases that were drawn, and those of them that could not be done.
        seconds: of one process for all, without loading the model.
        stages: share of the time that reading, computing and writing take.
        slowest: seconds of the slowest measured case.
        loading: seconds until a process has the model.
        memory: bytes that a process takes at most.
        read_bytes, written_bytes: files for all.
        embedding_bytes: of all embeddings, where they are to be kept.
        decoding: share of the time that a second prompt takes, where embeddings are kept.
        threads: of a process.
        processes: that a node has room for.
        limit: what limits them, "CPUs" or "memory".
        free: bytes where the results would go.
    """

    cases: int
    absent: int
    measured: int
    failed: int
    seconds: Estimate
    stages: tuple[float, float, float]
    slowest: float
    loading: float
    memory: int
    read_bytes: Estimate
    written_bytes: Estimate
    embedding_bytes: Estimate | None
    decoding: float | None
    threads: int
    processes: int
    limit: str
    free: int | None

    @property
    def node_hours(self) -> Estimate:
        """Return the hours of whole nodes, each full of processes."""
        return self.seconds.times(1 / 3600 / self.processes)

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {**dataclasses.asdict(self), "node_hours": dataclasses.asdict(self.node_hours)}

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        read, compute, write = self.stages
        hours = self.seconds.times(1 / 3600)
        found = [
            _row(
                "cases", f"{self.cases:,}; {self.measured} measured, {self.failed} of them failed"
            ),
            _row("time", f"{_span(hours)} of one process with {self.threads} threads"),
            _row("", f"reading {read:.0%}, computing {compute:.0%}, writing {write:.0%}"),
            _row(
                "", f"slowest measured {self.slowest:.1f} s; loading the model {self.loading:.1f} s"
            ),
            _row("memory", f"{self.memory / 2**30:.1f} GiB a process"),
            _row("storage", f"{_size(self.read_bytes)} read, {_size(self.written_bytes)} written"),
        ]
        if self.absent:
            found.insert(1, _row("", f"{self.absent:,} images are not there"))
        if self.embedding_bytes is not None:
            found.append(_row("embeddings", f"{_size(self.embedding_bytes)} more"))
        if self.decoding is not None:
            found.append(_row("", f"another prompt then takes {self.decoding:.0%} of the time"))
        processes = "process" if self.processes == 1 else "processes"
        found.append(_row("a node", f"has room for {self.processes} {processes} ({self.limit})"))
        found.append(_row("node hours", _span(self.node_hours)))
        each = (f"{count} nodes {self.node_hours.value / count:,.1f} h" for count in _NODES[1:])
        found.append(_row("", f"{', '.join(each)}, if storage keeps up"))
        needed = self.written_bytes.high + (
            self.embedding_bytes.high if self.embedding_bytes else 0
        )
        if self.free is not None and needed > self.free:
            found.append(
                _row("warning", f"{self.free / 1e9:,.1f} GB are free where the results would go")
            )
        return found


def plan_list(job: PlanJob) -> Plan:
    """Measure some cases of a list and reckon up the rest.

    Raises:
        PromptsegError: a list that cannot be done, or no case of it that could be measured.
    """
    shard = Shard.parse(job.shard)
    with private_folder() as folder:
        kept = None if job.embeddings is None else folder / "embeddings"
        one = dataclasses.replace(
            job, output=folder / "out", overwrite=True, quiet=True, shard=None, embeddings=kept
        )
        verb = Segmenting(one)
        total, absent = checked(verb.cases, verb)
        cases = drawn(shard.of(verb.cases), job.sample, job.seed)
        threads = set_threads(job.threads)
        begun = time.monotonic()
        reads = Reads([job.input, model_file(job.model)[1]])
        tools = tools_for(one, None, reads)
        loading = time.monotonic() - begun
        found: list[_Measured] = []
        failed, first = 0, True
        error: PromptsegError | None = None
        for case in cases:
            try:
                if first:  # networks are slow when they run for the first time
                    _measured(verb.task(case), tools)
                    _forget(kept)
                found.append(_measured(verb.task(case), tools))
                first = False
            except PromptsegError as failure:
                failed, error = failed + 1, failure
        if not found:
            raise InputError(
                "a case that can be measured",
                f"{failed} that failed, the last with: {error}",
                "correct the list or the options",
            )
        embeddings, decoding = _kept(found, verb, cases, tools, kept)
    own = shard.size(total)
    seconds = np.array([m.stages for m in found])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    room = (job.node_memory or _machine_memory() / 2**30) * 2**30
    by_cpus, by_memory = max(1, job.node_cpus // threads), max(1, int(0.9 * room // memory))
    parts = seconds.sum(axis=0) / seconds.sum()
    return Plan(
        cases=own,
        absent=absent,
        measured=len(cases),
        failed=failed,
        seconds=estimated_total(seconds.sum(axis=1), own, job.seed),
        stages=(float(parts[0]), float(parts[1]), float(parts[2])),
        slowest=float(seconds.sum(axis=1).max()),
        loading=loading,
        memory=memory,
        read_bytes=estimated_total([m.read for m in found], own, job.seed),
        written_bytes=estimated_total([m.written for m in found], own, job.seed),
        embedding_bytes=None if embeddings is None else estimated_total(embeddings, own, job.seed),
        decoding=decoding,
        threads=threads,
        processes=min(by_cpus, by_memory),
        limit="CPUs" if by_cpus <= by_memory else "memory",
        free=_free(job.output),
    )


def drawn(items: Iterable[T], count: int, seed: int) -> list[T]:
    """Choose items at random, each with the same chance, without ever holding all of them.

    Examples:
        >>> sorted(drawn(range(3), 5, 0))
        [0, 1, 2]
    """
    chance = random.Random(seed)
    kept: list[T] = []
    for k, item in enumerate(items):
        if k < count:
            kept.append(item)
        elif (place := chance.randrange(k + 1)) < count:
            kept[place] = item
    return kept


def estimated_total(values: Sequence[float], count: int, seed: int = 0) -> Estimate:
    """Estimate the sum over all cases, of which some were drawn, with its 95 % interval (bootstrap).

    Args:
        values: of the drawn ones.
        count: how many there are.
        seed: of the bootstrap.
    """
    given = np.asarray(values, float)
    if len(given) >= count:  # all of them were measured
        total = float(given.sum())
        return Estimate(total, total, total)
    rng = np.random.default_rng(seed)
    means = rng.choice(given, (_RESAMPLES, len(given))).mean(axis=1)
    # the mean of n resampled values varies by (n - 1)/n too little, and by what was drawn of all
    mean = given.mean()
    spread = math.sqrt(len(given) / max(1, len(given) - 1) * (1 - len(given) / count))
    low, high = np.percentile(mean + (means - mean) * spread, [2.5, 97.5])
    return Estimate(count * float(mean), count * float(low), count * float(high))


@dataclass(frozen=True)
class _Measured:
    stages: tuple[float, float, float]
    read: int
    written: int
    embeddings: int


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def _measured(task: Any, tools: Any) -> _Measured:
    """Do one case in its stages."""
    if not isinstance(task, CaseTask):
        task.do(tools)
    times = [time.perf_counter()]
    given = task.read(tools.reads)
    times.append(time.perf_counter())
    computed = task.compute(tools, given)
    times.append(time.perf_counter())
    task.write(tools.reads, given, computed)
    times.append(time.perf_counter())
    reading, computing, writing = (b - a for a, b in pairwise(times))
    place = task.job.output
    written = sum(path.stat().st_size for path in place.parent.glob(f"{place.name}*"))
    kept = _bytes_in(task.job.embeddings)
    return _Measured((reading, computing, writing), _bytes_of(task.job.input), written, kept)


def _kept(
    found: list[_Measured], verb: Segmenting, cases: Sequence[Case], tools: Any, folder: Path | None
) -> tuple[list[int] | None, float | None]:
    """Bytes of embeddings of each case, and what a second prompt costs with them at hand."""
    if folder is None:
        return None, None
    sizes = [m.embeddings for m in found]
    each = [after - before for before, after in zip([0, *sizes], sizes, strict=False)]
    again = 0.0
    for case in cases:
        try:
            again += sum(_measured(verb.task(case), tools).stages)
        except PromptsegError:
            continue
    return each, again / sum(sum(m.stages) for m in found)


def _forget(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _bytes_in(folder: Path | None) -> int:
    if folder is None or not folder.exists():
        return 0
    return sum(path.stat().st_size for path in folder.iterdir())


def _bytes_of(path: Path) -> int:
    """What is read of a file or folder; 0 of a server, which does not say."""
    if address_in(path) is not None:
        return 0
    if storage_in(path) is not None:
        from promptseg.formats.storage import stamp

        return int(stamp(path)[0] or 0)
    if path.is_dir():
        return sum(one.stat().st_size for one in path.iterdir() if one.is_file())
    return path.stat().st_size


def _free(folder: Path) -> int | None:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None


def _machine_memory() -> float:
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _row(name: str, said: str) -> str:
    return f"{name:<12}{said}"


def _span(hours: Estimate) -> str:
    if hours.value < 0.1:
        return f"{60 * hours.value:.2g} min ({60 * hours.low:.2g} to {60 * hours.high:.2g})"
    return f"{hours.value:,.3g} h ({hours.low:,.3g} to {hours.high:,.3g})"


def _size(size: Estimate) -> str:
    unit, name = (
        (1e12, "TB") if size.value >= 1e12 else (1e9, "GB") if size.value >= 1e9 else (1e6, "MB")
    )
    return f"{size.value / unit:,.3g} {name} ({size.low / unit:,.3g} to {size.high / unit:,.3g})"
