"""Validation while training, and what is kept: the last state to go on from and the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptseg.datasets.collection import Sample
from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.models.checkpoint import build_network, read_checkpoint
from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.train.asking import validate_phrases
from promptseg.train.boxed import BoxedStart
from promptseg.train.comparison import needed_for
from promptseg.train.kept import KeptEmbeddings
from promptseg.train.logs import Log
from promptseg.train.objectives import WordObjective
from promptseg.train.options import TrainOptions
from promptseg.train.outcome import SEMANTIC
from promptseg.train.processes import Processes
from promptseg.train.release import write_safetensors
from promptseg.train.semantic.start import SemanticStart
from promptseg.train.semantic.validate import validate_classes
from promptseg.train.setting import Learner, Parts, StartingWeights
from promptseg.train.state import Progress, save_state
from promptseg.train.validate import Validation, validate
from promptseg.train.warm import WARM, write_warm

__all__ = ["Watch", "asked_means", "load_predictor", "measure", "measure_file"]

_SAVE_EVERY = 300  # seconds


def asked_means(validation: Validation, asks: frozenset[str]) -> dict[str, float]:
    """Return the means of a validation for the prompts that an objective asks with; all, if none.

    Args:
        validation: of a model.
        asks: kinds of prompts the objective asks with.
    """
    means = validation.means()
    asked = {name: mean for name, mean in means.items() if needed_for(name) <= asks}
    return asked or means


def measure_file(
    start: StartingWeights,
    file: Path,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    report: bool,
    kept: KeptEmbeddings | None = None,
    show: Callable[[int, str], None] | None = None,
) -> Validation:
    """Validate the model that is trained with the weights of a file; see `measure`."""
    model: Predictor | SemanticSam
    if isinstance(start, SemanticStart):
        model = start.model(file, processes.device)
    else:
        model = load_predictor(start, file, processes, options.engine)
    return measure(
        model, parts, options=options, processes=processes, report=report, kept=kept, show=show
    )


def measure(
    predictor: Predictor | SemanticSam,
    parts: Parts,
    options: TrainOptions,
    processes: Processes,
    report: bool,
    kept: KeptEmbeddings | None = None,
    show: Callable[[int, str], None] | None = None,
) -> Validation:
    """Validate a model, each process a share of the samples.

    Args:
        predictor: the model.
        parts: the data.
        options: how.
        processes: who does it.
        report: on the samples of the report, with shifted boxes; otherwise on those of validation.
        kept: embeddings of the samples, where the encoder does not learn.
        show: told how far it is.
    """
    samples = parts.report if report else parts.validation
    own = samples[processes.rank :: processes.count]
    if isinstance(predictor, SemanticSam):
        about = (predictor, parts.collection, own, parts.runs[1], kept, show)
        return _gathered(validate_classes(*about), samples, processes)
    if isinstance(options.objective(), WordObjective):
        mine = validate_phrases(
            predictor,
            parts.collection,
            own,
            parts.vocabulary,
            max_names=options.validation_objects,
            seed=options.seed,
            progress=show,
        )
    else:
        mine = validate(
            predictor,
            parts.collection,
            own,
            corrections=options.corrections,
            max_objects=options.validation_objects,
            seed=options.seed,
            shifted=report,
            kept=kept,
            clip_of=parts.clip_of if parts.runs[1] else None,
            progress=show,
        )
    return _gathered(mine, samples, processes)


def _gathered(mine: Validation, samples: Sequence[Sample], processes: Processes) -> Validation:
    """The answers of all processes, in the order of the samples."""
    every = processes.gather(mine)
    answers = [a for one in every for a in one.answers]
    embeddings = {k: v for one in every for k, v in one.embeddings.items()}
    order = {sample.key: k for k, sample in enumerate(samples)}
    return Validation(
        sorted(answers, key=lambda a: order[a.sample]),
        {k: embeddings[k] for k in order if k in embeddings},
    )


@dataclass
class Watch:
    """The work between updates: logs, validations, and the weights that are kept.

    Attributes:
        start: the model that is trained.
        learner: it, learning.
        parts: the data.
        options: of the training.
        processes: who trains.
        progress: how far it is.
        binding: what a resumed training must share.
        logs: where numbers go.
        every: updates between validations.
        last: the last update.
        kept: embeddings, where the encoder does not learn.
    """

    start: StartingWeights
    learner: Learner
    parts: Parts
    options: TrainOptions
    processes: Processes
    progress: Progress
    binding: dict[str, object]
    logs: list[Log]
    every: int
    last: int
    kept: KeptEmbeddings | None = None
    _saved: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """Return the folder of the training."""
        return self.options.output

    @property
    def best(self) -> Path:
        """Return the file of the best weights so far."""
        return self.folder / "best.safetensors"

    def after(self, update: int) -> None:
        """Validate and save where it is time to."""
        if update % self.every == 0 or update == self.last:
            self.validate()
        elif time.monotonic() - self._saved > _SAVE_EVERY:
            self.save()

    def validate(self) -> None:
        """Measure the weights as they are kept, from the file they are kept in."""
        candidate = self.folder / "candidate.safetensors"
        sam, semantic = self.learner.weights()
        if self.processes.leads:
            write_safetensors(candidate, sam, {})
        self.processes.wait()
        found = self._measured(candidate)
        objective = self.learner.strategy.objective
        means = asked_means(found, objective.asks())
        score = sum(means.values()) / len(means)
        if not math.isfinite(score):
            raise InputError("objects in the validation part", f"{self.options.input} without any")
        better = self.progress.best_score is None or score > self.progress.best_score
        self._slow_down(better)
        if better:
            self.progress.best_score, self.progress.best_update = score, self.progress.updates
            if self.processes.leads:
                candidate.replace(self.best)
                if semantic is not None:
                    write_safetensors(self.folder / SEMANTIC, semantic, {})
        if self.processes.leads:
            candidate.unlink(missing_ok=True)
        self._log(found, score)  # first: rows beyond the state are dropped, none is missing then
        self.save()
        self.processes.wait()

    def _slow_down(self, better: bool) -> None:
        """Lower the learning rate where validations have long been no better (`Rates.plateau`)."""
        rates, progress = self.learner.strategy.rates, self.progress
        progress.waited = 0 if better else progress.waited + 1
        if rates.plateau != 1 and progress.waited > rates.patience:
            progress.factor, progress.waited = progress.factor * rates.plateau, 0

    def begin(self) -> None:
        """Measure the starting weights; they are no candidate for the best."""
        found = self._measured(self.start.file)
        self._log(found, sum(found.means().values()) / len(found.means()))

    def _measured(self, file: Path) -> Validation:
        about = (self.parts, self.options, self.processes)
        return measure_file(self.start, file, *about, report=False, kept=self.kept)

    def _log(self, found: Validation, score: float) -> None:
        if self.processes.leads:
            for each in self.logs:
                each.write(self.progress.updates, "validation", {**found.means(), "score": score})

    def save(self) -> None:
        """Keep the state to go on from."""
        self._saved = time.monotonic()
        if self.processes.leads:
            for each in self.logs:
                each.flush()
            learner = self.learner
            save_state(
                self.folder / "last.pt",
                learner.modules,
                learner.optimizer,
                learner.average,
                self.progress,
                self.binding,
            )
            if learner.semantic is None:
                write_warm(self.folder / WARM, learner.weights()[0], self.progress.updates)


def load_predictor(
    start: StartingWeights, file: Path, processes: Processes, engine: str
) -> Predictor:
    """Load the model that is trained, with the weights of a file."""
    made = isinstance(start, BoxedStart) and file == start.file  # of no file
    tensors = start.tensors if made else read_checkpoint(file)
    network = build_network(start.card, tensors, file)
    return Predictor.of_network(start.card, network, processes.device, file, engine)
