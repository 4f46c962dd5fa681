"""Pictures of promptseg-lite from rows of benchmarks/lite.py.

    python benchmarks/lite_figures.py forgetting EV/long/rows.csv -o RESULTS
    python benchmarks/lite_figures.py sizes EV/sizes/rows.csv -o RESULTS \
        --of 0=mobile-sam --of 56=size56 --of 560=size560

`forgetting` draws DSC over rounds of corrections of every model in the rows; `sizes` the first answers
and the last ones over the number of images that models were trained on. DSC is the mean over datasets;
a csv with what is drawn lies beside each picture.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from lite import interval, macro, mean_of
from lite_calibration import read

from promptseg.plots.style import MARKERS, canvas, colours, legend
from promptseg.train.validate import Answer

PROMPTS = {"box": "from an exact box", "point": "from one click"}

Rows = list[dict[str, str | int | float]]


def names_in(path: Path) -> list[str]:
    """The models of a file of rows, in its order."""
    with path.open(encoding="utf-8") as stream:
        return list(dict.fromkeys(r["model"] for r in csv.DictReader(stream)))


def forgetting(answers: dict[str, list[Answer]], folder: Path) -> None:
    """Write forgetting.csv and forgetting.png."""
    last = max(a.step for own in answers.values() for a in own)
    rows: Rows = [
        {
            "prompt": prompt,
            "corrections": step,
            **{n: round(mean_of(macro(own, (prompt, step))), 4) for n, own in answers.items()},
        }
        for prompt in PROMPTS
        for step in range(last + 1)
    ]
    write(rows, folder / "forgetting.csv")
    colour = colours(list(answers))
    with canvas(9, 3.4, panels=len(PROMPTS), share=True) as (figure, panels):
        for axes, (prompt, title) in zip(panels, PROMPTS.items(), strict=True):
            for k, name in enumerate(answers):
                values = [100 * float(r[name]) for r in rows if r["prompt"] == prompt]
                axes.plot(values, marker=MARKERS[k], ms=3.5, color=colour[name], label=name)
            axes.set_title(title)
            axes.set_xlabel("rounds of corrections")
            axes.locator_params(axis="x", integer=True)
        panels[0].set_ylabel("mean DSC (%)")
        legend(figure, panels[0], len(answers))
        figure.savefig(folder / "forgetting.png", dpi=110, facecolor="white")


def sizes(answers: dict[str, list[Answer]], of: dict[int, str], folder: Path) -> None:
    """Write sizes.csv and sizes.png; intervals are of the difference to the fewest images."""
    last = max(a.step for own in answers.values() for a in own)
    cells = [(prompt, step) for prompt in PROMPTS for step in (0, last)]
    start = answers[of[min(of)]]
    rows: Rows = []
    for images, name in sorted(of.items()):
        for cell in cells:
            low, high = interval(start, answers[name], cell) if name != of[min(of)] else (0.0, 0.0)
            rows.append(
                {
                    "images": images,
                    "prompt": cell[0],
                    "corrections": cell[1],
                    "dsc": round(mean_of(macro(answers[name], cell)), 4),
                    "over_start_low": round(low, 4),
                    "over_start_high": round(high, 4),
                }
            )
    write(rows, folder / "sizes.csv")
    colour = colours(list(PROMPTS))
    with canvas(5.5, 3.6) as (figure, (axes,)):
        counts = sorted(n for n in of if n)
        for k, cell in enumerate(cells):
            own = {int(r["images"]): 100 * float(r["dsc"]) for r in rows if _cell(r) == cell}
            said = PROMPTS[cell[0]] + (f", {cell[1]} corrections" if cell[1] else "")
            line = {"color": colour[cell[0]], "ls": "--" if cell[1] else "-"}
            axes.plot(counts, [own[n] for n in counts], marker=MARKERS[k], label=said, **line)
            axes.axhline(own[0], color=line["color"], ls=":", lw=0.8)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.set_xlabel("training images (dotted: the start)")
        axes.set_ylabel("mean DSC (%), validation")
        legend(figure, axes, 2)
        figure.savefig(folder / "sizes.png", dpi=110, facecolor="white")


def _cell(row: dict[str, str | int | float]) -> tuple[str, int]:
    return str(row["prompt"]), int(row["corrections"])


def write(rows: Rows, path: Path) -> None:
    """A table as csv."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("forgetting", "sizes"))
    parser.add_argument("rows", type=Path)
    parser.add_argument("--of", action="append", default=[], help="IMAGES=MODEL")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    answers = {name: read(options.rows, name) for name in names_in(options.rows)}
    options.output.mkdir(parents=True, exist_ok=True)
    if options.what == "forgetting":
        forgetting(answers, options.output)
        return
    pairs = (text.partition("=") for text in options.of)
    sizes(answers, {int(images): name for images, _, name in pairs}, options.output)


if __name__ == "__main__":
    main()
