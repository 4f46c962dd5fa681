"""What a list costs: measured with one and two workers, and a model of 100,000 scans on 1 to 100 nodes.

    python benchmarks/cluster_cost.py -o benchmarks/results/DATE_cluster_cost.md
    python benchmarks/cluster_cost.py --ray ...      with promptseg[ray]: a Ray cluster here, too

Every way is measured in a process of its own, in turns, with one thread per worker: the loop that a
user would write; `promptseg segment` on the list by one process and by two; with --ray the same by one
and two workers of a cluster, and tasks that do nothing, for what the cluster itself takes. The parts
of the model (reading, computing, writing, starting, how two workers slow each other) are measured on
other scans than the runs that it then has to predict, which takes what a slice took there times the
slices of each scan.

The simulation draws cases from the measured ones, scaled to the size of scans in an archive (--slices,
--scan-mb), and moves them through nodes whose processes compute while the next scans are read, storage
that all share, each node's network, and the one process that drives.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

MODEL = "promptseg-lite"
NODES = (1, 2, 5, 10, 20, 50, 100)
STORAGE = (0.1e9, 0.3e9, 1e9, 3e9, 10e9)  # bytes a second


def made(folder: Path, count: int, slices: int, side: int, seed: int) -> Path:
    """Scans with a bright block each, and the list of them."""
    import nibabel as nib
    import numpy as np

    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = ["image,box"]
    for k in range(count):
        depth = max(1, int(slices * rng.uniform(0.5, 1.5)))
        values = rng.normal(50, 10, (depth, side, side)).astype(np.int16)
        low, high = side // 4 + k % 9, side // 2 + k % 9
        values[:, low:high, low:high] += 120
        nib.save(nib.Nifti1Image(values.T, np.eye(4)), folder / f"{k}.nii.gz")
        box = f"{low - 2},{low - 2},{high + 2},{high + 2}@{depth // 2}=block"
        rows.append(f'{k}.nii.gz,"{box}"')
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def job(source: Path, out: Path, **more: Any) -> Any:
    from promptseg.segment.options import SegmentJob

    how = {"model": MODEL, "engine": "eager", "device": "cpu", "threads": 1, "overlay": False}
    return SegmentJob(input=source, output=out, quiet=True, **how, **more)


def parts(source: Path, out: Path) -> dict[str, Any]:
    """Seconds of the stages of every case, of the network in it, and of loading."""
    from promptseg.formats.outputs import Reads
    from promptseg.jobs.image_task import tools_for
    from promptseg.jobs.listed import Segmenting

    verb = Segmenting(job(source, out))
    begun = time.perf_counter()
    tools = tools_for(verb.job, None, Reads([source]))
    loading = time.perf_counter() - begun
    network = _timed(tools.segmenter.predictor)
    rows = []
    for warm in (True, False):
        for case in list(verb.cases)[: 1 if warm else None]:
            task = verb.task(case)
            times, before = [time.perf_counter()], sum(network)
            given = task.read(tools.reads)
            times.append(time.perf_counter())
            computed = task.compute(tools, given)
            times.append(time.perf_counter())
            task.write(tools.reads, given, computed)
            times.append(time.perf_counter())
            stages = [b - a for a, b in pairwise(times)]
            place = verb.place(case)
            if warm:
                for path in place.parent.glob(f"{place.name}*"):
                    path.unlink()
            else:
                rows.append(
                    {
                        "stages": stages,
                        "network": sum(network) - before,
                        "slices": given.image.voxels.shape[0],
                        "read": case.image.stat().st_size,
                        "written": sum(
                            p.stat().st_size for p in place.parent.glob(f"{place.name}*")
                        ),
                    }
                )
    return {"loading": loading, "rows": rows}


def _timed(predictor: Any) -> list[float]:
    """Durations of the network's calls, as they are made."""
    found: list[float] = []

    def around(function: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*given, **more)
            finally:
                found.append(time.perf_counter() - begun)

        return call

    for name in ("encode", "decode"):
        setattr(predictor.model, name, around(getattr(predictor.model, name)))
    return found


def loop(source: Path, out: Path) -> dict[str, Any]:
    """What a user would write: one scan after another."""
    import csv

    from promptseg import load, read
    from promptseg.prompts import typed_prompts

    begun = time.perf_counter()
    segmenter = load(MODEL, device="cpu", threads=1, engine="eager")
    out.mkdir()
    with source.open(newline="") as stream:
        for row in csv.DictReader(stream):
            image = read(source.parent / row["image"])
            prompts = typed_prompts(job(source, out, box=(row["box"],)))
            segmenter.segment(image, *prompts).save(out / row["image"])
    return {"seconds": time.perf_counter() - begun}


def listed(source: Path, out: Path, **more: Any) -> dict[str, Any]:
    from promptseg.jobs.listed import segment_list
    from promptseg.jobs.results_table import read_results

    begun = time.perf_counter()
    tally = segment_list(job(source, out, **more)).tally
    seconds = time.perf_counter() - begun
    assert tally.failed == 0
    work = sum(float(line["seconds"]) for line in read_results(out))
    return {"seconds": seconds, "work": work, "cases": tally.done}


def on_ray(source: Path, out: Path, workers: int) -> dict[str, Any]:
    """The same by a Ray cluster on this machine."""
    with _cluster() as address:
        begun = time.process_time()
        found = listed(source, out, cluster=address, workers=workers)
        return {**found, "driver": (time.process_time() - begun) / max(1, found["cases"])}


def nothing(count: int) -> dict[str, Any]:
    """What the cluster takes for tasks that do nothing."""
    from cluster_units import Nothing, no_context, no_hand

    from promptseg.work.cluster import OnCluster

    with _cluster() as address, OnCluster(address, no_context, no_hand, workers=1, threads=1) as on:
        tasks = iter([Nothing(k) for k in range(count + 20)])
        ended = []
        cpu = []
        for _ in on.each(tasks):
            ended.append(time.perf_counter())
            cpu.append(time.process_time())
    span = ended[-1] - ended[19]  # the first ones wait for processes
    return {"each": span / count, "driver": (cpu[-1] - cpu[19]) / count}


def _cluster() -> Any:
    from contextlib import contextmanager

    from ray.cluster_utils import Cluster

    @contextmanager
    def running() -> Any:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        head = {"num_cpus": 4, "object_store_memory": 300 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()

    return running()


def one(way: str, source: Path, out: Path, count: int) -> dict[str, Any]:
    if way == "parts":
        return parts(source, out)
    if way == "loop":
        return loop(source, out)
    if way == "nothing":
        return nothing(count)
    if way.startswith("ray"):
        return on_ray(source, out, int(way[3:]))
    return listed(source, out, workers=int(way[4:]))


@dataclass(frozen=True)
class Scan:
    """A case in the simulation: CPU seconds of the stages, bytes that are moved."""

    read_cpu: float
    compute: float
    write_cpu: float
    read_bytes: float
    written_bytes: float


@dataclass(frozen=True)
class Site:
    """What the simulated work runs on.

    Attributes:
        nodes, processes: how many nodes, and processes that compute on each.
        storage, network: bytes a second, of the storage for all and of each node.
        latency: seconds until storage begins to answer.
        driver: seconds that the driving process takes for each case; 0 without one (shares).
        start: seconds until a process has its model.
        ahead: scans that are read ahead for each process; 0: reading and computing take turns.
    """

    nodes: int
    processes: int
    storage: float
    network: float = 1.25e9
    latency: float = 0.03
    driver: float = 0.0
    start: float = 5.0
    ahead: int = 3


@dataclass(frozen=True)
class Simulated:
    """Seconds until all is done, and how busy everything was."""

    seconds: float
    workers: float
    storage: float
    driver: float


def simulate(scans: list[Scan], site: Site) -> Simulated:
    """Move all scans through a site.

    Storage and the networks of nodes serve one transfer after another at their full rate, which moves
    as much as if transfers shared it; the CPU work of reading and writing is done by the processes'
    own CPUs.
    """
    storage_free = driver_free = 0.0
    network_free = [0.0] * site.nodes
    busy = moved = driven = 0.0
    queue = deque(scans)
    workers = site.nodes * site.processes
    ready: list[deque[tuple[float, Scan]]] = [deque() for _ in range(workers)]

    def transfer(at: float, node: int, size: float) -> float:
        nonlocal storage_free, moved
        begun = max(at, storage_free)
        storage_free = begun + size / site.storage
        moved += size
        network_free[node] = max(begun, network_free[node]) + size / site.network
        return max(storage_free, network_free[node]) + site.latency

    def ask(at: float, worker: int) -> None:
        """Have the next scan read for a process, if there is one."""
        nonlocal driver_free, driven
        if not queue:
            return
        scan = queue.popleft()
        driver_free = max(at, driver_free) + site.driver
        driven += site.driver
        ready[worker].append(
            (transfer(driver_free, worker // site.processes, scan.read_bytes), scan)
        )

    events = [(site.start, worker) for worker in range(workers)]
    heapq.heapify(events)
    for _ in range(site.ahead):  # read while models are loaded, one for each process in turn
        for _, worker in sorted(events):
            ask(0.0, worker)
    end = 0.0
    while events:
        now, worker = heapq.heappop(events)
        if not ready[worker]:
            ask(now, worker)
            if not ready[worker]:
                continue
        there, scan = ready[worker].popleft()
        if there > now:  # come back when it is read, so that transfers stay in order
            ready[worker].appendleft((there, scan))
            heapq.heappush(events, (there, worker))
            continue
        if site.ahead:
            ask(now, worker)
        work = scan.read_cpu + scan.compute + scan.write_cpu
        busy += work
        moved += scan.written_bytes
        storage_free = max(storage_free, now) + scan.written_bytes / site.storage
        end = max(end, now + work)
        heapq.heappush(events, (now + work, worker))
    end = max(end, storage_free)
    return Simulated(
        end, busy / (end * workers), min(1.0, moved / site.storage / end), driven / end
    )


def scans_of(
    rows: list[dict[str, Any]], count: int, factor: float = 1.0, mb: float = 0.0
) -> list[Scan]:
    """Scans drawn from measured ones.

    Args:
        rows: the measured ones.
        count: how many are drawn.
        factor: how many times as many slices they have.
        mb: megabytes of a file on average; as measured, times the factor, if 0.
    """
    chance = random.Random(0)
    usual = mean(row["read"] for row in rows)
    found = []
    for _ in range(count):
        row = chance.choice(rows)
        read, compute, write = (factor * s for s in row["stages"])
        size = row["read"] / usual * mb * 1e6 if mb else row["read"] * factor
        found.append(Scan(read, compute, write, size, row["written"] * factor))
    return found


def scans_like(rows: list[dict[str, Any]], slices: list[int]) -> list[Scan]:
    """Scans of so many slices each, at what a slice took in measured ones.

    Drawing them would add the chance of the draw: 16 drawn ones had a tenth more slices than those that
    were measured.

    Args:
        rows: the measured ones.
        slices: of each scan, in their order.
    """
    each = sum(row["slices"] for row in rows)
    stages = [sum(row["stages"][k] for row in rows) / each for k in range(3)]
    moved = [sum(row[name] for row in rows) / each for name in ("read", "written")]
    return [Scan(*(count * one for one in (*stages, *moved))) for count in slices]


def slices_in(source: Path) -> list[int]:
    """How many slices each scan of a list has, in its order."""
    import csv

    import nibabel as nib

    with source.open(newline="") as stream:
        return [nib.load(source.parent / row["image"]).shape[2] for row in csv.DictReader(stream)]


def local(workers: int, start: float, ahead: int) -> Site:
    """This machine: its disk does not count."""
    return Site(1, workers, 1e12, 1e12, 0.0, 0.0, start, ahead)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=40, help="of each measured run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=300, help="of a scan of the archive")
    parser.add_argument("--scan-mb", type=float, default=70.0, help="of its file")
    parser.add_argument("--processes", type=int, default=16, help="on a simulated node")
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--made-slices", type=int, default=6)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--nothings", type=int, default=500)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--way")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(one(options.way, options.source, options.out, options.nothings)))
        return
    lines = report(options)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measured_in_process(way: str, source: Path, folder: Path, nothings: int) -> dict[str, Any]:
    """Do one way in a process of its own."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "out"
    words = ["--way", way, "--source", source, "--out", out, "--nothings", nothings]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = {name: value for name, value in found.items() if name != "rows"}
    print(way, source.parent.name, told, flush=True)
    return found


def report(options: argparse.Namespace) -> list[str]:
    ways = ["loop", "list1", "list2", *(["ray1", "ray2"] if options.ray else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = (options.made_slices, options.side)
        calibration = made(folder / "calibration", max(6, options.cases // 2), *size, seed=1)
        source = made(folder / "cases", options.cases, *size, seed=2)
        # as many cases as workers, of one small slice each: what starting takes
        tiny = made(folder / "tiny", 2, 1, 32, seed=3)

        def run(way: str, of: Path) -> dict[str, Any]:
            return measured_in_process(way, of, folder, options.nothings)

        rows: list[dict[str, Any]] = []
        both: list[dict[str, Any]] = []
        times: dict[str, list[float]] = {way: [] for way in ways}
        starts: dict[str, list[float]] = {way: [] for way in ways if way != "loop"}
        slices = slices_in(source)
        for _ in range(options.rounds):
            # the parts in every round, as the machine is not the same at every moment; and by two
            # at once, on the same scans: how much they slow each other
            rows += run("parts", calibration)["rows"]
            begun = [_started(folder, calibration) for _ in range(2)]
            both += [row for found in map(_ended, begun) for row in found["rows"]]
            for way in ways:
                times[way].append(run(way, source)["seconds"])
                if way in starts:  # without the work itself, which workers do side by side
                    found = run(way, tiny)
                    starts[way].append(found["seconds"] - found["work"] / int(way[-1]))
        idle = run("nothing", source) if options.ray else None
    total = mean(sum(row["stages"]) for row in rows)
    slowed = mean(sum(row["stages"]) for row in both) / total
    outside = 1 - sum(row["network"] for row in rows) / sum(sum(row["stages"]) for row in rows)
    stages = [mean(row["stages"][k] for row in rows) for k in range(3)]
    lines = [
        f"# What a list costs ({time.strftime('%Y-%m-%d')})",
        "",
        f"{options.cases} scans of about {options.made_slices} x {options.side} x {options.side}, "
        f"{MODEL}, eager, one thread a worker, {os.cpu_count()} CPUs; medians of {options.rounds} "
        f"rounds in turns. Of a case's {total:.2f} s, {stages[0]:.2f} s are reading, "
        f"{stages[1]:.2f} s computing, {stages[2]:.2f} s writing; {outside:.0%} is outside the "
        f"network. Two at once take {slowed:.2f} times as long each.",
        "",
        "| way | s | of the loop | predicted s | off by |",
        "|---|---|---|---|---|",
    ]
    alone, together = scans_like(rows, slices), scans_like(both, slices)
    for way in ways:
        seconds = median(times[way])
        of_loop = seconds / median(times["loop"])
        if way == "loop":
            lines.append(f"| {_named(way)} | {seconds:.1f} | 1.00 | | |")
            continue
        workers = int(way[-1])
        start = median(starts[way])
        site = local(workers, start, 3 if way.startswith("ray") else 0)
        guess = simulate(together if workers > 1 else alone, site).seconds
        off = f"{guess:.1f} | {guess / seconds - 1:+.0%}"
        lines.append(f"| {_named(way)} | {seconds:.1f} | {of_loop:.2f} | {off} |")
    for kind in ["list", *(["ray"] if options.ray else [])]:
        first, second = median(times[f"{kind}1"]), median(times[f"{kind}2"])
        work = [first - median(starts[f"{kind}1"]), second - median(starts[f"{kind}2"])]
        lines += [
            "",
            f"Two workers of `{kind}` are {first / second:.2f} times as quick as one, "
            f"{work[0] / work[1]:.2f} times without the time that starting takes.",
        ]
    driver = 0.0
    if idle is not None:
        driver = idle["driver"]
        lines += [
            "",
            f"A task that does nothing takes {1000 * idle['each']:.1f} ms on the cluster, of which the "
            f"driving process computes {1000 * driver:.1f} ms ({options.nothings} tasks, one worker).",
        ]
    return [*lines, *_archive(options, rows, driver)]


def _archive(options: argparse.Namespace, rows: list[dict[str, Any]], driver: float) -> list[str]:
    """The simulated archive."""
    factor = options.slices / mean(row["slices"] for row in rows)
    scans = scans_of(rows, options.scans, factor, options.scan_mb)
    start = 10.0
    driver = driver or 0.005
    each = mean(s.read_cpu + s.compute + s.write_cpu for s in scans)
    moved = sum(s.read_bytes + s.written_bytes for s in scans)
    lines = [
        "",
        f"## {options.scans:,} scans of {options.slices} slices and {options.scan_mb:g} MB, simulated",
        "",
        f"Cases as measured, times {factor:.0f} for their slices: {each:.1f} s each; "
        f"{moved / 1e12:.1f} TB are moved. Nodes with {options.processes} processes and 1.25 GB/s; the "
        f"driver takes {1000 * driver:.1f} ms a case. Hours, and in brackets how linear: the time on "
        "one node with the quickest storage, divided by nodes and by this time; and what is busiest.",
        "",
        "| nodes | " + " | ".join(f"{rate / 1e9:g} GB/s" for rate in STORAGE) + " |",
        "|---|" + "---|" * len(STORAGE),
    ]
    alone = 0.0
    for nodes in NODES:
        cells = []
        for rate in reversed(STORAGE):
            found = simulate(
                scans, Site(nodes, options.processes, rate, driver=driver, start=start)
            )
            alone = alone or found.seconds
            busy = max(
                ("CPUs", found.workers),
                ("storage", found.storage),
                ("driver", found.driver),
                key=lambda b: b[1],
            )
            cells.append(
                f"{found.seconds / 3600:.2f} ({alone / nodes / found.seconds:.0%}) {busy[0]}"
            )
        lines.append(f"| {nodes} | " + " | ".join(reversed(cells)) + " |")
        print(lines[-1], flush=True)
    return lines


def _started(folder: Path, source: Path) -> subprocess.Popen[str]:
    out = Path(tempfile.mkdtemp(dir=folder)) / "out"
    words = ["--way", "parts", "--source", source, "--out", out]
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate()
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _named(way: str) -> str:
    if way == "loop":
        return "the loop a user would write"
    kind = "a Ray cluster here" if way.startswith("ray") else "the list"
    return f"{kind}, {way[-1]} worker{'s' if way[-1] != '1' else ''}"


if __name__ == "__main__":
    main()
