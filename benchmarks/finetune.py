"""Fine-tuning in small: MobileSAM and LiteMedSAM, with `medicosam` and with `medsam` as control.

Four trainings of some minutes each on the training part of PROMPTSEG_DATA, by the recipes of the
package, and what became of box, click and corrections on the held-out part
(recipes/small/held_out.txt). The picture is MedicoSAM's Fig. 7a in small: what a model trained with
boxes alone does with clicks.

    python benchmarks/finetune.py -o benchmarks/results/2026-11-21_finetune_small [--minutes 7]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from cases import data_root

from promptseg.cli.main import main as promptseg
from promptseg.formats.files import atomic_path

RECIPES = Path(__file__).resolve().parent.parent / "recipes" / "small"
MODELS, PRESETS = ("mobile-sam", "lite-medsam"), ("medicosam", "medsam")
KEPT = ("report.md", "curves.png", "card.md", "train.csv", "validation.csv")
COLOURS = {"before": "black", "medicosam": "tab:green", "medsam": "tab:red"}


def curate(work: Path) -> Path:
    """The collection of the recipe."""
    collection = work / "data"
    sources = [f"-i={data_root() / kind}" for kind in ("picture", "volume")]
    held_out = f"--held-out={RECIPES / 'held_out.txt'}"
    config = f"--config={RECIPES / 'curate.yaml'}"
    if promptseg(["curate", config, *sources, held_out, "-o", str(collection)]):
        raise SystemExit("curation failed")
    return collection


def train(work: Path, collection: Path, name: str, minutes: float | None) -> dict[str, Any]:
    """One training; the content of its report."""
    run = work / name
    if not (run / "report.json").exists():
        where = ["-i", str(collection), "-o", str(run), "--embeddings", str(work / "embeddings")]
        limit = [] if minutes is None else [f"--minutes={minutes}"]
        if promptseg(["train", name, *where, *limit]):
            raise SystemExit(f"{name} failed")
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return report


def conditions(reports: dict[str, dict[str, Any]]) -> str:
    """Under which circumstances, in a sentence or two."""
    facts = next(iter(reports.values()))["facts"]
    options = facts["options"]
    objects = next(iter(reports.values()))["verdict"]["comparisons"][0]["objects"]
    return (
        f"{options['minutes']:g} minutes of training each, torch {facts['versions']['torch']}; the "
        f"encoder stays as it is; {options['batch_size']} images per update. {objects} objects of the "
        f"held-out part, the largest of an image, on the engine {options['engine']}; means over "
        "datasets."
    )


def table(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Macro means before and after, per training; then per modality."""
    macro = next(iter(reports.values()))["verdict"]["macro"]["before"]
    lines = [
        f"| training | updates | {' | '.join(macro)} | verdict |",
        "|---" * (len(macro) + 3) + "|",
    ]
    for name, report in reports.items():
        before, after = (report["verdict"]["macro"][k] for k in ("before", "after"))
        cells = [f"{before[k]:.3f} -> {after[k]:.3f} ({after[k] - before[k]:+.3f})" for k in macro]
        updates = report["facts"]["updates"]
        outcome = report["verdict"]["outcome"]
        lines.append(f"| {name} | {updates} | {' | '.join(cells)} | {outcome} |")
    return lines


def modalities(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Change per modality and kind of prompt, in DSC points."""
    every = next(iter(reports.values()))["verdict"]["modalities"]
    prompts = [c["prompt"] for c in next(iter(every.values()))]
    lines = []
    for name, report in reports.items():
        lines += ["", f"**{name}**, DSC before -> after", ""]
        lines += [
            f"| modality | objects | {' | '.join(prompts)} |",
            "|---" * (len(prompts) + 2) + "|",
        ]
        for modality, found in report["verdict"]["modalities"].items():
            cells = [f"{c['before']:.3f} -> {c['after']:.3f}" for c in found]
            lines.append(f"| {modality} | {found[0]['objects']} | {' | '.join(cells)} |")
    return lines


def draw(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """DSC over rounds of corrections, before and after both trainings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(MODELS), 2, figsize=(9, 7), sharex=True, squeeze=False)
    for row, model in zip(axes, MODELS, strict=True):
        for axis, prompt in zip(row, ("box", "point"), strict=True):
            for preset in PRESETS:
                curve = reports[f"{model}_{preset}"]["verdict"]["curves"][prompt]
                axis.plot(curve["after"], color=COLOURS[preset], marker="o", label=preset)
            axis.plot(curve["before"], color=COLOURS["before"], ls="--", label="starting weights")
            axis.set_title(f"{model}, first a {prompt}", fontsize=10)
            axis.set_ylabel("DSC")
            axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("rounds of corrections")
    axes[0][0].legend()
    figure.suptitle("Held-out part: what training with boxes alone (medsam) forgets")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    collection = curate(arguments.work)
    reports = {}
    for model in MODELS:
        for preset in PRESETS:
            name = f"{model}_{preset}"
            reports[name] = train(arguments.work, collection, name, arguments.minutes)
            folder = arguments.output / name
            folder.mkdir(parents=True, exist_ok=True)
            for kept in KEPT:
                shutil.copyfile(arguments.work / name / kept, folder / kept)
    draw(reports, arguments.output / "forgetting.png")
    lines = ["# Fine-tuning in small", "", conditions(reports), "", *table(reports)]
    lines += modalities(reports)
    with atomic_path(arguments.output / "summary.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(table(reports)))


if __name__ == "__main__":
    main()
