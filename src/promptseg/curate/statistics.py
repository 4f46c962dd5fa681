"""Statistics of a collection: per dataset and modality, as tables and as MedSAM's Fig. 2a."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptseg.curate.folder import STATISTICS, take_for_reports
from promptseg.datasets.collection import SPLITS, Collection, Sample
from promptseg.formats.files import atomic_path
from promptseg.names import for_csv, for_markdown

__all__ = ["Count", "Statistics", "count", "draw_modalities", "write_statistics"]

_COLUMNS = ("images", "masks", "cases", "patients", "targets", *SPLITS)
_DECADES = 100  # a scale that spans more is logarithmic


@dataclass(frozen=True, kw_only=True)
class Count:
    """Numbers of images, masks and patients of one dataset, one modality or all.

    Attributes:
        dataset: name; "all" in totals.
        modality: of its images; "all" in the last total.
        images: samples.
        masks: objects on them, which are the image-mask pairs of Fig. 2a.
        cases: scans, 2D images, videos or slides.
        patients: different ones.
        targets: names of the classes, by alphabet.
        train, validation, test: images of each part.
    """

    dataset: str
    modality: str
    images: int
    masks: int
    cases: int
    patients: int
    targets: tuple[str, ...]
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Statistics:
    """The tables.

    Attributes:
        datasets: one line per dataset and modality, most masks first.
        modalities: totals, most masks first.
        total: of everything.
    """

    datasets: list[Count]
    modalities: list[Count]
    total: Count

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {
            "datasets": [asdict(line) for line in self.datasets],
            "modalities": [asdict(line) for line in self.modalities],
            "total": asdict(self.total),
        }

    def lines(self) -> list[Count]:
        """Return the lines of all tables, the totals last."""
        return [*self.datasets, *self.modalities, self.total]


def count(collection: Collection) -> Statistics:
    """Count the samples of a collection; reads its index alone."""
    samples = collection.samples
    return Statistics(
        _by(samples, lambda s: (s.dataset, s.modality)),
        _by(samples, lambda s: ("all", s.modality)),
        _sum("all", "all", samples),
    )


def write_statistics(found: Statistics, folder: Path) -> list[Path]:
    """Write statistics.csv, statistics.md and modalities.png, each only when it is whole.

    Raises:
        PromptsegError: matplotlib is not installed.
        OutputError: the folder cannot be written, or holds files of others in their place.
    """
    take_for_reports(folder, STATISTICS)
    paths = [folder / name for name in STATISTICS]
    with (
        atomic_path(paths[0]) as path,
        path.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("dataset", "modality", *_COLUMNS, "names of targets"))
        for line in found.lines():
            writer.writerow(map(for_csv, (*_cells(line), "; ".join(line.targets))))
    with atomic_path(paths[1]) as path:
        path.write_text(to_markdown(found), encoding="utf-8")
    with atomic_path(paths[2]) as path:
        draw_modalities(found.modalities, path)
    return paths


def to_markdown(found: Statistics) -> str:
    """Write both tables, those of modalities first, and the chart as a page of Markdown."""
    parts = ["# Statistics\n", _sentence(found.total), "\n\n## Modalities\n\n"]
    parts.append(_table([*found.modalities, found.total], skip="dataset"))
    parts.append("\n![Image-mask pairs per modality](modalities.png)\n\n## Datasets\n\n")
    parts.append(_table([*found.datasets, found.total]))
    parts.append(
        "\nA mask is one object on one image: an image-mask pair. Parts are counted in images.\n"
    )
    return "".join(parts)


def draw_modalities(modalities: Sequence[Count], path: Path) -> None:
    """Draw the image-mask pairs of each modality as ranked bars, as MedSAM's Fig. 2a.

    Args:
        modalities: most masks first; the scale is logarithmic where they span more than two decades.
        path: of the PNG file.

    Raises:
        PromptsegError: matplotlib is not installed.
    """
    from promptseg.plots.style import canvas, colours

    names = [line.modality for line in modalities]
    values = [line.masks for line in modalities]
    colour = next(iter(colours(["masks"]).values()))
    with canvas(7, 0.9 + 0.34 * len(names)) as (figure, (axes,)):
        axes.barh(range(len(names)), values, height=0.68, color=colour)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        logarithmic = max(values, default=1) > _DECADES * max(1, min(values, default=1))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")
            axes.set_xlim(left=max(1, min(values)) / 3)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlim(right=max(values, default=1) * (3 if logarithmic else 1.13))
        for y, value in enumerate(values):
            axes.annotate(f"{value:,}", (value, y), (4, 0), textcoords="offset points", va="center")
        axes.set_xlabel("image-mask pairs" + (" (logarithmic)" if logarithmic else ""), loc="right")
        figure.savefig(path, format="png", dpi=150, facecolor="white")


def _by(samples: Iterable[Sample], key: Callable[[Sample], tuple[str, str]]) -> list[Count]:
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    lines = [_sum(*names, own) for names, own in groups.items()]
    return sorted(lines, key=lambda line: (-line.masks, line.dataset, line.modality))


def _sum(dataset: str, modality: str, samples: list[Sample]) -> Count:
    return Count(
        dataset=dataset,
        modality=modality,
        images=len(samples),
        masks=sum(len(s.targets) for s in samples),
        cases=len({(s.dataset, s.case) for s in samples}),
        patients=len({(s.dataset, s.patient) for s in samples}),
        targets=tuple(sorted({t.name for s in samples for t in s.targets})),
        **{part: sum(s.split == part for s in samples) for part in SPLITS},
    )


def _cells(line: Count) -> list[str]:
    values = [getattr(line, name) for name in _COLUMNS]
    numbers = [str(len(v)) if isinstance(v, tuple) else str(v) for v in values]
    return [line.dataset, line.modality, *numbers]


def _table(lines: Sequence[Count], skip: str = "") -> str:
    heads = ["dataset", "modality", *_COLUMNS]
    kept = [k for k, head in enumerate(heads) if head != skip]
    rows = [[heads[k] for k in kept], ["---" if k < 2 else "---:" for k in kept]]
    for line in lines:
        cells = [for_markdown(cell) for cell in _cells(line)]
        rows.append([cells[k] for k in kept])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _sentence(total: Count) -> str:
    return (
        f"\n{total.masks:,} masks on {total.images:,} images of {total.patients:,} patients: "
        f"{total.train:,} images for training, {total.validation:,} for validation, "
        f"{total.test:,} for testing."
    )
