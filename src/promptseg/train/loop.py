"""The loop: update after update, with everything that must not go wrong silently."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from promptseg.errors import InputError, PromptsegError
from promptseg.formats.files import atomic_path
from promptseg.models.families.specialist.build import BoxChannel
from promptseg.models.heads.semantic.network import SemanticNetwork
from promptseg.train.logs import Log
from promptseg.train.named import TrainingPhrases
from promptseg.train.networks import Trainee
from promptseg.train.objectives import Algorithm, AnyBatch, Step
from promptseg.train.parts import freeze_batch_norm, without_gradient
from promptseg.train.processes import Processes
from promptseg.train.samples import TrainingImages
from promptseg.train.schedule import Schedule
from promptseg.train.semantic.samples import TrainingClasses, TrainingStacks
from promptseg.train.sequences import TrainingClips
from promptseg.train.state import Average, Progress
from promptseg.train.stopping import End, Stop

__all__ = ["Loop", "TrainingError"]

log = logging.getLogger("promptseg")

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class TrainingError(PromptsegError):
    """A training that cannot go on."""


@dataclass
class _Sums:
    """Sums over the terms of one update, for the log."""

    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, each: Tensor) -> None:
        self.values[name] = self.values.get(name, 0.0) + float(each.detach().sum())
        self.counts[name] = self.counts.get(name, 0) + each.numel()

    def take(self, step: Step, last: str) -> None:
        """The terms of one round."""
        if step.name == "semantic":
            self.add("semantic_loss", step.mask)
            self.add("semantic_iou", step.overlap)
            return
        if step.name == "classes":
            self.add("class_loss", step.mask)
            self.add("class_dice", step.overlap)
            return
        self.add("mask_loss", step.mask)
        if step.iou is not None:
            self.add("iou_loss", step.iou)
        if step.presence is not None:
            self.add("presence_loss", step.presence)
        for name, each in step.others.items():
            self.add(f"{name}_loss", each)
        for name, each in step.seen.items():
            self.add(name, each)
        if step.name in ("first", "clip", "words", last):
            self.add(f"iou_{step.name.replace(' ', '_')}", step.overlap)


@dataclass
class Loop:
    """One training in one process.

    Attributes:
        sam: the network, in the state to go on from.
        algorithm: its objective.
        parameters: what learns, by name.
        optimizer: of those.
        images: the training part, as images, with phrases, or as clips.
        schedule: what each update takes.
        processes: who trains.
        seed: of the training.
        precision: what the network computes in.
        clip: largest norm of the gradient, or 0.
        train_batch_norm: whether running statistics follow the data.
        average: of the weights, if one is kept.
        progress: how far it is.
        workers: processes that read images.
        folder: for what must be looked at after a failure.
    """

    sam: Trainee
    algorithm: Algorithm
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    images: TrainingImages | TrainingClips | TrainingClasses | TrainingStacks | TrainingPhrases
    schedule: Schedule
    processes: Processes
    seed: int
    precision: torch.dtype
    clip: float
    train_batch_norm: bool
    average: Average | None
    progress: Progress
    workers: int
    folder: Path

    def run(
        self,
        logs: list[Log],
        stop: Stop,
        after: Callable[[int], None],
        show: Callable[[int, str], None],
    ) -> End:
        """Train until the end of the schedule, or until told to stop.

        Args:
            logs: where numbers go; those of the leading process count.
            stop: asks for an early end.
            after: called with the number of updates after each of them; validates and saves.
            show: called with the number of updates and a word on them.

        Returns:
            Why it ended; the same in all processes.

        Raises:
            TrainingError: a loss that is not finite, or weights that get no gradient.
            InputError: not enough memory.
        """
        loader = iter(self._loader())
        while self.progress.updates < self.schedule.updates:
            update = self.progress.updates
            start = time.perf_counter()
            with self._enough_memory():
                values = self._update(update, loader, stop)
            interrupted, late = values.pop("interrupted"), values.pop("late")
            seconds = time.perf_counter() - start
            self.progress.updates += 1
            self.progress.seconds += seconds
            images = values.pop("images")
            values["images_per_s"] = images / seconds
            if self.processes.leads:
                for each in logs:
                    each.write(self.progress.updates, "train", values)
                show(self.progress.updates, f"loss {values['loss']:.3f}")
            after(self.progress.updates)
            if (interrupted or late) and self.progress.updates < self.schedule.updates:
                return "interrupted" if interrupted else "late"
        return "done"

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self.images,
            batch_sampler=self.schedule.shares(
                self.progress.updates, self.processes.rank, self.processes.count
            ),
            collate_fn=self.images.join,
            num_workers=self.workers,
        )

    def _update(
        self, update: int, loader: Iterator[AnyBatch | PromptsegError], stop: Stop
    ) -> dict[str, float]:
        """One step of the optimizer; numbers for the log."""
        objective = self.algorithm.objective
        self.sam.train()
        if not self.train_batch_norm:
            new = isinstance(self.sam, SemanticNetwork | BoxChannel)  # behind the encoder
            freeze_batch_norm(self.sam.image_encoder if new else self.sam)
        rate = self.schedule.rate(update) * self.progress.factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        share = self.schedule.share(update, self.processes.rank, self.processes.count)
        objects = sum(self.images.objects(place) for places in share for place in places)
        mine = (objects, sum(map(len, share)), stop.interrupted, stop.late)
        together = self.processes.sum([float(v) for v in mine])
        objects, images, interrupted, late = map(int, together)
        terms = objective.terms(objects, images)
        sums, waited = _Sums(), 0.0
        failure: Exception | None = None
        try:
            for _ in share:
                start = time.perf_counter()
                batch = next(loader)
                waited += time.perf_counter() - start
                if isinstance(batch, PromptsegError):
                    raise batch
                self._back(batch.to(self.processes.device), update, terms, sums)
        except Exception as error:  # the others must not wait for this process
            failure = error
        if self.processes.sum([float(failure is not None)])[0]:
            raise failure or TrainingError(
                "all processes to go on", "a failure in another one", "see its message"
            )
        parameters = list(self.parameters.values())
        self.processes.sum_gradients(parameters)
        if update == 0:
            self._require_gradients()
        norm = nn.utils.clip_grad_norm_(parameters, self.clip or float("inf"))
        if not norm.isfinite():
            self._give_up(None, update, "gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.parameters)
        return {
            "epoch": update / self.schedule.per_epoch,
            "learning_rate": rate,
            **self._means(sums, terms),
            "gradient_norm": float(norm),
            "waiting_s": waited,
            "images": images,
            "interrupted": interrupted,
            "late": late,
        }

    def _back(self, batch: AnyBatch, update: int, terms: int, sums: _Sums) -> None:
        """The gradients of one micro-batch, round by round (see `Algorithm1`), or object by object."""
        algorithm: Any = self.algorithm  # what it takes is what `images` gives
        u = algorithm.draw(batch, self.seed, update)
        with self._reduced():
            embeddings = batch.embeddings
            if embeddings is None:
                assert batch.slices is not None
                embeddings = self.sam.encode(batch.slices)
        leaf = embeddings.detach().requires_grad_(embeddings.requires_grad)
        steps = algorithm.steps(leaf, batch, u)
        last = f"correction {algorithm.objective.n_steps}"
        while True:
            with self._reduced():
                step = next(steps, None)
            if step is None:
                break
            loss = step.total() / terms
            if not loss.isfinite():
                self._give_up(batch, update, "loss")
            if loss.requires_grad:
                loss.backward()
            sums.take(step, last)
        if leaf.grad is not None:
            embeddings.backward(leaf.grad)

    def _means(self, sums: _Sums, terms: int) -> dict[str, float]:
        """The mean of every kind of term over all processes, and the loss."""
        everyone = self.processes.gather((sums.values, sums.counts))
        names = sorted({name for values, _ in everyone for name in values})
        total = {n: sum(values.get(n, 0.0) for values, _ in everyone) for n in names}
        count = {n: sum(counts.get(n, 0) for _, counts in everyone) for n in names}
        loss = sum(total[n] for n in names if n.endswith("_loss")) / terms
        return {"loss": loss, **{n: total[n] / count[n] for n in names if count[n]}}

    def _reduced(self) -> AbstractContextManager[Any]:
        """Reduced precision, if wanted; for one round at a time, as casts of weights are part of it."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.processes.device.type, self.precision)

    def _require_gradients(self) -> None:
        """After the first update, say which weights do not learn; if none does, stop."""
        moving = [p for p in self.parameters.values() if p.grad is not None and p.grad.any()]
        if not moving:
            raise TrainingError(
                "a strategy that trains something",
                f"no gradient in any of {len(self.parameters)} tensors",
                "the objective does not ask for what is to learn: change --preset or --trains",
            )
        idle = without_gradient(self.parameters)
        if idle and self.processes.leads:
            groups = sorted({".".join(name.split(".")[:2]) for name in idle})
            log.warning(
                "%d of %d tensors get no gradient from this objective and stay as they are: %s",
                len(idle),
                len(self.parameters),
                ", ".join(groups),
            )

    def _give_up(self, batch: AnyBatch | None, update: int, what: str) -> None:
        advice = "lower --learning-rate, or use --clip 1 or --precision float32"
        if batch is not None:
            path = self.folder / "bad_batch.pt"
            with suppress(PromptsegError, RuntimeError), atomic_path(path) as temporary:
                torch.save({"update": update, **asdict(batch)}, temporary)
                advice = f"look at {path}; {advice}"
        raise TrainingError(
            f"a finite {what}",
            f"one that is not, in update {update + 1}; the weights before it are kept in last.pt",
            advice,
        )

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            memory = isinstance(error, (torch.OutOfMemoryError, MemoryError))
            if not memory and not any(words in said.lower() for words in _NO_MEMORY):
                raise
            lower = (
                f"lower --micro-batch (now {self.schedule.micro_batch})"
                if self.schedule.micro_batch > 1
                else "lower --n-objects, or train less with --trains decoder"
            )
            raise InputError(
                "enough memory for an update",
                said,
                f"{lower}, or use --activation-checkpointing or --precision bf16",
            ) from None
