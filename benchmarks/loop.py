"""What choosing images buys: the loop simulated with labels as the expert, on kept embeddings.

    python benchmarks/loop.py -o benchmarks/results/DATE_loop --work FOLDER

Slices of two datasets of PROMPTSEG_DATA are encoded once (MobileSAM, frozen). For every seed a
third of the patients is the fixed validation part; the slices of the others are the pool. From the
same four slices at random each strategy adds four at a time; after every addition the semantic head
is trained anew from the same weights, and measured on all validation slices. Rows are appended as
they are done: run again to go on. Research only: no weights are kept.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from cases import data_root
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from promptseg.curate.options import CurateJob
from promptseg.datasets.collection import Collection, Sample
from promptseg.inference.predictor import Predictor
from promptseg.jobs.curate import curate
from promptseg.loop.strategies import Strategy, at_random, pick
from promptseg.loop.uncertainty import entropy
from promptseg.metrics.overlap import count
from promptseg.models.cards import CARDS
from promptseg.runtime import set_threads
from promptseg.train.kept import keep_embeddings
from promptseg.train.raster import raster_classes
from promptseg.train.semantic.classes import class_map, classes_of

DATASETS = {"mr__acdc_cardiac": 1, "mr__msd_hippocampus": 5}  # name -> every n-th slice
STRATEGIES: tuple[Strategy, ...] = ("random", "uncertainty", "diversity", "both")
MODEL = "mobile-sam"
GRID, FEATURES = 64, 64
SIZES = (4, 8, 12, 16)  # slices annotated
CELLS, RATE = 512, 3e-3  # of an update
HEAD = ("dataset", "seed", "strategy", "slices", "patient", "class", "dsc", "n", "seconds")


@dataclass
class Bench:
    """One dataset, encoded.

    Attributes:
        collection: its slices.
        names: of its classes.
        embeddings: sample key -> (C, h, w) float16.
        grids: sample key -> (GRID, GRID) classes on the grid of the logits.
        truths: sample key -> (rows, columns) classes.
        extents: sample key -> rows and columns of that grid that are image.
    """

    collection: Collection
    names: tuple[str, ...]
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    grids: dict[str, Tensor] = field(default_factory=dict)
    truths: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    extents: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, work: Path) -> Bench:
        """Cut, encode what is not encoded yet, and hold everything in memory."""
        root = data_root() / "volume" / name
        own = work / name
        if not (own / "collection" / "collection.json").exists():
            curate(
                CurateJob(
                    input=(root,),
                    output=own / "collection",
                    every_slice=DATASETS[name],
                    split="100/0/0",
                    look_alikes="report",
                    quiet=True,
                )
            )
        collection = Collection(own / "collection")
        bench = cls(collection, classes_of(collection.samples, ()))
        card = CARDS[MODEL]
        bench.embeddings = _scaled(own / "scaled.safetensors", collection, own / "embeddings")
        for sample in collection.samples:
            _, labels = collection.read(sample, card.keep_8bit)
            transform = card.preprocessing.input_transform(*sample.shape, sample.pixel)
            classes = class_map(sample.targets, labels, bench.names)
            bench.grids[sample.key] = torch.from_numpy(raster_classes(classes, transform, GRID))
            bench.truths[sample.key] = classes
            rows, columns = (max(1, round(n * GRID / transform.size)) for n in transform.resized)
            bench.extents[sample.key] = (rows, columns)
        return bench

    def features(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """(samples, C) means of the embeddings."""
        return np.stack(
            [self.embeddings[s.key].float().mean((1, 2)).double().numpy() for s in samples]
        )

    def trained(self, samples: Sequence[Sample], updates: int, seed: int) -> Head:
        """A head that learnt from some slices; it begins with the same weights for a seed.

        Half of the cells of an update are of objects, else of few of them anything would be learnt; the
        loss weighs them back by the root of how rare they are.
        """
        torch.manual_seed(seed)
        head = Head(len(self.names) + 1)
        optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.01)
        order = np.random.default_rng(seed)
        cells = torch.cat([self.embeddings[s.key].flatten(1).T for s in samples])
        truth = torch.cat([self.grids[s.key].flatten() for s in samples])
        objects, ground = (truth > 0).nonzero()[:, 0], (truth == 0).nonzero()[:, 0]
        share = len(objects) / (len(objects) + len(ground))
        weight = torch.full((len(self.names) + 1,), (2 * share) ** 0.5)
        weight[0] = (2 * (1 - share)) ** 0.5
        for update in range(updates):
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - update / updates))
            drawn = torch.cat(
                [
                    of[torch.from_numpy(order.integers(len(of), size=CELLS // 2))]
                    for of in (objects, ground)
                ]
            )
            loss = functional.cross_entropy(head(cells[drawn].float()), truth[drawn], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return head.eval().requires_grad_(False)

    def chances(self, head: Head, sample: Sample) -> Tensor:
        """(1 + classes, r, c) on the part of the logits' grid that is image."""
        rows, columns = self.extents[sample.key]
        embedding = self.embeddings[sample.key][:, :rows, :columns]
        logits = head(embedding.flatten(1).T.float()).T
        return logits.softmax(0).unflatten(1, (rows, columns))

    def measured(
        self, head: Head, samples: Sequence[Sample]
    ) -> Iterator[tuple[str, str, float, int]]:
        """Patient, class, mean DSC and number of slices that show it; on the slices' own grids."""
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        for sample in samples:
            chances = self.chances(head, sample)[None]
            found = functional.interpolate(chances, sample.shape, mode="bilinear")[0].argmax(0)
            answer, truth = found.numpy(), self.truths[sample.key]
            for number, name in enumerate(self.names, 1):
                if (truth == number).any():
                    dsc = count(truth == number, answer == number).dsc
                    groups[sample.patient, name].append(dsc)
        for (patient, name), values in sorted(groups.items()):
            yield patient, name, float(np.mean(values)), len(values)


def _scaled(file: Path, collection: Collection, folder: Path) -> dict[str, Tensor]:
    """Sample key -> its embedding in float16; over all slices, channels have mean 0 and spread 1."""
    if not file.exists():
        predictor = Predictor.load(MODEL, "cpu", engine="eager")
        samples = collection.samples
        kept = keep_embeddings(predictor, collection, samples, folder, lambda *_: None)
        every = torch.stack([kept(sample) for sample in samples])
        mean, spread = every.mean((0, 2, 3), True), every.std((0, 2, 3), keepdim=True)
        scaled = ((every - mean) / spread).half()
        save_file({s.key: scaled[k].clone() for k, s in enumerate(samples)}, file)
    found: dict[str, Tensor] = load_file(file)
    return found


class Head(nn.Module):
    """Two layers on every cell of the embedding alone.

    Much smaller than the decoder of `--task classes`, so that a hundred trainings take minutes.

    Args:
        classes: the background included.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(256, FEATURES), nn.ReLU(), nn.Linear(FEATURES, classes)
        )

    def forward(self, cells: Tensor) -> Tensor:
        """(cells, 256) -> (cells, classes) logits."""
        out: Tensor = self.layers(cells)
        return out


def parts(bench: Bench, seed: int) -> tuple[list[Sample], list[Sample]]:
    """The pool, and the validation part: a third of the patients, by lot."""
    patients = sorted({s.patient for s in bench.collection.samples})
    held = {patients[k] for k in at_random(patients, round(len(patients) / 3), seed)}
    samples = bench.collection.samples
    return (
        [s for s in samples if s.patient not in held],
        [s for s in samples if s.patient in held],
    )


def simulate(name: str, bench: Bench, seed: int, updates: int, table: Table) -> None:
    """Every strategy from the same start."""
    pool, validation = parts(bench, seed)
    features = bench.features(pool)
    features = (features - features.mean(0)) / features.std()
    first = at_random([s.key for s in pool], SIZES[0], seed)
    start: Head | None = None
    for strategy in STRATEGIES:
        chosen, model = list(first), start
        for size in SIZES:
            if size > SIZES[0]:
                rest = [k for k in range(len(pool)) if k not in set(chosen)]
                unsure = strategy in ("uncertainty", "both")
                assert model is not None
                scores = (
                    np.array([entropy(bench.chances(model, pool[k])) for k in rest])
                    if unsure
                    else None
                )
                chosen += [
                    rest[k]
                    for k in pick(
                        strategy,
                        [pool[k].key for k in rest],
                        size - len(chosen),
                        features=features[rest],
                        annotated=features[chosen],
                        scores=scores,
                        seed=1000 * seed + size,
                    )
                ]
            if size == SIZES[0] and start is not None:
                continue
            clock = time.process_time()
            model = bench.trained([pool[k] for k in chosen], updates, seed)
            seconds = time.process_time() - clock
            if size == SIZES[0]:
                start = model
            whose = strategy if size > SIZES[0] else "start"
            if not table.has(name, seed, whose, size):
                table.add(name, seed, whose, size, bench.measured(model, validation), seconds)
            print(name, seed, whose, size, f"{table.mean(name, seed, whose, size):.3f}", flush=True)


class Table:
    """Rows that are appended as they are done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with path.open(newline="") as stream:
                self.rows = list(csv.DictReader(stream))
        else:
            with path.open("w", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerow(HEAD)

    def of(self, name: str, seed: int, strategy: str, size: int) -> list[dict[str, str]]:
        """The rows of one training."""
        place = (name, str(seed), strategy, str(size))
        return [
            r for r in self.rows if (r["dataset"], r["seed"], r["strategy"], r["slices"]) == place
        ]

    def has(self, *place: object) -> bool:
        """Whether a training is there."""
        return bool(self.of(*place))  # type: ignore[arg-type]

    def mean(self, *place: object) -> float:
        """Mean over classes of the mean over slices."""
        return _macro(self.of(*place))  # type: ignore[arg-type]

    def add(
        self,
        name: str,
        seed: int,
        strategy: str,
        size: int,
        found: Iterator[tuple[str, str, float, int]],
        seconds: float,
    ) -> None:
        """All rows of a training at once."""
        new = [
            [name, seed, strategy, size, patient, target, f"{dsc:.4f}", n, f"{seconds:.1f}"]
            for patient, target, dsc, n in found
        ]
        with self.path.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(new)
        self.rows += [dict(zip(HEAD, map(str, row), strict=True)) for row in new]


def _macro(rows: Sequence[dict[str, str]]) -> float:
    classes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for r in rows:
        classes[r["class"]].append((float(r["dsc"]), int(r["n"])))
    means = [sum(d * n for d, n in v) / sum(n for _, n in v) for v in classes.values()]
    return float(np.mean(means))


def summary(table: Table, names: Sequence[str], seeds: Sequence[int]) -> list[list[str]]:
    """Per dataset and size: mean DSC of each strategy, and its difference from random.

    Intervals: 95 % bootstrap, 2000 resamples; seeds are drawn, then the patients of each, all
    strategies on the same. `curve` is the mean over all sizes after the start.
    """
    lines = []
    for name in names:
        for size in (*SIZES[1:], "curve"):
            sizes = list(SIZES[1:]) if size == "curve" else [int(size)]
            for strategy in STRATEGIES:
                mean, low, high = _difference(table, name, seeds, strategy, sizes)
                dsc = np.mean([table.mean(name, s, strategy, k) for s in seeds for k in sizes])
                said = (
                    [""] * 3 if strategy == "random" else [f"{v:+.3f}" for v in (mean, low, high)]
                )
                lines.append([name, str(size), strategy, f"{dsc:.3f}", *said])
    return lines


def _difference(
    table: Table, name: str, seeds: Sequence[int], strategy: str, sizes: Sequence[int]
) -> tuple[float, float, float]:
    """Mean difference from random, and its interval."""
    units: list[list[float]] = []  # per seed, per patient
    for seed in seeds:
        own: dict[str, list[float]] = defaultdict(list)
        for size in sizes:
            pair = [table.of(name, seed, s, size) for s in (strategy, "random")]
            for patient in sorted({r["patient"] for r in pair[0]}):
                one, other = (_macro([r for r in p if r["patient"] == patient]) for p in pair)
                own[patient].append(one - other)
        units.append([float(np.mean(v)) for v in own.values()])
    chance = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        some = [units[int(k)] for k in chance.integers(len(units), size=len(units))]
        drawn.append(np.mean([np.mean(chance.choice(u, len(u))) for u in some]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.mean([np.mean(u) for u in units])), float(low), float(high)


def figure(table: Table, names: Sequence[str], seeds: Sequence[int], path: Path) -> None:
    """DSC over slices annotated, one panel a dataset; the band is the range over the seeds."""
    from promptseg.plots.style import MARKERS, canvas, colours, legend

    colour = colours(STRATEGIES)
    with canvas(9, 3.4, panels=len(names)) as (drawn, panels):
        for axes, name in zip(panels, names, strict=True):
            for k, strategy in enumerate(STRATEGIES):
                of = ["start", *[strategy] * (len(SIZES) - 1)]
                values = 100 * np.array(
                    [
                        [table.mean(name, s, w, n) for w, n in zip(of, SIZES, strict=True)]
                        for s in seeds
                    ]
                )
                c = colour[strategy]
                axes.plot(SIZES, values.mean(0), marker=MARKERS[k], ms=4, color=c, label=strategy)
                axes.fill_between(
                    SIZES, values.min(0), values.max(0), color=c, alpha=0.1, linewidth=0
                )
            axes.set_title(name)
            axes.set_xlabel("slices annotated")
            axes.set_xticks(SIZES)
            axes.set_ylabel("DSC on validation (%)")
        legend(drawn, panels[0], len(STRATEGIES))
        drawn.savefig(path, dpi=110, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--dataset", action="append", choices=list(DATASETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    table = Table(options.output / "rows.csv")
    names, seeds = options.dataset or list(DATASETS), range(options.seeds)
    benches = {}
    for name in names:
        clock = time.process_time()
        benches[name] = Bench.of(name, options.work)
        count, seconds = len(benches[name].collection.samples), time.process_time() - clock
        print(f"{name}: {count} slices encoded, {seconds:.0f} s", flush=True)
    for seed in seeds:
        for name, bench in benches.items():
            simulate(name, bench, seed, options.updates, table)
    lines = summary(table, names, seeds)
    with (options.output / "summary.csv").open("w", newline="") as stream:
        head = ("dataset", "slices", "strategy", "dsc", "minus random", "low", "high")
        csv.writer(stream, lineterminator="\n").writerows([head, *lines])
    for line in lines:
        print("| " + " | ".join(line) + " |")
    figure(table, names, seeds, options.output / "curves.png")
    print(f"{time.process_time():.0f} s of processor time in this run")


if __name__ == "__main__":
    main()
