"""The pieces of a curation that are done whole or not at all: some cases of a dataset, one shard."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.curate.options import ConversionOptions
from promptseg.curate.reading import Reading
from promptseg.curate.rules import Excluded, Exclusion
from promptseg.curate.slices import Piece
from promptseg.curate.sources import Origin
from promptseg.curate.tiles import is_slide
from promptseg.datasets import CaseFiles, Dataset
from promptseg.datasets.collection import SCHEMA, Labels, Sample, Shard, Target
from promptseg.datasets.inputs import facts_of_case, facts_of_files
from promptseg.datasets.manifest import ManifestRow
from promptseg.formats.files import atomic_path
from promptseg.formats.own_folder import claim
from promptseg.formats.systems import is_device
from promptseg.parsing import parse_json
from promptseg.work import Task, request_hash
from promptseg.work.footprint import curating_bytes

__all__ = ["FACTS", "SHARDS", "Noted", "Part", "Result", "parts_of_dataset"]

SHARDS, FACTS = "shards", "parts"
Noted = tuple[str, str, str]
"""Dataset, case, and what was noted of its files."""

_CASES, _BYTES = 256, 128_000_000


@dataclass(frozen=True)
class Result:
    """The samples that a part was made into, and what was left out.

    Attributes:
        samples: of its shard; parts and groups are not known yet.
        cases: every case with a sample.
        excluded: what was left out.
        notes: what readers noted of what was not.
    """

    samples: list[Sample]
    cases: list[ManifestRow]
    excluded: list[Exclusion]
    notes: list[Noted] = field(default_factory=list)


@dataclass(frozen=True)
class Part(Task[None, dict[str, Any]]):
    """Consecutive cases of a dataset, for one shard; it travels to worker processes.

    Attributes:
        name: of its files, without ending.
        root: folder of the collection.
        origin: of the cases.
        cases: which.
        options: how.
    """

    name: str
    root: Path
    origin: Origin
    cases: tuple[CaseFiles, ...]
    options: ConversionOptions

    @property
    def shard(self) -> Path:
        """Return the path of its ZIP file, which is not written where there is no sample."""
        return self.root / SHARDS / f"{self.name}.zip"

    @property
    def facts(self) -> Path:
        """Return the path of the JSON file beside the shard; without it the part is not done."""
        return self.root / FACTS / f"{self.name}.json"

    def input_sizes(self) -> dict[Path, int]:
        """Return the size of every file of its cases; parts may share some."""
        return {path: size for path, (_, size, _) in facts_of_files(self.cases).items()}

    @property
    def title(self) -> str:
        """Return the name of its dataset."""
        return self.origin.dataset

    @property
    def weight(self) -> int:
        """Return the number of its cases, which stands for the work that it is."""
        return len(self.cases)

    def request(self) -> dict[str, Any]:
        """Return all that the result depends on: options, what is known of the cases, their files."""
        origin = {k: v for k, v in asdict(self.origin).items() if k != "root"}
        return {
            "schema": SCHEMA,
            "promptseg": __version__,
            "options": self.options.conversion(),
            "origin": origin,
            "cases": [facts_of_case(case) for case in self.cases],
            "files": list(facts_of_files(self.cases).values()),
        }

    def is_done(self) -> bool:
        """Tell whether the shard and its facts are there, for the same options and files."""
        return self.result() is not None

    def result(self) -> Result | None:
        """Return its result; None if it is not done, or was done for other options or files."""
        try:
            said = parse_json(self.facts.read_text(encoding="utf-8"))
            if said["request"] != request_hash(self.request()):
                return None
            if said["bytes"] and self.shard.stat().st_size != said["bytes"]:
                return None
            return Result(
                [Sample.from_json(each) for each in said["samples"]],
                [ManifestRow(**each) for each in said["cases"]],
                [Exclusion(**each) for each in said["excluded"]],
                [(str(d), str(c), str(text)) for d, c, text in said.get("notes", ())],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def memory(self) -> int:
        """Estimate the memory that the task takes; see `Task`. Slides are read tile by tile."""
        files = ((c.image, *c.truth) for c in self.cases)
        return max((curating_bytes(p for p in own if not is_slide(p)) for own in files), default=0)

    def do(self, context: None = None) -> dict[str, Any]:
        """Convert the cases; a case that is not usable is noted and left out.

        Returns:
            The numbers of cases, of samples and of what was left out, and seconds.

        Raises:
            OutputError: the shard cannot be written.
        """
        begun = time.monotonic()
        request = request_hash(self.request())
        claim(self.shard, self.facts)
        self.facts.unlink(missing_ok=True)
        samples: list[Sample] = []
        cases: list[ManifestRow] = []
        excluded: list[Exclusion] = []
        notes: list[Noted] = []
        with Shard(self.shard) as shard:
            for case in self.cases:
                own = Excluded(self.origin.dataset, case.name)
                made, row = self._convert(case, shard, own, notes)
                samples += made
                cases += [row] if made else []
                excluded += [
                    replace(each, detail=self.origin.without_paths(each.detail)) for each in own
                ]
        if not samples:
            self.shard.unlink()
        said = {
            "request": request,
            "bytes": self.shard.stat().st_size if samples else 0,
            "samples": [each.to_json() for each in samples],
            "cases": [asdict(each) for each in cases],
            "excluded": [asdict(each) for each in excluded],
            "notes": notes,
        }
        with atomic_path(self.facts) as path:
            path.write_text(json.dumps(said) + "\n", encoding="utf-8")
        counts = {"cases": len(cases), "samples": len(samples), "left_out": len(excluded)}
        return {**counts, "seconds": time.monotonic() - begun}

    def _convert(
        self, case: CaseFiles, shard: Shard, excluded: Excluded, notes: list[Noted]
    ) -> tuple[list[Sample], ManifestRow]:
        """The samples of a case, none if it is unusable, and the case for the manifest."""
        row = ManifestRow(self.origin.dataset, case.name, case.patient)
        if self.options.licence == "open" and not self.origin.is_open(case.name):
            licence = self.origin.licence_of(case.name) or "none stated"
            excluded.note("licence", licence)
            return [], row
        read = Reading(case, self.origin, self.options, excluded)
        samples = [
            self._add(piece, labels, targets, case, shard) for piece, labels, targets in read
        ]
        if read.failed:
            return [], row
        if not samples:
            excluded.note("no object left", "on any slice")
            return [], row
        notes += [(row.dataset, row.case, self.origin.without_paths(note)) for note in read.notes]
        return samples, replace(row, sha256=read.sha256, phash=" ".join(read.hashes))

    def _add(
        self,
        piece: Piece,
        labels: Labels,
        targets: tuple[Target, ...],
        case: CaseFiles,
        shard: Shard,
    ) -> Sample:
        """Store a 2D image with its labels."""
        key = f"{self.origin.dataset}/{case.name}"
        key += "" if piece.index is None else f"/{piece.index:04d}"
        rows, columns = piece.picture.shape[:2]
        return Sample(
            key=key,
            dataset=self.origin.dataset,
            case=case.name,
            patient=case.patient,
            group="",
            slice=piece.index,
            modality=piece.values.modality,
            shape=(rows, columns),
            pixel=piece.pixel,
            targets=targets,
            absent=case.absent,
            split="train",
            rule=piece.values.rule,
            clip=piece.values.clip,
            source=self.origin.source,
            licence=self.origin.licence_of(case.name),
            shard=self.shard.name,
            image=shard.add(key, piece.picture),
            labels=tuple(
                shard.add(f"{key}_labels{number}", layer) for number, layer in enumerate(labels)
            ),
        )


def parts_of_dataset(dataset: Dataset, root: Path, options: ConversionOptions) -> Iterator[Part]:
    """Divide a dataset into the parts that are curated one by one.

    Args:
        dataset: with its cases.
        root: folder of the collection.
        options: how they are converted.
    """
    origin = Origin.of(dataset)
    name = _file_name(dataset.name)
    cases: list[CaseFiles] = []
    size = number = 0

    def part() -> Part:
        own = {c.name: origin.licences[c.name] for c in cases if c.name in origin.licences}
        part_name = f"{name}-{number:04d}"
        return Part(part_name, root, replace(origin, licences=own), tuple(cases), options)

    seen: set[Path] = set()
    for case in dataset.cases:
        files = facts_of_files([case])
        bytes_ = sum(size for path, (_, size, _) in files.items() if path not in seen)
        seen |= set(files)
        if cases and (len(cases) == _CASES or size + bytes_ > _BYTES):
            yield part()
            cases, size, number = [], 0, number + 1
        cases.append(case)
        size += bytes_
    if cases:
        yield part()


def _file_name(name: str) -> str:
    """A dataset's name as that of a file, different for different names."""
    safe = re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII).strip(".")[:80]
    safe = f"_{safe}" if is_device(safe) else safe
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
