"""The pieces of a curation that are done whole or not at all: some cases of a dataset, one shard."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.curate.collection import SCHEMA, Sample, Shard
from promptseg.curate.options import ConversionOptions
from promptseg.curate.rules import Excluded, Exclusion
from promptseg.curate.slices import Piece, labels_of, pieces_of
from promptseg.curate.sources import Origin
from promptseg.curate.tiles import Mosaic, is_slide, tile_pieces
from promptseg.errors import GeometryError, InputError
from promptseg.evaluate.datasets import CaseFiles, Dataset
from promptseg.evaluate.manifest import ManifestRow, perceptual_hashes
from promptseg.formats.files import atomic_path
from promptseg.image import Image

__all__ = ["FACTS", "SHARDS", "Part", "Result", "divided"]

SHARDS, FACTS = "shards", "parts"
_CASES, _BYTES = 256, 128_000_000


@dataclass(frozen=True)
class Result:
    """What a part came to.

    Attributes:
        samples: of its shard; parts and groups are not known yet.
        cases: every case with a sample.
        excluded: what was left out.
    """

    samples: list[Sample]
    cases: list[ManifestRow]
    excluded: list[Exclusion]


@dataclass(frozen=True)
class Part:
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
        """The ZIP file; not there if no sample is."""
        return self.root / SHARDS / f"{self.name}.zip"

    @property
    def facts(self) -> Path:
        """The file that makes the shard count."""
        return self.root / FACTS / f"{self.name}.json"

    def input_bytes(self) -> int:
        """Size of all files."""
        return sum(size for _, size, _ in self._files())

    def request(self) -> str:
        """Hash of all that the result depends on: options, what is known of the cases, their files."""
        origin = {k: v for k, v in asdict(self.origin).items() if k != "root"}
        said = {
            "schema": SCHEMA,
            "promptseg": __version__,
            "options": self.options.conversion(),
            "origin": origin,
            "cases": [(case.name, case.patient, case.annotated) for case in self.cases],
            "files": self._files(),
        }
        return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()

    def result(self) -> Result | None:
        """What it came to; None if it is not done, or was done for other options or files."""
        try:
            said = json.loads(self.facts.read_text(encoding="utf-8"))
            if said["request"] != self.request():
                return None
            if said["bytes"] and self.shard.stat().st_size != said["bytes"]:
                return None
            return Result(
                [Sample.from_json(each) for each in said["samples"]],
                [ManifestRow(**each) for each in said["cases"]],
                [Exclusion(**each) for each in said["excluded"]],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def do(self) -> None:
        """Convert the cases; a case that is not usable is noted and left out.

        Raises:
            OutputError: the shard cannot be written.
        """
        request = self.request()
        self.facts.unlink(missing_ok=True)
        samples: list[Sample] = []
        cases: list[ManifestRow] = []
        excluded: list[Exclusion] = []
        with Shard(self.shard) as shard:
            for case in self.cases:
                own = Excluded(self.origin.dataset, case.name)
                made, row = self._convert(case, shard, own)
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
        }
        with atomic_path(self.facts) as path:
            path.write_text(json.dumps(said) + "\n", encoding="utf-8")

    def _convert(
        self, case: CaseFiles, shard: Shard, excluded: Excluded
    ) -> tuple[list[Sample], ManifestRow]:
        """The samples of a case, none if it is unusable, and the case for the manifest."""
        row = ManifestRow(self.origin.dataset, case.name, case.patient)
        if self.options.licence == "open" and not self.origin.is_open(case.name):
            licence = self.origin.licence_of(case.name) or "none stated"
            excluded.note("licence", licence)
            return [], row
        samples = []
        try:
            if is_slide(case.image):
                mosaic = Mosaic()
                pieces = tile_pieces(case, self.origin, self.options, excluded, mosaic)
                samples = [self._add(piece, case, shard) for piece in pieces]
                shown, digest = mosaic.image(), ""
            else:
                loaded = _load(case, excluded)
                if loaded is None:
                    return [], row
                shown, segments = loaded
                pieces = pieces_of(shown, segments, case.annotated, self.options, excluded)
                samples = [self._add(piece, case, shard) for piece in pieces]
                digest = shown.sha256() if samples else ""
        except InputError as error:
            excluded.note(_rule_of(error), str(error))
            return [], row
        if not samples:
            excluded.note("no object left", "on any slice")
            return [], row
        hashes = perceptual_hashes(shown) if shown else []
        return samples, replace(row, sha256=digest, phash=" ".join(hashes))

    def _add(self, piece: Piece, case: CaseFiles, shard: Shard) -> Sample:
        """Store a picture with its labels."""
        labels, targets = labels_of(piece.patches, piece.picture.shape[:2])
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

    def _files(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of every file of the cases; missing ones count as empty."""
        found = []
        for case in self.cases:
            for path in (case.image, *case.truth):
                with suppress(OSError):
                    files = sorted(path.rglob("*")) if path.is_dir() else [path]
                    for file in files:
                        facts = file.stat()
                        found.append((file.name, facts.st_size, facts.st_mtime_ns))
        return found


def divided(dataset: Dataset, root: Path, options: ConversionOptions) -> Iterator[Part]:
    """The parts of a dataset.

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

    for case in dataset.cases:
        bytes_ = Part("", root, origin, (case,), options).input_bytes()
        if cases and (len(cases) == _CASES or size + bytes_ > _BYTES):
            yield part()
            cases, size, number = [], 0, number + 1
        cases.append(case)
        size += bytes_
    if cases:
        yield part()


def _load(case: CaseFiles, excluded: Excluded) -> tuple[Image, list[Any]] | None:
    """Image and objects of a case; None, and a note, if they cannot be used."""
    try:
        image = case.load_image()
        low, high = image.voxels.min(), image.voxels.max()
    except Exception as error:  # whatever a reader makes of a broken file, the job goes on
        excluded.note("incomplete image", _first_line(error))
        return None
    if low == high:
        excluded.note("empty image", f"every voxel is {low}")
        return None
    try:
        segments = case.truth_reader(case, image).segments
    except Exception as error:
        excluded.note(_rule_of(error, "unusable mask"), _first_line(error))
        return None
    if not segments:
        excluded.note("empty mask", "no object in it")
        return None
    return image, list(segments)


def _rule_of(error: Exception, otherwise: str = "incomplete image") -> str:
    if isinstance(error, InputError) and "whole numbers" in error.expected:
        return "labels not integers"
    return "mask of another grid" if isinstance(error, GeometryError) else otherwise


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _file_name(name: str) -> str:
    """A dataset's name as that of a file, different for different names."""
    safe = re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII).strip(".")[:80]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
