"""How well predicted IoU tracks true DSC: correlation, calibration and a threshold for bad masks.

Reads the rows of `interactive.py`, of any models, and writes a Markdown report and a picture beside it.
True IoU follows from DSC: IoU = DSC / (2 - DSC). A mask is bad if its DSC is below 0.5, and flagged if
its predicted IoU is below a threshold: the one of largest Youden's J (sensitivity + specificity - 1).
What that is worth on other data is estimated by choosing the threshold without a dataset and flagging
the masks of that dataset, for every dataset in turn.

    python benchmarks/quality.py benchmarks/results/2026-11-21_interactive_*.csv \
        -o benchmarks/results/2026-11-21_quality.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from interactive import Row, read_rows
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

BAD_DSC = 0.5
_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_FEWEST = 5  # objects a dataset must have for a correlation of its own

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Masks of one model after one kind of prompt.

    Attributes:
        name: what the prompt was.
        dataset: (n,) names.
        predicted: (n,) predicted IoU.
        dsc: (n,) true DSC.
    """

    name: str
    dataset: NDArray[np.str_]
    predicted: Floats
    dsc: Floats

    @classmethod
    def of(cls, name: str, rows: Iterable[Row]) -> Group:
        """The masks of some rows."""
        table = [(row.dataset, row.predicted_iou, row.dsc) for row in rows]
        dataset, predicted, dsc = zip(*table, strict=True)
        return cls(name, np.array(dataset), np.array(predicted), np.array(dsc))

    @property
    def iou(self) -> Floats:
        """(n,) true IoU."""
        return self.dsc / (2 - self.dsc)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(n,) whether the mask is bad."""
        return self.dsc < BAD_DSC

    def part(self, chosen: NDArray[np.bool_]) -> Group:
        """Some of the masks."""
        return Group(self.name, self.dataset[chosen], self.predicted[chosen], self.dsc[chosen])

    def by_dataset(self) -> Iterator[tuple[Group, Group]]:
        """The masks of each dataset, and those of all others."""
        for name in np.unique(self.dataset):
            own = self.dataset == name
            yield self.part(own), self.part(~own)


class Flagging(NamedTuple):
    """What a threshold does: shares, or nan where there is nothing to share out.

    Attributes:
        sensitivity: of the bad masks, those flagged.
        specificity: of the others, those left alone.
        precision: of the flagged masks, those that are bad.
        flagged: of all masks, those flagged.
    """

    sensitivity: float
    specificity: float
    precision: float
    flagged: float

    @classmethod
    def of(cls, flagged: NDArray[np.bool_], bad: NDArray[np.bool_]) -> Flagging:
        """Count (n,) flags against (n,) truths."""
        with np.errstate(invalid="ignore"):
            hits = (flagged & bad).sum()
            return cls(
                float(hits / bad.sum()),
                float((~flagged & ~bad).sum() / (~bad).sum()),
                float(hits / flagged.sum()),
                float(flagged.mean()),
            )


def best_threshold(predicted: Floats, bad: NDArray[np.bool_]) -> float:
    """Predicted IoU below which to flag a mask, by the largest Youden's J.

    It lies midway between two neighbouring predictions, so that some masks are flagged and some are
    not; of equally good ones the lowest is taken.

    Args:
        predicted: (n,) predicted IoU.
        bad: (n,) whether the mask is bad; some are and some are not.
    """
    values = np.unique(predicted)
    middles = (values[1:] + values[:-1]) / 2
    flagged = predicted < middles[:, None]
    hits, alarms = (flagged & bad).sum(axis=1), (flagged & ~bad).sum(axis=1)
    gain = hits * (~bad).sum() - alarms * bad.sum()  # J times a constant, without rounding
    return float(middles[gain.argmax()])


def held_out(group: Group) -> Flagging:
    """Flagging of every dataset with the threshold of all others."""
    flags, truths = [], []
    for own, others in group.by_dataset():
        flags.append(own.predicted < best_threshold(others.predicted, others.bad))
        truths.append(own.bad)
    return Flagging.of(np.concatenate(flags), np.concatenate(truths))


def area_under_curve(predicted: Floats, bad: NDArray[np.bool_]) -> float:
    """Chance that a bad mask is predicted below one that is not (area under the ROC curve)."""
    ranks = stats.rankdata(-predicted)
    count = int(bad.sum())
    pairs = ranks[bad].sum() - count * (count + 1) / 2
    return float(pairs / (count * (len(bad) - count)))


def correlations(group: Group) -> tuple[float, float, float, float, int]:
    """Pearson and Spearman over all masks, their means within datasets, how many datasets."""
    pairs = [
        (_pearson(own.predicted, own.dsc), _spearman(own.predicted, own.dsc))
        for own, _ in group.by_dataset()
        if len(own.dsc) >= _FEWEST and np.ptp(own.dsc) and np.ptp(own.predicted)
    ]
    pearson, spearman = np.mean(pairs, axis=0)
    whole = _pearson(group.predicted, group.dsc), _spearman(group.predicted, group.dsc)
    return (*whole, float(pearson), float(spearman), len(pairs))


def _pearson(a: Floats, b: Floats) -> float:
    return float(stats.pearsonr(a, b).statistic)


def _spearman(a: Floats, b: Floats) -> float:
    return float(stats.spearmanr(a, b).statistic)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """The masks of one model by what came before them."""
    found = []
    for start, name in (("point", "one click"), ("box", "exact box")):
        first = [row for row in rows if (row.start, row.round) == (start, 0)]
        found += [Group.of(name, first)] if first else []
    last = max(row.round for row in rows)
    for low, high in ((1, 1), (last, last), (1, last)) if last else ():
        rounds = f"{low} to {high}" if low < high else str(low)
        corrected = [row for row in rows if low <= row.round <= high]
        found.append(Group.of(f"after {rounds} correction{'s' * (high > 1)}", corrected))
    return found


def report(models: dict[str, list[Group]], picture: str) -> str:
    """The Markdown text; `picture` is the file it shows."""
    parts = [_correlation_table(models), _threshold_table(models), _low_quality_table(models)]
    parts += [f"## Calibration\n\n![Predicted and true IoU]({picture})"]
    parts += [
        f"{model}, {group.name}:\n\n{_calibration_table(group)}"
        for model, groups in models.items()
        for group in groups
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(values: Iterable[float]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.2f}" for value in values]


def _correlation_table(models: dict[str, list[Group]]) -> str:
    lines = []
    for model, groups in models.items():
        for group in groups:
            *values, count = correlations(group)
            lines.append([model, group.name, str(len(group.dsc)), *_cells(values), str(count)])
    head = ["model", "prompts", "masks", "Pearson", "Spearman"]
    head += ["Pearson within datasets", "Spearman within datasets", "of datasets"]
    return (
        "## Correlation of predicted IoU with DSC\n\nWithin datasets: mean over those with at least "
        f"{_FEWEST} masks that differ.\n\n" + _table(head, lines)
    )


def _threshold_table(models: dict[str, list[Group]]) -> str:
    lines = []
    for model, groups in models.items():
        for group in groups:
            threshold = best_threshold(group.predicted, group.bad)
            flagging = Flagging.of(group.predicted < threshold, group.bad)
            area = area_under_curve(group.predicted, group.bad)
            counts = [str(len(group.dsc)), str(int(group.bad.sum()))]
            cells = _cells([area, threshold, *flagging, *held_out(group)[:3]])
            lines.append([model, group.name, *counts, *cells])
    head = ["model", "prompts", "masks", f"DSC < {BAD_DSC}", "ROC area", "threshold"]
    head += ["sensitivity", "specificity", "precision", "flagged"]
    head += [f"{name}, held out" for name in ("sensitivity", "specificity", "precision")]
    return (
        f"## Flagging masks of DSC below {BAD_DSC}\n\nA mask is flagged if its predicted IoU is below "
        "the threshold. ROC area: the chance that a mask of low DSC is predicted below another one; "
        "0.5 is guessing. Held out: each dataset is flagged with the threshold of the others.\n\n"
        + _table(head, lines)
    )


def _low_quality_table(models: dict[str, list[Group]]) -> str:
    lines = []
    for model, groups in models.items():
        threshold = best_threshold(groups[-1].predicted, groups[-1].bad)
        for group in groups:
            flagging = Flagging.of(group.predicted < threshold, group.bad)
            lines.append([model, group.name, *_cells([threshold, *flagging])])
    head = ["model", "prompts", "threshold", "sensitivity", "specificity", "precision", "flagged"]
    return (
        "## One threshold for each model\n\nThe threshold of the model's last line above (all "
        "corrected masks, or the box where it takes boxes alone), applied to each of its groups.\n\n"
        + _table(head, lines)
    )


def _calibration_table(group: Group) -> str:
    lines = []
    for name, chosen in _bins(group):
        means = (values[chosen].mean() for values in (group.predicted, group.iou, group.dsc))
        share = f"{group.bad[chosen].mean():.0%}"
        lines.append([name, str(int(chosen.sum())), *_cells(means), share])
    head = ["predicted IoU", "masks", "mean predicted IoU", "mean IoU", "mean DSC"]
    return _table([*head, f"DSC < {BAD_DSC}"], lines)


def _bins(group: Group) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and (n,) members of each bin of predicted IoU that has any."""
    member = np.digitize(group.predicted, _EDGES)
    for k in np.unique(member):
        low, high = _EDGES[max(k - 1, 0)], _EDGES[min(k, len(_EDGES) - 1)]
        name = f"below {high}" if k == 0 else f"{low} to {high}"
        yield name if k < len(_EDGES) else f"{low} and more", member == k


def draw(panels: Sequence[tuple[str, Group]], side: int = 330) -> Image.Image:
    """A panel per group: a dot per mask, the means of the bins, the diagonal and the threshold.

    Args:
        panels: title and masks of each.
        side: pixels along a panel.
    """
    drawn = [_panel(title, group, side) for title, group in panels]
    canvas = Image.new("RGB", (sum(panel.width for panel in drawn), drawn[0].height))
    for k, panel in enumerate(drawn):
        canvas.paste(panel, (k * panel.width, 0))
    return canvas


def _panel(title: str, group: Group, side: int, margin: int = 56) -> Image.Image:
    """One panel of `draw`."""
    panel = Image.new("RGB", (side + margin + margin // 2, side + 2 * margin), "white")
    pen = ImageDraw.Draw(panel, "RGBA")
    font = ImageFont.load_default(14)
    bottom = side + margin

    def at(x: float, y: float) -> tuple[float, float]:
        x, y = np.clip((x, y), 0, 1)
        return margin + x * side, bottom - y * side

    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(tick, tick)
        pen.text((x, bottom + 4), f"{tick:g}", "black", font, anchor="ma")
        pen.text((margin - 4, y), f"{tick:g}", "black", font, anchor="rm")
    threshold = best_threshold(group.predicted, group.bad)
    pen.rectangle((*at(0, 1), *at(1, 0)), outline="black")
    pen.line((at(0, 0), at(1, 1)), fill=(150, 150, 150), width=2)
    pen.line((at(threshold, 0), at(threshold, 1)), fill=(200, 40, 40), width=2)
    for predicted, true in zip(group.predicted, group.iou, strict=True):
        x, y = at(predicted, true)
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(40, 90, 200, 70))
    chosen = [members for _, members in _bins(group)]
    means = [at(group.predicted[members].mean(), group.iou[members].mean()) for members in chosen]
    pen.line(means, fill=(20, 20, 20), width=2)
    for x, y in means:
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=(250, 180, 40), outline="black")
    pen.text((margin + side / 2, margin - 8), title, "black", font, anchor="ms")
    below = f"predicted IoU (red: threshold {threshold:.2f})"
    pen.text((margin + side / 2, bottom + 26), below, "black", font, anchor="ma")
    pen.text((4, margin - 8), "true IoU", "black", font, anchor="ls")
    return panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="+", help="CSV files of interactive.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file")
    arguments = parser.parse_args()
    rows = [row for path in arguments.rows for row in read_rows(path)]
    names = sorted({row.model for row in rows})
    models = {name: groups_of([row for row in rows if row.model == name]) for name in names}
    shown = [
        (f"{name}, {g.name}", g) for name in names for g in models[name] if " to " not in g.name
    ]
    picture = arguments.output.with_suffix(".png")
    draw(shown).save(picture, optimize=True)
    date = arguments.output.name.partition("_")[0]
    text = f"# quality.py, {date}\n\n{report(models, picture.name)}"
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
