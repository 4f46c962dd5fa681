"""The loop itself: what can be done without an expert is done, and then it waits for one."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from promptseg.errors import InputError, PromptsegError
from promptseg.image import Segment
from promptseg.loop.choosing import choose, spent
from promptseg.loop.learning import (
    Taken,
    collect,
    learn,
    measured,
    score_of,
    training_options,
    verdict_on,
)
from promptseg.loop.options import LoopOptions
from promptseg.loop.pool import read_pool
from promptseg.loop.report import write_report
from promptseg.loop.seeing import ClassVersion, Looker, PromptVersion, Version
from promptseg.loop.state import LoopFolder, Round, RoundResult
from promptseg.loop.stopping import is_flat
from promptseg.loop.taking import answers_of_labels, take
from promptseg.loop.tasks import TaskFolder
from promptseg.runtime import set_threads
from promptseg.segment.options import SegmentOptions
from promptseg.train.objectives import SemanticObjective
from promptseg.train.options import TrainOptions

__all__ = ["Stands", "Where", "loop"]

log = logging.getLogger("promptseg")

Where = Literal["annotate", "flat", "spent", "all annotated", "went back", "interrupted"]


@dataclass(frozen=True)
class Stands:
    """State of a loop when a call ends.

    Attributes:
        where: annotate: a task waits for an expert; flat: the last rounds gained nothing; spent: the
            budget; all annotated; went back; interrupted: the same command goes on.
        folder: of the loop.
        task: folder that waits for an expert; None where none does.
        images: of that task.
        results: of the rounds that have ended.
        model: that the page is to be served with.
        best: number of the round whose version does best; None before the first.
        weights: file of that version.
        minutes: of the expert so far, where they are known.
    """

    where: Where
    folder: Path
    task: Path | None
    images: int
    model: str
    results: tuple[RoundResult, ...]
    best: int | None
    weights: Path | None
    minutes: float | None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        said = asdict(self)
        for name in ("folder", "task", "weights"):
            said[name] = said[name] and str(said[name])
        return said

    def lines(self) -> list[str]:
        """Return the lines that a person is told."""
        told = []
        if self.results:
            last = self.results[-1]
            told.append(
                f"round {last.round}: DSC {last.score:.3f} on {last.measured_on} images, "
                f"{last.learnt_from} learnt from" + (f"; {last.outcome}" if last.outcome else "")
            )
        if self.where == "annotate":
            told.append(
                f"annotate {self.images} images: promptseg serve --root {self.task} "
                f"--model {self.model}"
            )
            told.append("then give the same command again")
        said = {
            "flat": "the curve is flat: more of these images hardly help "
            "(--flat and --patience say when)",
            "spent": "the budget is spent",
            "all annotated": "every image is annotated",
            "went back": "went back; the same command without --back-to goes on from there",
            "interrupted": "interrupted: the same command goes on",
        }
        if self.where in said:
            told.append(said[self.where])
        if self.weights is not None:
            told.append(f"best     round {self.best}: {self.weights}")
        return [*told, f"report   {self.folder / 'report.html'}"]


def loop(options: LoopOptions) -> Stands:
    """Do what can be done without an expert.

    Args:
        options: on what, and how; the same at every call but for those that say how to go on.

    Returns:
        Where the loop stands.

    Raises:
        InputError: no budget, a task that is empty, half done or has objects of other names.
        OutputError: a folder with something else in it, or a full disk; the same call goes on.
        PromptsegError: as of the training.
    """
    options.check()
    set_threads(options.threads)
    return _Loop(options).run()


class _Loop:
    """One call.

    Args:
        options: of it.
    """

    def __init__(self, options: LoopOptions) -> None:
        self.options = options
        self.pool = read_pool(options)
        self.folder = LoopFolder(options)
        self._require_budget()
        self.folder.save()
        self.reading = SegmentOptions(modality=options.modality, window=options.window)

    @cached_property
    def looker(self) -> Looker:
        """The model that every round starts from."""
        o = self.options
        return Looker.of(
            o.model,
            self.folder.root / "embeddings",
            options=self.reading,
            slices=o.slices_looked_at,
            engine=o.engine,
            device=o.device,
            quiet=o.quiet,
        )

    def run(self) -> Stands:
        """Round after round, until an expert is needed or there is no point in going on."""
        options = self.options
        if options.back_to is not None:
            gone = self.folder.go_back(options.back_to)
            log.warning("rounds set aside: %s", ", ".join(map(str, gone)) or "none")
            return self._stands("went back")
        while True:
            current = self._open_round()
            if current is None:
                if why := self._reason_to_stop():
                    return self._stands(why)
                current = self._begin()
                if current is None:
                    return self._stands("all annotated")
            task = TaskFolder(current.task, self.reading)
            fresh = not task.is_written
            if fresh:
                self._write(current, task)
            if current.came is None:
                names = [p.name for p in current.picked]
                if options.simulate:
                    answers = answers_of_labels(names, self.pool, options.task == "classes")
                elif fresh:
                    return self._stands("annotate", current)
                else:
                    answers = task.answers(names, self.looker.segmenter, self.folder.classes)
                take(current, task, answers, self.folder, options)
            if not self._learn(current):
                return self._stands("interrupted")

    def _require_budget(self) -> None:
        o = self.options
        needed = 0 if o.validation is not None else o.validation_images
        if o.budget is not None and o.budget <= needed:
            raise InputError(
                f"a --budget above the {needed} images that are measured on",
                str(o.budget),
                "raise it, lower --validation-images, or give --validation",
            )

    def _open_round(self) -> Round | None:
        """The round that has begun and not ended."""
        rounds = self.folder.rounds
        return rounds[-1] if rounds and rounds[-1].result is None else None

    def _reason_to_stop(self) -> Where | None:
        o, results = self.options, self.folder.results
        if is_flat([r.score for r in results], o.flat, o.patience):
            return "flat"
        return "spent" if results and not spent(self.folder).leaves(o) else None

    def _begin(self) -> Round | None:
        """The next round, with its images; None where there is none left."""
        current = self.folder.round(len(self.folder.rounds) + 1)
        needs = self.options.strategy in ("both", "uncertainty")
        version = self._present() if needs else None
        if isinstance(version, PromptVersion) and not any(e.prompts for e in self.pool.values()):
            version.require_clicks()
        about = (self.folder, self.pool, self.looker, version, self.options)
        chosen = choose(*about)
        if not any(p.part == "train" for p in chosen):
            return None
        current.pick(chosen, self.options.strategy)
        return current

    def _present(self) -> Version | None:
        """The model as the last round left it; None where nothing of classes is learnt yet."""
        o, results = self.options, self.folder.results
        about = (self.looker, o.uncertainty, o.seed)
        if not results:
            return None if o.task == "classes" else PromptVersion(None, o.device, *about, True)
        folder = self.folder.round(results[-1].round).version
        frozen = training_options(o, folder.parent, ()).preset_values().trains == "decoder"
        if o.task == "classes":
            return ClassVersion(folder, o.device, *about, frozen)
        return PromptVersion(folder / "model.safetensors", o.device, *about, frozen)

    def _write(self, current: Round, task: TaskFolder) -> None:
        """The task, with proposals where the present model has any."""
        picked = {p.name: p for p in current.picked}
        entries = [self.pool[name] for name in picked if name in self.pool]
        if lost := [name for name in picked if name not in self.pool]:
            raise InputError(
                "the images that were chosen",
                f"{self.options.input} without {lost[0]}",
                "put it back",
            )
        proposals: dict[str, list[Segment]] = {}
        version = self._present()
        for entry in entries if version is not None else ():
            assert version is not None
            try:
                if found := version.propose(entry):
                    proposals[entry.name] = found
            except PromptsegError as error:
                log.warning("no proposal for %s: %s", entry.name, error)
        task.write(entries, picked, proposals, self.looker.segmenter, self.folder.classes)

    def _taken(self) -> list[Taken]:
        """Everything annotated by now that shows something."""
        found = []
        for one in self.folder.rounds:
            task = TaskFolder(one.task, self.reading)
            found += [
                Taken(
                    came.name,
                    task.image_of(came.name),
                    one.folder / "labels" / came.label,
                    self.pool[came.name].patient if came.name in self.pool else came.name,
                    came.part,
                )
                for came in one.came or ()
                if came.label
            ]
        return found

    def _learn(self, current: Round) -> bool:
        """Train on everything by now, measure and compare; False where it was interrupted."""
        o, taken = self.options, self._taken()
        collection = collect(taken, self.folder.classes, current.folder, o)
        train = {t.name for s in collection.of("train") for t in s.targets}
        own = [name for name in self.folder.classes if name in train]
        how = training_options(o, current.folder, own)
        learnt = learn(how)
        if learnt is None:
            return False
        stacks = isinstance(kind := how.objective(), SemanticObjective) and kind.depth > 1
        now = measured(learnt.version, collection, stacks)
        score, means = score_of(now, how)
        start = None if o.task == "classes" else score_of(learnt.start, how)[0]
        before, against = self._before(current)
        if before is None and o.task == "prompts":
            before, against = learnt.start, "the starting weights"
        verdict = None if before is None else verdict_on(before, now, how)
        cost, came = spent(self.folder), current.came or []
        agreed = [c.agreement for c in came if c.agreement is not None]
        seconds, updates = _effort(how)
        result = RoundResult(
            round=current.number,
            annotated=cost.images,
            learnt_from=len([t for t in taken if t.part == "train"]),
            measured_on=len({s.case for s in collection.of("validation")}),
            minutes=cost.minutes,
            score=score,
            means=means,
            start=start,
            outcome=verdict.outcome if verdict else "",
            reasons=verdict.reasons if verdict else (),
            against=against if verdict else "",
            agreement=sum(agreed) / len(agreed) if agreed else None,
            seconds=seconds,
            updates=updates,
        )
        current.end(result, now)
        write_report(self.folder, o)
        if not o.quiet:
            log.info("round %d: DSC %.3f", current.number, score)
        return True

    def _served_with(self) -> str:
        """The present model of prompts: the last version, or what every round starts from."""
        results = self.folder.results
        if self.options.task == "classes" or not results:
            return self.options.model
        return str(self.folder.round(results[-1].round).version / "model.safetensors")

    def _before(self, current: Round) -> tuple[Any, str]:
        earlier = [r for r in self.folder.results if r.round < current.number]
        if not earlier:
            return None, ""
        number = earlier[-1].round
        return self.folder.round(number).validation, f"round {number}"

    def _stands(self, where: Where, current: Round | None = None) -> Stands:
        write_report(self.folder, self.options)
        best, results = self.folder.best, self.folder.results
        weights = None
        if best is not None:
            weights = self.folder.round(best.round).version / "model.safetensors"
        return Stands(
            where,
            self.folder.root,
            task=current.task if current else None,
            images=len(current.picked) if current else 0,
            model=self._served_with(),
            results=tuple(results),
            best=best.round if best else None,
            weights=weights,
            minutes=spent(self.folder).minutes,
        )


def _effort(how: TrainOptions) -> tuple[float, int]:
    """Seconds of a training and the update of its best weights, from its card."""
    from promptseg.parsing import parse_json

    content = parse_json((how.output / "card.json").read_text(encoding="utf-8"))
    training = content.get("training", content) if isinstance(content, dict) else {}
    return float(training.get("seconds", 0.0)), int(training.get("best_update", 0))
