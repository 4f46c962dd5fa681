"""Findings of a check before training, and which of them speak against training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from promptseg.curate.estimate import Estimate
from promptseg.curate.leaking import Alike, Divided
from promptseg.curate.preflight_reading import Damage
from promptseg.curate.sizes import GRID, TINY, Sizes
from promptseg.curate.statistics import Statistics
from promptseg.datasets.collection import SPLITS, Sample, Split
from promptseg.datasets.description import is_open_licence
from promptseg.metrics.statistics import FEWEST_PAIRS

__all__ = ["Balance", "Preflight", "balance_of", "errors_of", "warnings_of"]

_NAMED = 5  # of many, in one message
_IMBALANCE = 100
_LARGEST_SHARE = 50  # percent of the patients that a test part may take


class Balance(NamedTuple):
    """The number of masks of a class, by part.

    Attributes:
        name: of the class.
        masks: of all parts.
        train, validation, test: masks of each part.
    """

    name: str
    masks: int
    train: int
    validation: int
    test: int


@dataclass
class Preflight:
    """The findings of a check before training.

    Attributes:
        collection: its folder.
        sha256: of its index.
        model: that was asked about.
        statistics: counts of images and masks.
        sizes: of targets by modality, of all at the end.
        balance: of classes, most masks first.
        leaks: groups, patients and 2D images in several parts.
        alike: pairs of different parts that look alike, among the samples that were read.
        damaged: among the samples that were read.
        read: how many samples were read.
        licences: dataset -> licences, as stated.
        report_part: which part the report of a training will be on.
        reported: patients in it.
        estimate: of time and memory; None if it was not measured.
        read_seconds: of one sample, with its preprocessing, by one process.
        errors: one line each; training should not be started.
        warnings: one line each.
    """

    collection: Path
    sha256: str
    model: str
    statistics: Statistics
    sizes: list[Sizes]
    balance: list[Balance]
    leaks: list[Divided]
    licences: dict[str, list[str]]
    report_part: Split = "test"
    reported: int = 0
    alike: list[Alike] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)
    read: int = 0
    estimate: Estimate | None = None
    read_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Tell whether training may start."""
        return not self.errors


def balance_of(samples: Sequence[Sample]) -> list[Balance]:
    """Count the masks of every class, by part; most masks first."""
    counts = {part: Counter[str]() for part in SPLITS}
    for sample in samples:
        counts[sample.split].update(target.name for target in sample.targets)
    total = sum(counts.values(), Counter())
    return [
        Balance(name, masks, *(counts[part][name] for part in SPLITS))
        for name, masks in sorted(total.items(), key=lambda item: (-item[1], item[0]))
    ]


def errors_of(found: Preflight) -> list[str]:
    """Return the findings that make training pointless, a line each: expected X, got Y; do Z."""
    total, lines = found.statistics.total, []
    for part, why in (("train", "nothing to learn from"), ("validation", "no way to stop")):
        if not getattr(total, part):
            lines.append(f"expected a {part} part, got none: {why}; curate with another --split")
    lines += [f"expected {leak}; curate the data again" for leak in found.leaks[:_NAMED]]
    if (more := len(found.leaks) - _NAMED) > 0:
        lines.append(f"expected no leaks, got {more} more; see preflight.json")
    if found.damaged:
        few = _few([f"{d.key} in {d.shard} ({d.reason})" for d in found.damaged])
        lines.append(
            f"expected samples that agree with their index, got {len(found.damaged)} of "
            f"{found.read} that cannot be used: {few}; curate the data again"
        )
    if found.sizes[-1].tiny == found.sizes[-1].targets:
        lines.append(
            f"expected targets of {TINY:g} pixels and more on the {GRID} x {GRID} masks of "
            f"{found.model}, got {found.sizes[-1].targets} with fewer, which are all; "
            "cut the images closer to them"
        )
    return lines


def warnings_of(found: Preflight) -> list[str]:
    """Return the findings that should be known before training, a line each."""
    lines = []
    if not found.statistics.total.test:
        lines.append("no test part: nothing will tell how good the model is in the end")
    lines += _about_verdict(found)
    overall = found.sizes[-1]
    if 0 < overall.tiny < overall.targets:
        lines.append(
            f"{overall.tiny} of {overall.targets} targets ({overall.tiny / overall.targets:.2%}) have "
            f"fewer than {TINY:g} pixels on the {GRID} x {GRID} masks of {found.model}"
        )
    if found.alike:
        pair = found.alike[0]
        lines.append(
            f"{len(found.alike)} pairs of different parts look alike, first {pair.first} "
            f"({pair.parts[0]}) and {pair.second} ({pair.parts[1]}), {pair.bits} of 256 bits apart"
        )
    closed = [
        name for name, texts in found.licences.items() if not all(map(is_open_licence, texts))
    ]
    if closed:
        lines.append(
            f"licences of {len(closed)} of {len(found.licences)} datasets are not known to be open: "
            f"{_few(closed)}; read them before you publish a model"
        )
    unchecked = [b.name for b in found.balance if b.train and not b.validation]
    unseen = [b.name for b in found.balance if b.validation + b.test and not b.train]
    if unchecked:
        lines.append(f"classes without a mask in validation: {_few(unchecked)}")
    if unseen:
        lines.append(f"classes without a mask in training: {_few(unseen)}")
    counts = [b.train for b in found.balance if b.train]
    if counts and max(counts) > _IMBALANCE * min(counts):
        lines.append(
            f"the most frequent class has {max(counts) / min(counts):.0f} times the rarest"
        )
    if found.read < found.statistics.total.images:
        lines.append(f"{found.read} of {found.statistics.total.images} samples were read; --all")
    lines += _about_cost(found)
    return lines


def _about_verdict(found: Preflight) -> list[str]:
    """What is said where the report of a training could not come to a verdict."""
    if found.reported >= FEWEST_PAIRS:
        return []
    people = found.statistics.total.patients
    share = 100 * FEWEST_PAIRS / max(1, people)
    do = (
        f"give it {share:.0f} % or more of the {people} patients with --split"
        if share <= _LARGEST_SHARE
        else f"{people} patients are too few to divide, add some"
    )
    count = f"{found.reported} patient{'s' if found.reported != 1 else ''}"
    return [
        f"no verdict: the report of a training will be on the {found.report_part} part, which has "
        f"{count}, and will say 'too few to tell' below {FEWEST_PAIRS}; {do}"
    ]


def _about_cost(found: Preflight) -> list[str]:
    if found.estimate is None:
        return []
    lines = []
    has = found.estimate.cost.memory_bytes
    if found.estimate.cost.busy:
        lines.append("other programs were at work while time was measured: it may be too long")
    if has and found.estimate.peak_bytes > has:
        lines.append(
            f"{found.estimate.peak_bytes / 2**30:.1f} GiB are needed where {has / 2**30:.1f} GiB are; "
            "take fewer images at a time"
        )
    if found.read_seconds > found.estimate.seconds_per_image:
        lines.append(
            f"reading takes {found.read_seconds:.3g} s per image, longer than computing: give the "
            f"loader {int(found.read_seconds / found.estimate.seconds_per_image) + 2} processes"
        )
    return lines


def _few(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
