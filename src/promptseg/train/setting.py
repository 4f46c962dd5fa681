"""Setting of a training: data, starting weights, what learns, and an optimizer for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from promptseg import assets
from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError, ModelError
from promptseg.models.cards import CARDS, ModelCard
from promptseg.models.checkpoint import build_network, open_checkpoint, read_checkpoint
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Sam2
from promptseg.models.families.specialist.build import BoxChannel
from promptseg.models.families.words.network import WordsSam
from promptseg.models.heads.lora import merged_state
from promptseg.models.heads.semantic.network import SemanticNetwork
from promptseg.models.heads.unetr import UnetrDecoder
from promptseg.train.image_sam2 import ImageSam2, as_image_sam2
from promptseg.train.networks import Trainee, WordSam3
from promptseg.train.objectives import (
    Algorithm,
    Algorithm1,
    BoxChannelObjective,
    ClipAlgorithm,
    ClipObjective,
    Objective,
    Preset,
    SemanticObjective,
    WordAlgorithm,
    WordObjective,
)
from promptseg.train.options import TrainOptions
from promptseg.train.order import weights_of
from promptseg.train.parts import checkpoint_activations, choose_parts
from promptseg.train.rates import adamw
from promptseg.train.schedule import Schedule
from promptseg.train.sequences import Clip, Run, clip_from, neighbours, runs_of
from promptseg.train.state import Average
from promptseg.train.validate import choose_validation
from promptseg.train.vocabulary import Vocabulary, read_phrases_file

__all__ = ["Learner", "Parts", "StartingWeights", "open_parts", "worker_count"]

_SEMANTIC = "semantic."
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Parts:
    """The samples of a collection, by what a training does with them.

    Attributes:
        collection: the data.
        train: learnt from.
        validation: watched while training; chooses the best weights.
        report: what the final report is about.
        held_out: whether `report` is of the test part, which nothing was chosen by.
        runs: neighbours among `train`, and among all that is validated or reported on; none where
            images are trained on.
        phrases: names of classes, each with further phrases for it.
    """

    collection: Collection
    train: list[Sample]
    validation: list[Sample]
    report: list[Sample]
    held_out: bool
    runs: tuple[list[Run], list[Run]] = field(default_factory=lambda: ([], []))
    phrases: dict[str, list[str]] = field(default_factory=dict)

    def clip_of(self, sample: Sample) -> Clip:
        """Return the clip that begins with a sample that is validated or reported on, if there is
        one.
        """
        return clip_from(sample, self.runs[1])

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary of the whole collection."""
        return Vocabulary(self.collection.samples, self.phrases)

    @property
    def reported_on(self) -> str:
        """Return the part that the report is about, in words."""
        return "the test part" if self.held_out else "the validation part"

    @property
    def patients_reported(self) -> int:
        """Tell how many patients the report is about."""
        return len({(s.dataset, s.patient) for s in self.report})


def open_parts(options: TrainOptions) -> Parts:
    """Open the collection and choose what is validated on.

    Raises:
        InputError: no collection, a part that is missing, a patient in two parts, or clips to be
            trained on, and no neighbours.
    """
    collection = Collection(options.input)
    objective = options.objective()
    vain = isinstance(objective, WordObjective) and objective.n_absent > 0
    parts = {
        split: [s for s in collection.of(split) if s.targets or vain]
        for split in ("train", "validation", "test")
    }
    for split in ("train", "validation"):
        if not parts[split]:
            raise InputError(
                f"images in the {split} part", f"{options.input} without", "curate more data"
            )
    where: dict[str, str] = {}
    for sample in collection.samples:
        if where.setdefault(sample.group, sample.split) != sample.split:
            raise InputError(
                "every patient in one part",
                f"{sample.group} in {where[sample.group]} and {sample.split}",
                "curate the data again",
            )
    train = parts["train"]
    runs: tuple[list[Run], list[Run]] = ([], [])
    if isinstance(objective, ClipObjective):
        of_split = {split: runs_of(samples, objective.frames) for split, samples in parts.items()}
        for split in ("train", "validation", collection.report_part):
            _require_runs(of_split[split], split, options)
        runs = of_split["train"], of_split["validation"] + of_split["test"]
        parts = {k: [s for run in each for s in run.samples] for k, each in of_split.items()}
        train = parts["train"]
        if options.train_images is not None:
            first = {run.samples[0].key: run for run in runs[0]}
            chosen = choose_validation(
                [run.samples[0] for run in runs[0]], options.train_images, options.seed
            )
            runs = [first[sample.key] for sample in chosen], runs[1]
            train = [s for run in runs[0] for s in run.samples]
    elif isinstance(objective, SemanticObjective) and objective.depth > 1:
        return _stacks(collection, parts, objective, options)
    elif options.train_images is not None:
        train = choose_validation(train, options.train_images, options.seed)
    return Parts(
        collection,
        train,
        validation=choose_validation(parts["validation"], options.validation_images, options.seed),
        report=choose_validation(
            parts[collection.report_part], options.report_images, options.seed
        ),
        held_out=collection.report_part == "test",
        runs=runs,
        phrases=read_phrases_file(options.phrases) if options.phrases else {},
    )


def _stacks(
    collection: Collection,
    parts: dict[str, list[Sample]],
    objective: SemanticObjective,
    options: TrainOptions,
) -> Parts:
    """The parts of a training on stacks: validated and reported on are whole runs of slices."""
    runs = {k: [Run(tuple(r), objective.depth) for r in neighbours(s)] for k, s in parts.items()}
    for split in ("train", "validation"):
        if not runs[split]:
            raise InputError(
                "slices of volumes, to be learnt from as stacks",
                f"none in the {split} part of {options.input}",
                "curate volumes, or use --preset semantic-2d",
            )

    def chosen(split: str, most: int | None) -> list[Run]:
        first = {run.samples[0].key: run for run in runs[split]}
        every = [run.samples[0] for run in runs[split]]
        if most is None:
            return runs[split]
        return [first[s.key] for s in choose_validation(every, most, options.seed)]

    train = chosen("train", options.train_images)
    validation = chosen("validation", options.validation_images)
    report = chosen(collection.report_part, options.report_images)
    return Parts(
        collection,
        [s for run in train for s in run.samples],
        [s for run in validation for s in run.samples],
        [s for run in report for s in run.samples],
        collection.report_part == "test",
        (train, [*validation, *report]),
    )


def _require_runs(runs: list[Run], split: str, options: TrainOptions) -> None:
    """Refuse a part without anything to propagate."""
    if not runs:
        raise InputError(
            "neighbouring slices or frames, with an object that is the only one of its name on each",
            f"none in the {split} part of {options.input}",
            "curate volumes or videos without --components, or train on images: --preset "
            "sam2-transfer",
        )


@dataclass(frozen=True)
class StartingWeights:
    """The model to be trained.

    Attributes:
        card: what it is.
        file: its checkpoint.
        tensors: of the checkpoint.
        sha256: of the file.
    """

    card: ModelCard
    file: Path
    tensors: dict[str, Tensor]
    sha256: str

    @classmethod
    def load(cls, model: str, quiet: bool) -> StartingWeights:
        """Load weights by name (fetched if need be), FILE, or NAME=FILE.

        Raises:
            ModelError: unknown name, or a checkpoint that cannot be used.
            AssetError: the weights cannot be obtained.
        """
        card, file, tensors = open_checkpoint(model, quiet)
        return cls(card, file, tensors, assets.sha256_of(file))

    def read(self, file: Path) -> dict[str, Tensor]:
        """Read the tensors of a file that the training has written."""
        return read_checkpoint(file)

    def network(self) -> Trainee:
        """Build a new network with these weights.

        Raises:
            ModelError: a model of another family, which is not trained here.
        """
        network = build_network(self.card, self.tensors, self.file)
        if isinstance(network, Sam2 | MemorySam):
            return as_image_sam2(network)
        if self.card.family == "sam3":
            for parameter in network.parameters():  # those of the file stay: they are compared with
                parameter.data = parameter.data.clone()
            return WordSam3(network)
        if isinstance(network, WordsSam):
            raise ModelError(
                "a model whose masks are trained",
                f"{self.card.name}, which is taught words",
                "use promptseg train words, or promptseg-lite, its base",
            )
        if not isinstance(network, Sam | BoxChannel):
            raise ModelError(
                "a model of the SAM, SAM 2 or SAM 3 family to train",
                f"{self.card.name} of {self.card.family}",
            )
        return network


@dataclass
class Learner:
    """A network that learns.

    Attributes:
        sam: the network.
        semantic: the joint decoder, if there is one.
        parameters: what learns, by name.
        algorithm: the objective.
        optimizer: AdamW over the parameters.
        average: of the parameters, if one is kept.
        strategy: the preset with the training's own values.
    """

    sam: Trainee
    semantic: UnetrDecoder | None
    parameters: dict[str, nn.Parameter]
    algorithm: Algorithm
    optimizer: torch.optim.Optimizer
    average: Average | None
    strategy: Preset

    @classmethod
    def of(cls, start: StartingWeights, options: TrainOptions, device: torch.device) -> Learner:
        """Build the learner at the beginning of a training.

        Raises:
            InputError: a strategy that trains nothing, or one that the model has no part for.
        """
        strategy = options.preset_values()
        torch.manual_seed(options.seed)  # for the weights that are new
        sam = start.network()
        parameters = choose_parts(sam, strategy.trains, options.lora_rank, options.freeze)
        wanted = strategy.objective.joint_decoder
        if wanted and not isinstance(sam, Sam):
            raise InputError(
                "a SAM for a joint decoder", start.card.name, "leave --joint-decoder out"
            )
        semantic = (
            UnetrDecoder(sam.prompt_encoder.channels) if wanted and isinstance(sam, Sam) else None
        )
        sam.to(device)
        if semantic is not None:
            semantic.to(device)
            parameters |= {_SEMANTIC + k: p for k, p in semantic.named_parameters()}
        if options.activation_checkpointing:
            checkpoint_activations(sam.image_encoder)
        optimizer = adamw(sam, parameters, strategy)
        return cls(
            sam,
            semantic,
            parameters=parameters,
            algorithm=_algorithm(start.card, sam, strategy.objective, semantic),
            optimizer=optimizer,
            average=Average(options.ema) if options.ema else None,
            strategy=strategy,
        )

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Return all networks by name, for the state that is saved."""
        named: dict[str, nn.Module] = {"sam": self.sam}
        return named if self.semantic is None else {**named, "semantic": self.semantic}

    @property
    def grid(self) -> int:
        """Return the number of cells along each side of the grid that the logits of prompts are on."""
        sam = self.sam
        if isinstance(sam, WordSam3):
            return sam.side
        assert isinstance(sam, Sam | ImageSam2 | BoxChannel)
        return 4 * sam.prompt_encoder.grid

    def weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Return the weights to keep, on the CPU: the moving average, if any, low-rank updates merged.

        Returns:
            The tensors of the SAM under official names, and of the joint decoder.
        """
        with _averaged(self.parameters, self.average):
            sam = _kept(merged_state(self.sam))
            semantic = None if self.semantic is None else _kept(self.semantic.state_dict())
        return sam, semantic

    def schedule(self, options: TrainOptions, train: list[Sample]) -> Schedule:
        """Return the schedule: what each update takes, of images, or of clips by their first ones."""
        strategy = self.strategy
        weights = weights_of(train, options.balance)
        schedule = Schedule(
            weights,
            strategy.batch_size,
            micro_batch=options.micro_batch,
            updates=0,
            learning_rate=strategy.learning_rate,
            decay=strategy.decay,
            warmup=options.warmup or strategy.rates.warmup,
            seed=options.seed,
        )
        whole = options.epochs * schedule.per_epoch
        updates = whole if options.updates is None else min(whole, options.updates)
        rates = strategy.rates
        return replace(
            schedule,
            updates=updates,
            end=rates.end,
            timescale=rates.timescale,
            cooldown=rates.cooldown,
        )


def _algorithm(
    card: ModelCard, sam: Trainee, objective: Objective, semantic: UnetrDecoder | None
) -> Algorithm:
    """The objective for a network."""
    if isinstance(objective, WordObjective):
        if not isinstance(sam, WordSam3):
            raise _unfit("a model that takes words to train on phrases", card, "sam3")
        return WordAlgorithm(sam, objective)
    if isinstance(objective, ClipObjective):
        if not isinstance(sam, ImageSam2):
            raise _unfit("a model with memory to train on clips", card, "sam2")
        if objective.guess and not sam.guesses:
            raise InputError(
                "a model whose memory guesses, for --preset memory",
                card.name,
                "use --preset medsam2",
            )
        return ClipAlgorithm(sam, objective)
    if isinstance(sam, WordSam3):
        raise InputError(
            "an objective of phrases for a model that takes words",
            f"{card.name} with another",
            "use --preset sam3 or medical-sam3",
        )
    assert not isinstance(sam, SemanticNetwork)  # has a learner of its own
    if isinstance(objective, BoxChannelObjective) != isinstance(sam, BoxChannel):
        raise InputError(
            "--preset box-channel with a specialist, and only with one",
            card.name,
            "use --model deeplabv3plus or swin-unetr for it, and --preset medsam for a model of boxes",
        )
    return Algorithm1(sam, objective, semantic)


def _unfit(wanted: str, card: ModelCard, family: str) -> InputError:
    able = ", ".join(c.name for c in CARDS.values() if c.family == family)
    return InputError(wanted, card.name, f"use one of {able}, or another --preset")


def worker_count(options: TrainOptions) -> int:
    """Return the number of processes that read images for one training process."""
    if options.workers is not None:
        return options.workers
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(_MOST_WORKERS, (os.cpu_count() or 1) // here - 2))


@contextmanager
def _averaged(parameters: dict[str, nn.Parameter], average: Average | None) -> Iterator[None]:
    """The moving average in place of the parameters, for as long as it takes."""
    values = average.values if average else {}
    now = {name: parameters[name].detach().clone() for name in values}
    _put(parameters, values)
    try:
        yield
    finally:
        _put(parameters, now)


@torch.no_grad()
def _put(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)


def _kept(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}
