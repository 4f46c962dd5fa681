"""The end of a training: the report, the card, the files to keep, and what the user is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from promptseg._version import __version__
from promptseg.datasets.collection import Collection
from promptseg.models.checkpoint import read_checkpoint
from promptseg.train.boxed import BoxedStart
from promptseg.train.model_name import model_name
from promptseg.train.options import TrainOptions
from promptseg.train.release import data_facts, release
from promptseg.train.report import write_report
from promptseg.train.seen import images_seen, reported_and_seen
from promptseg.train.semantic.release import release_classes
from promptseg.train.semantic.start import SemanticStart
from promptseg.train.setting import Learner, Parts, StartingWeights
from promptseg.train.state import Progress
from promptseg.train.validate import Validation
from promptseg.train.verdict import Verdict

__all__ = ["SEMANTIC", "Trained", "finish", "noted_in"]

SEMANTIC = "best_semantic.safetensors"
"""The joint decoder that goes with the best weights."""


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        folder: of the training.
        verdict: on the best weights; None in processes that follow another, and after an interruption.
        name: of the new model.
        interrupted: whether it was stopped on the way; the same command goes on.
        seeds: of several trainings, what they came to and how far apart they lie, in lines.
    """

    folder: Path
    verdict: Verdict | None = None
    name: str = ""
    interrupted: bool = False
    seeds: tuple[str, ...] = ()


def finish(
    start: StartingWeights,
    learner: Learner,
    parts: Parts,
    options: TrainOptions,
    progress: Progress,
    measured: tuple[Validation, Validation],
) -> Trained:
    """Judge the best weights, and write the report, the card and the files to keep.

    Args:
        start: the model that was trained.
        learner: how it learnt.
        parts: the data.
        options: of the training.
        progress: how far it came.
        measured: the starting weights and the best ones on the samples of the report.

    Returns:
        What the training came to.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = options.output
    strategy = learner.strategy
    asks = strategy.objective.asks()
    used = {"train": parts.train, "validation": parts.validation, "report": parts.report}
    data = data_facts(parts.collection, used)
    facts = {
        "name": model_name(options, start.card.name),
        "strategy": {"preset": options.preset, **asdict(strategy)},
        "licence": _licence(start, data),
        "base_weights_sha256": start.sha256,
        "data": data,
        "options": _public(start, options),
        "updates": progress.updates,
        "best_update": progress.best_update,
        "seconds": round(progress.seconds, 1),
        "tensors_trained": len(learner.parameters),
        "parameters_trained": sum(p.numel() for p in learner.parameters.values()),
        "reported_on": parts.reported_on,
        "reported_and_seen": reported_and_seen(parts, start.card),
        "notes_on_data": noted_in(parts.collection),
        "versions": {"promptseg": __version__, "torch": torch.__version__},
    }
    if isinstance(start, SemanticStart):
        facts["decoder_at_start"] = "trained" if start.earlier else "untrained"
    elif isinstance(start, BoxedStart):
        facts["decoder_at_start"] = "untrained"
    told = {k: v for k, v in facts.items() if k != "data"}  # which is on the card
    verdict = write_report(folder, *measured, told, asks, folder)
    semantic = folder / SEMANTIC
    seen = images_seen(parts, start.card)
    if isinstance(start, SemanticStart):
        best = start.read(folder / "best.safetensors")
        known = replace(
            start.semantic,
            licence=str(facts["licence"]),
            modalities=", ".join(sorted({s.modality for s in parts.train})),
        )
        done = release_classes(best, known, facts, folder, verdict, seen)
        return Trained(folder, verdict, done.name)
    card = release(
        read_checkpoint(folder / "best.safetensors"),
        start.card,
        facts,
        folder,
        asks=asks,
        verdict=verdict,
        semantic=load_file(semantic) if semantic.exists() else None,
        seen=seen,
        words=parts.vocabulary.names if "text" in asks else (),
        words_seen_in=parts.vocabulary.modalities if "text" in asks else {},
    )
    return Trained(folder, verdict, card.name)


def noted_in(collection: Collection) -> dict[str, int]:
    """Return the readers' notes on the data, made at curation, each with the number of cases."""
    said = collection.facts.get("notes")
    if not isinstance(said, dict):  # of a version before
        return {}
    return {str(note): n for note, n in said.items() if type(n) is int}


def _public(start: StartingWeights, options: TrainOptions) -> dict[str, Any]:
    """The options without places on this machine."""
    said = {k: v for k, v in asdict(options).items() if not isinstance(v, Path)}
    return {**said, "model": start.card.name}


def _licence(start: StartingWeights, data: dict[str, Any]) -> str:
    closed = [name for name, entry in data["datasets"].items() if not entry["open"]]
    if not closed:
        return start.card.licence
    return f"{start.card.licence} (base); {len(closed)} datasets of its training are not open"
