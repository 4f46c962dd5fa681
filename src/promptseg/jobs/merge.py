"""Merging from beginning to end: candidates, their validation, a report, weights to keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptseg import assets
from promptseg._version import __version__
from promptseg.datasets.collection import Collection, Sample
from promptseg.datasets.manifest import ManifestRow, read_manifest
from promptseg.errors import InputError, OutputError
from promptseg.formats.files import write_csv
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.inference.predictor import Predictor
from promptseg.models.checkpoint import build_network, open_checkpoint, require_architecture
from promptseg.progress import step_progress
from promptseg.runtime import choose_device, set_threads
from promptseg.train.comparison import Comparison
from promptseg.train.kept import KeptEmbeddings, keep_embeddings
from promptseg.train.merge_options import MergeOptions
from promptseg.train.mixing import Mixture, Search, mixed, search
from promptseg.train.release import TRAINED_ON, data_facts, release, write_safetensors
from promptseg.train.report import write_report
from promptseg.train.setting import StartingWeights
from promptseg.train.validate import Validation, choose_validation, validate
from promptseg.train.verdict import Verdict, compare
from promptseg.work import request_hash

__all__ = ["Merged", "merge"]

_SHARES = (0.25, 0.5, 0.75)
_TABLE = "merge.csv"
_MEASURED = "measured"
_CANDIDATE = "candidate.safetensors"
_OURS = (
    *(_TABLE, _CANDIDATE),
    *("model.pth", "model.safetensors", "card.json", "card.md", TRAINED_ON),
    *("report.md", "report.json", "curves.png"),
)
_ENCODER = "image_encoder."


@dataclass(frozen=True)
class Merged:
    """Outcome of merging weights.

    Attributes:
        folder: of the weights and the report.
        names: of the weights, the start first.
        search: every mixture that was tried.
        verdict: the best mixture against the start, on the samples of the report.
        gains: the best mixture against the best of the weights alone, per kind of prompt.
    """

    folder: Path
    names: tuple[str, ...]
    search: Search
    verdict: Verdict
    gains: list[Comparison] = field(default_factory=list)

    def shares(self) -> str:
        """Return the shares of the best mixture in words."""
        best = zip(self.names, self.search.best, strict=True)
        return ", ".join(f"{name} {share:.3g}" for name, share in best if share)

    def lines(self) -> list[str]:
        """Return the lines that a person is told."""
        told = [f"shares   {self.shares()}", f"{self.verdict.outcome}:", *self.verdict.reasons]
        for gain in self.gains:
            told.append(
                f"against the best alone, {gain.prompt}: {gain.difference:+.3f} "
                f"({gain.low:+.3f} to {gain.high:+.3f})"
            )
        told.append(f"report   {self.folder / 'report.md'}")
        told.append(f"weights  {self.folder / 'model.safetensors'}")
        return told

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {
            "shares": dict(zip(self.names, self.search.best, strict=True)),
            "tried": [[list(m), score] for m, score in self.search.tried.items()],
            "verdict": self.verdict.to_json(),
        }


def merge(options: MergeOptions) -> Merged:
    """Find the mixture of a start and of weights trained from it that does best on validation.

    Args:
        options: what, on what, and how.

    Returns:
        What was tried and what came of it.

    Raises:
        InputError: no weights, or a collection without a validation part.
        ModelError: weights of another architecture than the start's.
        OutputError: a folder with something else in it.
    """
    options.check()
    set_threads(options.threads)
    start = StartingWeights.load(options.model, options.quiet)
    evaluator = _Evaluator.of(start, options)
    _take_folder(options, evaluator.files)
    evaluator.keep_embeddings()
    found = search(len(evaluator.weights), evaluator.score, options.share or _SHARES)
    _write_table(options.output / _TABLE, evaluator, found)
    alone = {m: score for m, score in found.tried.items() if max(m) == 1.0}
    best_alone = max(alone, key=alone.__getitem__)
    one = (1.0, *(0.0,) * (len(evaluator.weights) - 1))
    before, single, after = (
        evaluator.measured(m, report=True) for m in (one, best_alone, found.best)
    )
    asks = frozenset.intersection(*evaluator.prompts)
    facts = _facts(start, evaluator, found, options)
    told = {k: v for k, v in facts.items() if k != "data"}
    verdict = write_report(options.output, before, after, told, asks)
    release(
        evaluator.mixture(found.best),
        start.card,
        facts,
        options.output,
        asks=asks,
        verdict=verdict,
        seen=evaluator.seen,
    )
    (options.output / _CANDIDATE).unlink(missing_ok=True)
    gains = [] if found.best == best_alone else compare(single, after, asks).comparisons
    return Merged(options.output, tuple(evaluator.names), found, verdict, list(gains))


@dataclass
class _Evaluator:
    """Where mixtures are measured.

    Attributes:
        start: the weights that all were trained from.
        options: how to measure.
        collection: on what.
        validation, report: samples that shares are chosen on, and that the report is about.
        names, files, hashes, weights: of all weights, the start first.
        prompts: kinds of prompts that each was trained for.
        seen: hashes of the images that they have seen.
        kept: embeddings, where all weights share the encoder.
    """

    start: StartingWeights
    options: MergeOptions
    collection: Collection
    validation: list[Sample]
    report: list[Sample]
    names: list[str]
    files: list[Path]
    hashes: list[str]
    weights: list[dict[str, Tensor]]
    prompts: list[frozenset[str]]
    seen: list[ManifestRow]
    kept: KeptEmbeddings | None = None

    @classmethod
    def of(cls, start: StartingWeights, options: MergeOptions) -> _Evaluator:
        """Read the weights and the collection; what does not fit together is refused."""
        own = {k: v.detach() for k, v in start.network().state_dict().items()}
        evaluator = cls(
            start,
            options,
            collection=Collection(options.input),
            validation=[],
            report=[],
            names=[],
            files=[],
            hashes=[],
            weights=[],
            prompts=[],
            seen=[],
        )
        evaluator._add(start.card.name, start.file, own, start.card.prompts, start.card.trained_on)
        for number, file in enumerate(options.weights, start=1):
            card, path, tensors = open_checkpoint(file, options.quiet)
            require_architecture(start.card, tensors, path)
            name = path.parent.name if path.stem == "model" else path.stem
            name = name if name not in evaluator.names else f"{name}-{number}"
            evaluator._add(name, path, tensors, card.prompts, card.trained_on)
        of = evaluator.collection.of
        if not of("validation"):
            raise InputError(
                "images in the validation part", f"{options.input} without", "curate more data"
            )
        part, seed = evaluator.collection.report_part, options.seed
        evaluator.validation = choose_validation(of("validation"), options.validation_images, seed)
        evaluator.report = choose_validation(of(part), options.report_images, seed)
        return evaluator

    def _add(
        self,
        name: str,
        file: Path,
        tensors: dict[str, Tensor],
        prompts: frozenset[str],
        trained_on: Any,
    ) -> None:
        self.names.append(name)
        self.files.append(file)
        self.hashes.append(assets.sha256_of(file))
        self.weights.append(tensors)
        self.prompts.append(prompts)
        if trained_on is not None and Path(trained_on.file).is_file():
            known = set(self.seen)
            self.seen += [r for r in read_manifest(trained_on.file) if r not in known]

    def keep_embeddings(self) -> None:
        """Encode every sample once, if all weights share the encoder."""
        first, *others = (
            {k: v for k, v in tensors.items() if k.startswith(_ENCODER)} for tensors in self.weights
        )
        if any(not torch.equal(other[k], v) for other in others for k, v in first.items()):
            return
        folder = self.options.embeddings or self.options.output / "embeddings"
        samples = list({s.key: s for s in (*self.validation, *self.report)}.values())
        predictor = self._predictor(self.weights[0])
        with step_progress("embeddings", len(samples), self.options.quiet) as show:
            self.kept = keep_embeddings(predictor, self.collection, samples, folder, show)

    def mixture(self, shares: Mixture) -> dict[str, Tensor]:
        """The weights of a mixture."""
        return mixed(self.weights, shares)

    def score(self, shares: Mixture) -> float:
        """Mean DSC over the kinds of prompts, on the validation part."""
        means = self.measured(shares, report=False).means()
        return sum(means.values()) / len(means)

    def measured(self, shares: Mixture, report: bool) -> Validation:
        """How a mixture answers; found again if it was measured before."""
        options = self.options
        samples = self.report if report else self.validation
        about = json.dumps(
            [
                *([h, s] for h, s in zip(self.hashes, shares, strict=True) if s),
                *(self.collection.sha256, options.engine, options.seed, options.corrections),
                *(options.validation_objects, report, [s.key for s in samples]),
            ]
        )
        path = options.output / _MEASURED / f"{request_hash({'about': about})[:16]}.npz"
        if path.exists() and (found := Validation.read(path)).about == about:
            return found
        title = ", ".join(f"{n} {s:.3g}" for n, s in zip(self.names, shares, strict=True) if s)
        with step_progress(title, len(samples), options.quiet) as show:
            found = validate(
                self._predictor(self.mixture(shares)),
                self.collection,
                samples,
                corrections=options.corrections,
                max_objects=options.validation_objects,
                seed=options.seed,
                shifted=report,
                kept=self.kept,
                progress=show,
            )
        found.about = about
        path.parent.mkdir(parents=True, exist_ok=True)
        found.write(path)
        return found

    def _predictor(self, tensors: dict[str, Tensor]) -> Predictor:
        """A model with some weights, in a file of their own: engines know them by its hash."""
        file = self.options.output / _CANDIDATE
        write_safetensors(file, {k: v.contiguous() for k, v in tensors.items()}, {"format": "pt"})
        network = build_network(self.start.card, tensors, file)
        device = choose_device(self.options.device)
        return Predictor.of_network(self.start.card, network, device, file, self.options.engine)


def _take_folder(options: MergeOptions, read: Sequence[Path]) -> None:
    """Refuse what is no folder, or holds other things than a merging; list what this one will write."""
    folder = options.output
    own = OwnFolder(folder)
    own.take("train merge", *_OURS, _MEASURED)
    if not own.is_ours and folder.exists() and any(folder.iterdir()):
        raise OutputError(
            "a new folder, or one with a merging", f"{folder} with other files", "choose another"
        )
    own.check(*_OURS)
    reads = Reads([*read, options.config])
    check_outputs((folder / name for name in _OURS if "*" not in name), overwrite=True, reads=reads)
    if options.overwrite:
        own.remove(*_OURS, _MEASURED)
    own.claim(*_OURS, f"{_MEASURED}/*.npz")


def _write_table(path: Path, evaluator: _Evaluator, found: Search) -> None:
    """Every mixture that was tried, with its means on the validation part."""
    prompts = list(evaluator.measured(found.best, report=False).means())
    rows = []
    for mixture, score in found.tried.items():
        means = evaluator.measured(mixture, report=False).means()
        shares = (f"{share:.4g}" for share in mixture)
        rows.append([*shares, *(f"{means[name]:.4f}" for name in prompts), f"{score:.4f}"])
    write_csv(path, [*(f"share of {name}" for name in evaluator.names), *prompts, "score"], rows)


def _facts(
    start: StartingWeights, evaluator: _Evaluator, found: Search, options: MergeOptions
) -> dict[str, Any]:
    """What the card and the report say of the merging."""
    used = {"validation": evaluator.validation, "report": evaluator.report}
    data = data_facts(evaluator.collection, used)
    shares = dict(zip(evaluator.names, (round(s, 4) for s in found.best), strict=True))
    return {
        "name": options.output.resolve().name,
        "strategy": {"preset": "merge", "shares": shares},
        "base_weights_sha256": start.sha256,
        "data": data,
        "merged": {
            name: {"sha256": sha256, "share": shares[name]}
            for name, sha256 in zip(evaluator.names, evaluator.hashes, strict=True)
        },
        "tried": len(found.tried),
        "reported_on": "the test part"
        if evaluator.collection.report_part == "test"
        else "the validation part",
        "versions": {"promptseg": __version__, "torch": torch.__version__},
    }
