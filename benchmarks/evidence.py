"""The table that `--model auto` goes by, from results, and whether going by it pays.

Takes folders that `promptseg evaluate` wrote. Objects that not all models of a prompt and protocol were
measured on are left out. Each dataset is also scored with the model that the other datasets recommend
(leave one dataset out), beside each model used throughout.

    python benchmarks/evidence.py RESULTS... -o src/promptseg/models/evidence.csv
    python benchmarks/evidence.py --interactive -o src/promptseg/models/evidence.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from cases import data_root, modality_of
from interactive import read_rows

from promptseg.assets import manifest
from promptseg.evaluate.recommend import (
    CrossCheck,
    Score,
    cross_check,
    evidence_of,
    matched,
    read_results,
)
from promptseg.formats.files import atomic_path
from promptseg.models.cards import CARDS
from promptseg.models.evidence import evidence_to_csv

RESULTS = Path(__file__).parent / "results"
DATE = "2026-11-21"
_INTERACTIVE = tuple(f"{DATE}_interactive_{m}.csv" for m in ("lite-medsam", "mobile-sam"))
_VOLUMES = {
    "lite-medsam": (f"{DATE}_volumes.csv", "default"),
    "mobile-sam": (f"{DATE}_modes_mobile-sam.csv", "mode=box+mask, margin=0.0, margin_pixels=0.0"),
}


def committed_scores() -> list[Score]:
    """The scores of the results of `interactive.py` and `volumes.py`: DSC of slices and of volumes."""
    root = data_root()
    scores = []
    for name in _INTERACTIVE:
        rows = read_rows(RESULTS / name)
        last = max(row.round for row in rows)
        for row in rows:
            if row.round not in (0, last):
                continue
            prompt = f"{row.start}+corrections" if row.round else row.start
            modality, unit = modality_of(row.dataset, root), f"{row.case}/{row.label}/{row.slice}"
            scores.append(
                Score(row.model, row.dataset, modality, prompt, "2d", row.case, unit, row.dsc)
            )
    for model, (name, setting) in _VOLUMES.items():
        with (RESULTS / name).open(newline="") as stream:
            for line in csv.DictReader(stream):
                if line["setting"] != setting:
                    continue
                modality, unit = (
                    modality_of(line["dataset"], root),
                    f"{line['case']}/{line['label']}",
                )
                of = (model, line["dataset"], modality, "box", "3d", line["case"], unit)
                scores.append(Score(*of, float(line["dsc"])))
    return scores


def report(check: CrossCheck) -> str:
    """The cross-check in Markdown: auto, each single model, and the best that choosing could do."""
    lines = [
        f"{check.prompt}, {check.protocol}, {len(check.chosen)} datasets, mean of their mean DSC:",
        "",
        "| choice | mean DSC |",
        "|---|---|",
        f"| auto, each dataset by the others | {check.auto:.4f} |",
        *(f"| {model} throughout | {dsc:.4f} |" for model, dsc in check.single.items()),
        f"| the best on each dataset itself | {check.oracle:.4f} |",
        "",
    ]
    names = {m: [d for d, c in check.chosen.items() if c == m] for m in check.single}
    lines += [
        f"{model} was chosen for {len(of)}: {', '.join(of)}" for model, of in names.items() if of
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="*", help="folders of promptseg evaluate")
    parser.add_argument("--interactive", action="store_true", help="the results committed here")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV table of evidence")
    arguments = parser.parse_args()
    if bool(arguments.results) == arguments.interactive:
        parser.error("name folders of results, or --interactive")
    scores, weights, date = [], {}, ""
    if arguments.interactive:
        scores, date = committed_scores(), DATE
        weights = {name: manifest()[card.weights].sha256 for name, card in CARDS.items()}
        sources = {
            "2d": " ".join(_INTERACTIVE),
            "3d": " ".join(name for name, _ in _VOLUMES.values()),
        }
    for folder in arguments.results:
        results = read_results(folder)
        if any(weights.get(name, sha) != sha for name, sha in results.weights.items()):
            raise SystemExit(f"expected one set of weights per model, got others in {folder}")
        scores += results.scores
        weights |= results.weights
        date = max(date, results.date)
        sources = dict.fromkeys(("2d", "3d"), " ".join(p.name for p in arguments.results))
    kept = matched(scores)
    print(f"{len(scores) - len(kept)} of {len(scores)} scores are of objects not all models have\n")
    table = [
        row
        for protocol, source in sources.items()
        for row in evidence_of((s for s in kept if s.protocol == protocol), weights, source, date)
    ]
    with atomic_path(arguments.output) as temporary:
        temporary.write_text(evidence_to_csv(table), encoding="utf-8")
    for protocol, prompt in sorted({(s.protocol, s.prompt) for s in kept}):
        if len({s.model for s in kept if (s.protocol, s.prompt) == (protocol, prompt)}) > 1:
            print(report(cross_check(kept, prompt, protocol)) + "\n")


if __name__ == "__main__":
    main()
