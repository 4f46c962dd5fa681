"""curves.png: what a training changed, and how it went."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path
from promptseg.plots.style import MARKERS, canvas, colours
from promptseg.train.comparison import Comparison
from promptseg.train.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["History", "draw_curves", "read_history"]

_KINDS = ("box", "point", "clip", "text", "absent", "classes")
_WORDS = {
    "box": "from a box",
    "point": "from a click",
    "text": "from a phrase",
    "absent": "phrase for nothing",
    "classes": "classes",
}
_SMOOTHED = 40  # about so many points of a long loss curve are left to see its trend
_BAR = 0.38

Line = tuple[list[float], list[float]]  # updates, values


class History(NamedTuple):
    """The course of a training; empty where it is not known.

    Attributes:
        loss: of the training.
        scores: kind of prompt -> DSC at the validations.
    """

    loss: Line
    scores: dict[str, Line]


def read_history(path: Path | None) -> History:
    """Read the logs of a training.

    Args:
        path: folder with train.csv and validation.csv, or one such file, with the other beside it or
            both in one; see `promptseg.train.report.write_report`.

    Raises:
        InputError: a log that cannot be read.
    """
    history = History(([], []), {})
    if path is None or not path.exists():
        return history
    folder = path if path.is_dir() else path.parent
    own = [] if path.is_dir() else [path]
    files = dict.fromkeys([*own, folder / "train.csv", folder / "validation.csv"])
    for file in files:
        if not file.is_file():
            continue
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    _add(history, row)
        except (OSError, ValueError, csv.Error) as error:
            raise InputError("the log of a training", f"{file} ({error})", "remove it") from None
    return history


def draw_curves(path: Path, verdict: Verdict, history: History) -> None:
    """Draw and write the picture.

    Args:
        path: of the PNG.
        verdict: what changed.
        history: how it went; two panels less without it.

    Raises:
        PromptsegError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    went = bool(history.loss[0] or history.scores)
    most = max(len(verdict.modalities), len(verdict.classes))
    heights = [max(3.7, 1.2 + 0.4 * most)] + [3.5] * went
    with canvas(9.5, sum(heights)) as (figure, _):
        figure.clear()
        panels = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
        if verdict.classes:
            _bars(panels[0][0], verdict.classes, ["classes"], "Classes")
            _bars(panels[0][1], verdict.modalities, ["classes"], "Modalities")
        else:
            _rounds(panels[0][0], verdict)
            kinds = [k for k in _KINDS if k in verdict.curves]
            _bars(panels[0][1], verdict.modalities, kinds, "Modalities, first answer")
        if went:
            _loss(panels[1][0], history.loss)
            _scores(panels[1][1], history.scores)
        with atomic_path(path) as temporary:
            figure.savefig(
                temporary, dpi=150, facecolor="white", metadata={"Software": "promptseg"}
            )


def _rounds(axes: Axes, verdict: Verdict) -> None:
    colour = colours(_KINDS)
    for kind, (before, after) in verdict.curves.items():
        steps = range(len(before))
        c, marker = colour[kind], MARKERS[_KINDS.index(kind)]
        for values, style, when in ((before, "--", "before"), (after, "-", "after")):
            label = f"{_WORDS[kind]}, {when}"
            fill = c if when == "after" else "white"
            axes.plot(
                steps,
                [100 * v for v in values],
                style,
                marker=marker,
                markersize=4.5,
                color=c,
                markerfacecolor=fill,
                label=label,
            )
    axes.set_title("Answers before and after")
    axes.set_xlabel("rounds of corrections")
    axes.set_ylabel("mean DSC (%)")
    axes.locator_params(axis="x", integer=True)
    axes.legend()


def _bars(
    axes: Axes, groups: Mapping[str, Sequence[Comparison]], kinds: Sequence[str], title: str
) -> None:
    """Bars of the first answers in some groups; a lighter one before, a full one after."""
    names = list(groups)
    colour = colours(_KINDS)
    high = _BAR / max(1, len(kinds))
    for i, kind in enumerate(kinds):
        found = [next(c for c in groups[n] if c.prompt == kind) for n in names]
        middle = np.arange(len(names)) + (i - (len(kinds) - 1) / 2) * 2.1 * high
        for k, when in enumerate(("before", "after")):
            axes.barh(
                middle + (k - 0.5) * high,
                [100 * getattr(c, when) for c in found],
                0.92 * high,
                color=colour[kind],
                alpha=0.4 if when == "before" else 1.0,
                label=f"{_WORDS[kind]}, {when}",
            )
        for y, c in zip(middle, found, strict=True):
            place = 100 * max(c.before, c.after) + 1
            axes.text(place, y, f"{100 * c.difference:+.1f}", va="center", fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="y", visible=False)
    axes.set_title(title)
    axes.set_xlabel("mean DSC (%); difference in points")


def _loss(axes: Axes, loss: Line) -> None:
    updates, values = np.array(loss[0]), np.array(loss[1])
    if len(values):
        blue = colours(_KINDS)["box"]
        width = max(1, len(values) // _SMOOTHED)
        if width > 1:
            axes.plot(updates, values, color=blue, alpha=0.25, linewidth=0.7)
            kernel = np.full(width, 1 / width)
            updates = np.convolve(updates, kernel, "valid")
            values = np.convolve(values, kernel, "valid")
        axes.plot(updates, values, color=blue, marker="" if len(values) > _SMOOTHED else "o", ms=3)
    else:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
    axes.set_title("Training loss")
    axes.set_xlabel("updates")
    axes.set_ylabel("loss")


def _scores(axes: Axes, scores: dict[str, Line]) -> None:
    colour = colours(_KINDS)
    for kind in _KINDS:
        for label, (updates, values) in scores.items():
            if label.partition("+")[0] != kind:
                continue
            corrected = "+" in label
            axes.plot(
                updates,
                [100 * v for v in values],
                "-" if corrected else ":",
                marker=MARKERS[_KINDS.index(kind)],
                markersize=4,
                color=colour[kind],
                label=label,
            )
    if scores:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes)
    axes.set_title("Validation while training")
    axes.set_xlabel("updates")
    axes.set_ylabel("mean DSC (%)")


def _add(history: History, row: dict[str, str | None]) -> None:
    """Take what a line of a log says; anything but finite numbers is passed over."""
    update = _finite(row.get("update"))
    if update is None:
        return
    for name, text in row.items():
        value = _finite(text)
        if value is None:
            continue
        if name == "loss":
            line = history.loss
        elif isinstance(name, str) and name.partition("+")[0] in _KINDS:
            line = history.scores.setdefault(name, ([], []))
        else:
            continue
        line[0].append(update)
        line[1].append(value)


def _finite(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
