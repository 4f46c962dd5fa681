"""Reports that a curation writes: counts, exclusions, licences, look-alikes, the test cases."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from promptseg.curate.groups import LookAlike
from promptseg.curate.parts import Noted
from promptseg.curate.rules import Exclusion
from promptseg.datasets.collection import SPLITS, Sample
from promptseg.formats.files import atomic_path
from promptseg.names import for_csv, for_markdown
from promptseg.noted import lines_of

__all__ = [
    "counts_of",
    "exclusion_counts",
    "licences_of",
    "markdown",
    "write_exclusions",
    "write_held_out",
    "write_look_alikes",
]

Counts = dict[str, dict[str, dict[str, int]]]
_WHATS = ("samples", "targets", "cases", "patients")


def counts_of(samples: Sequence[Sample]) -> Counts:
    """Count samples, targets, cases and patients by part: of all, of each dataset and modality."""
    numbers: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    people: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
    for sample in samples:
        for name in ("all", f"dataset {sample.dataset}", f"modality {sample.modality}"):
            numbers[name][sample.split].update(samples=1, targets=len(sample.targets))
            people[name, sample.split, "cases"].add((sample.dataset, sample.case))
            people[name, sample.split, "patients"].add((sample.dataset, sample.patient))
    for (name, split, what), who in people.items():
        numbers[name][split][what] = len(who)
    return {
        name: {split: {what: own[split][what] for what in _WHATS} for split in SPLITS}
        for name, own in sorted(numbers.items(), key=lambda item: (item[0] != "all", item[0]))
    }


def exclusion_counts(excluded: Iterable[Exclusion]) -> dict[str, dict[str, int]]:
    """Count for every rule how many whole cases and how many objects it left out."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for each in excluded:
        found[each.rule]["objects" if each.target else "cases"] += 1
    return {
        rule: {what: found[rule][what] for what in ("cases", "objects")} for rule in sorted(found)
    }


def licences_of(samples: Iterable[Sample]) -> dict[str, dict[str, int]]:
    """Count the samples of each dataset by licence."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        found[sample.dataset][sample.licence or "not stated"] += 1
    return {dataset: dict(own) for dataset, own in sorted(found.items())}


def write_exclusions(excluded: Iterable[Exclusion], path: Path) -> None:
    """Write a CSV table, one row per exclusion."""
    _write_table([f.name for f in fields(Exclusion)], map(asdict, excluded), path)


def write_notes(notes: Iterable[Noted], path: Path) -> None:
    """Write a CSV table, one row per note of a case."""
    columns = ("dataset", "case", "note")
    _write_table(list(columns), (dict(zip(columns, each, strict=True)) for each in notes), path)


def write_look_alikes(pairs: Iterable[LookAlike], path: Path) -> None:
    """Write a CSV table, one row per pair."""
    rows = (
        {
            "dataset": pair.first.dataset,
            "case": pair.first.case,
            "other_dataset": pair.second.dataset,
            "other_case": pair.second.case,
            "bits": f"{pair.distance:.1f}",
        }
        for pair in pairs
    )
    _write_table(["dataset", "case", "other_dataset", "other_case", "bits"], rows, path)


def write_held_out(samples: Iterable[Sample], path: Path) -> None:
    """Write the cases of the test part, as `--held-out` reads them."""
    cases = sorted({f"{s.dataset}/{s.case}" for s in samples if s.split == "test"})
    with atomic_path(path) as temporary:
        lines = ["# the test part of a promptseg collection: dataset/case", *cases]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def markdown(facts: dict[str, Any]) -> str:
    """Return the content of collection.json as a page of Markdown."""
    counts: Counts = facts["counts"]
    lines = [
        "# Collection",
        "",
        f"{facts['samples']} samples with {facts['targets']} objects in {facts['groups']} groups, "
        f"{facts['bytes'] / 1e6:.1f} MB. Made by promptseg {facts['promptseg']}.",
        "",
        "| | " + " | ".join(f"{what} {split}" for what in _WHATS[:3] for split in SPLITS) + " |",
        "|---" * (1 + 3 * len(SPLITS)) + "|",
    ]
    for name, own in counts.items():
        cells = [str(own[split][what]) for what in _WHATS[:3] for split in SPLITS]
        lines.append(f"| {for_markdown(name)} | {' | '.join(cells)} |")
    lines += ["", "## Left out", "", "| rule | cases or slices | objects |", "|---|---|---|"]
    for rule, each in facts["excluded"].items():
        lines.append(f"| {rule} | {each['cases']} | {each['objects']} |")
    lines += ["", "exclusions.csv names every one.", "", "## Look-alikes", ""]
    lines += [
        f"{facts['look_alikes']} pairs of images of different patients look alike "
        f"(look_alikes.csv); the largest group has {facts['largest_group']} cases."
    ]
    if notes := facts.get("notes"):
        lines += ["", "## Notes", ""]
        lines += [f"- {for_markdown(line)}" for line in lines_of(notes)]
        lines += ["", "notes.csv names every case."]
    lines += ["", "## Licences", "", "| dataset | licence, as stated | samples |", "|---|---|---|"]
    for dataset, licences in facts["licences"].items():
        for licence, count in sorted(licences.items()):
            lines.append(f"| {for_markdown(dataset)} | {for_markdown(licence)} | {count} |")
    return "\n".join(lines) + "\n"


def _write_table(columns: list[str], rows: Iterable[dict[str, Any]], path: Path) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(
            {k: "" if v is None else for_csv(str(v)) for k, v in row.items()} for row in rows
        )
