"""Every option of the loop, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError
from promptseg.loop.strategies import Strategy

__all__ = ["LoopOptions", "Task", "Uncertainty"]

Task = Literal["prompts", "classes"]
Uncertainty = Literal["auto", "entropy", "mirror", "jitter", "predicted-iou"]

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]
_OF: dict[Task, tuple[Uncertainty, ...]] = {
    "prompts": ("auto", "jitter", "predicted-iou"),
    "classes": ("auto", "entropy", "mirror"),
}

_BINDING = (
    *("input", "task", "model", "validation", "validation_images", "simulate"),
    *("patient_pattern", "modality", "window", "max_slices", "seed"),
)


@dataclass(kw_only=True)
class _ChoosingOptions:
    """Which images come next."""

    strategy: Strategy = "diversity"
    """diversity: the images least like what is annotated, by their embeddings; uncertainty: those that
    the present model is least sure of; both: of these the ones least alike; random: the control."""

    uncertainty: Uncertainty = "auto"
    """entropy of the classes, or mirror: how far those of the mirror image differ; jitter: how far the
    masks of slightly moved prompts differ, or predicted-iou: what a grid of clicks expects of itself.
    auto: entropy for classes; jitter where the list of images has prompts, else predicted-iou."""

    images: int = 8
    """Images of a round."""

    slices_looked_at: int = 3
    """Slices of a volume that are looked at for choosing, evenly spread."""


@dataclass(kw_only=True)
class _LearningOptions:
    """What is learnt, and what it is measured on."""

    task: Task = "prompts"
    """prompts: a model that answers boxes and clicks better; classes: one that segments without
    prompts."""

    model: str = "promptseg-lite"
    """What every round starts from: model name (see promptseg models), checkpoint file, NAME=FILE."""

    train: Path | None = None
    """YAML file of options of promptseg train, over those that the loop chooses."""

    updates: int = 200
    """Updates of the weights in a round."""

    validation: Path | None = None
    """Labelled dataset (docs/datasets.md) that rounds are measured on; nothing is learnt from it."""

    validation_images: int = 6
    """Without --validation: so many images of the first round, by lot, are measured on instead."""

    flat: float = 0.01
    """Stop where the last rounds have gained no more DSC than this; 0 goes on until the budget is spent
    or nothing is gained at all."""

    patience: int = 2
    """How many rounds that is."""

    classes: _Names = ()
    """Names of objects that are expected; others are refused. May be repeated (default: with --task
    classes those of the first round, else any)."""

    max_slices: int = 0
    """At most so many slices of a volume are learnt from, evenly spread; 0 takes all with an object."""

    patient_pattern: str | None = None
    """Regular expression with one group that finds the patient in an image's name; no patient is both
    learnt from and measured on."""


@dataclass(kw_only=True)
class LoopOptions(_LearningOptions, _ChoosingOptions):
    """Annotate a few images, train, let the model propose, correct, train again.

    Every call does what can be done without an expert: it chooses images, writes them as a folder that
    the page opens (promptseg serve) with the model's proposals, and ends. Annotate, and give the same
    command again: it takes what came back, trains, measures, compares with the round before, and
    chooses the next images, until the budget is spent or the curve is flat. docs/loop.md.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Folder of images, or a list (.csv) with the column image and maybe box, box3d and point
    (docs/lists.md); with --simulate, a labelled dataset."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the loop: tasks, versions, report."""

    budget: int | None = None
    """Images to be annotated in all, those for validation included."""

    minutes: float | None = None
    """Minutes of an expert in all, as the page logs them when asked to."""

    minutes_per_image: float | None = None
    """What an image counts against --minutes where nothing was logged."""

    take_done: bool = False
    """Take a task that is half done; what is not done goes back to the pool."""

    back_to: int | None = None
    """Go back to this round: later ones are set aside, and their images return to the pool."""

    simulate: bool = False
    """Let the labels of the input answer in the expert's place."""

    modality: str | None = None
    """Modality of the images, over what the files say."""

    window: str | None = None
    """Intensity window of CT: a name or WIDTH/LEVEL, see promptseg segment."""

    engine: str = "eager"
    """What executes a frozen encoder; see promptseg benchmark --show."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    threads: int | None = None
    """CPU threads."""

    seed: int = 0
    """Seed of everything that is drawn by chance."""

    config: Path | None = None
    """YAML file of these options."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print where the loop stands as JSON."""

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            InputError: as the message says.
        """
        check_bounds(self)
        if self.budget is None and self.minutes is None and self.back_to is None:
            raise InputError("a budget", "none", "give --budget IMAGES or --minutes MINUTES")
        known = _OF[self.task]
        if self.uncertainty not in known:
            raise InputError(
                f"--uncertainty out of {', '.join(known)} for --task {self.task}",
                self.uncertainty,
                "correct it",
            )
        if len(set(self.classes)) < len(self.classes):
            raise InputError("every class once", "one of them twice", "correct --classes")

    def binding(self) -> dict[str, Any]:
        """Return the options that calls on one folder must share, as plain values."""
        said = {name: asdict(self)[name] for name in _BINDING}
        for name in ("input", "validation"):
            said[name] = said[name] and str(Path(said[name]).expanduser().resolve())
        return said
