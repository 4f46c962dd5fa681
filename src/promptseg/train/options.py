"""Every option of a training, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError
from promptseg.simulate.boxes import Jitter
from promptseg.train.objectives.settings import (
    PRESETS,
    BoxChannelObjective,
    ClipObjective,
    MaskLoss,
    Objective,
    Preset,
    Rates,
    SemanticObjective,
    Strategy,
    Trainable,
    WordObjective,
)
from promptseg.train.order import Balance
from promptseg.train.semantic.options import OF_CLASSES, SemanticOptions

__all__ = ["Precision", "Tracker", "TrainOptions"]

_SETTINGS = (
    *("n_objects", "n_steps", "p_box", "p_mask", "joint_decoder", "mask_loss", "iou_loss"),
    *("frames", "n_absent", *OF_CLASSES),
)
_BESIDE = (
    *("mask_side", "box_distortion", "box_distortion_sign", "points_per_step", "phrases"),
    "decoder",
)
# What each kind of objective knows of these.
_KNOWN: dict[type[Objective], tuple[str, ...]] = {
    Objective: (*_SETTINGS[:7], *_BESIDE[:4]),
    ClipObjective: ("n_objects", "n_steps", "frames"),
    WordObjective: (
        *("n_objects", "n_absent", "p_box", "mask_side", "phrases"),
        *("box_distortion", "box_distortion_sign"),
    ),
    SemanticObjective: (*OF_CLASSES, "decoder"),
    BoxChannelObjective: (
        *("n_objects", "mask_loss", "mask_side", "box_distortion", "box_distortion_sign"),
        *("side", "features"),
    ),
}
_ON: dict[type[Objective], str] = {
    Objective: "images",
    ClipObjective: "clips",
    WordObjective: "phrases",
    SemanticObjective: "classes",
    BoxChannelObjective: "boxes as a channel",
}

Precision = Literal["auto", "float32", "bf16"]
Tracker = Literal["wandb", "mlflow"]

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]
_Counts = tyro.conf.UseAppendAction[tuple[int, ...]]
_Trackers = tyro.conf.UseAppendAction[tuple[Tracker, ...]]

# What may differ when a training is resumed: none of it changes the numbers.
_FREE = {
    "input",
    "output",
    "embeddings",
    "warm_start",
    "seeds",
    "workers",
    "device",
    "threads",
    "quiet",
    "json",
    "overwrite",
    "log",
}


@dataclass(kw_only=True)
class _ObjectiveOptions(SemanticOptions):
    """What is asked of the model; without a value, the preset's."""

    preset: Strategy = "medicosam"
    """medsam (box alone), simple-ft (one box or click), medicosam (with 8 rounds of corrections),
    sam-med2d (corrections with 1, 3, 5 or 9 clicks), ft-sam (the same, the mask decoder alone),
    sam2-transfer (box alone, as SAM 2 was taken to medical images), medsam2 (clips, with memory),
    memory (clips, the memory of promptseg-memory alone), sam3 (phrases), medical-sam3 (phrases and
    boxes), semantic-2d and semantic-3d (classes without prompts; docs/semantic.md), box-channel
    (specialists that are told by a box as a channel of their input)."""

    n_objects: int | None = None
    """Objects per image, at most; of a training on phrases, names."""

    n_steps: int | None = None
    """Rounds of corrections after the first prompt; with medsam2, clicks on a corrected frame."""

    frames: int | None = None
    """Frames of a clip, at most (medsam2)."""

    n_absent: int | None = None
    """Phrases per image for what is not on it, at most (sam3, medical-sam3)."""

    phrases: Path | None = None
    """JSON file of names of classes, each with a list of further phrases for it (sam3)."""

    p_box: float | None = None
    """How often the first prompt is a box and not a click; of a training on phrases, how often a box
    around one instance asks in place of words."""

    p_mask: float | None = None
    """How often a round of corrections gets the mask that it corrects."""

    joint_decoder: bool | None = None
    """Also train a decoder of the union of all targets on the image embedding (e_sem)."""

    box_distortion: float | None = None
    """How far the edges of boxes move at most, in pixels of an image of 1024."""

    box_distortion_sign: Literal["outward", "either"] | None = None
    """Whether they move outwards alone, as MedSAM's, or either way."""

    mask_loss: MaskLoss | None = None
    """dice (MedicoSAM) or dice+bce (MedSAM)."""

    iou_loss: bool | None = None
    """Also train the predicted IoU."""

    points_per_step: _Counts = ()
    """Clicks a round may have (SAM-Med2D); may be repeated; 0: one positive and one negative."""

    mask_side: int | None = None
    """Cells along each side of the grid on which losses are computed (default: the logits' 256)."""

    def objective(self) -> Objective:
        """The settings of Algorithm 1, or of what is trained in its place.

        Raises:
            InputError: values that make no sense.
        """
        settings = PRESETS[self.preset].objective
        said: dict[str, Any] = {
            name: value for name in _SETTINGS if (value := getattr(self, name)) not in (None, ())
        }
        self._refuse_idle(settings)
        if isinstance(settings, SemanticObjective):
            return replace(settings, **said)
        if self.points_per_step:
            said["points_per_step"] = tuple(k for k in self.points_per_step if k)
        if self.box_distortion is not None or self.box_distortion_sign is not None:
            drawn = settings.distortion
            pixels = drawn.pixels if self.box_distortion is None else self.box_distortion
            said["distortion"] = Jitter(pixels, self.box_distortion_sign or drawn.sign)
        return replace(settings, **said)

    def _refuse_idle(self, settings: Objective) -> None:
        """Refuse options that only another kind of objective knows."""
        kind = type(settings)
        given = [n for n in (*_SETTINGS, *_BESIDE) if getattr(self, n) not in (None, ())]
        if idle := [name for name in given if name not in _KNOWN[kind]]:
            others = [_ON[k] for k, names in _KNOWN.items() if idle[0] in names]
            raise InputError(
                f"options of a training on {_ON[kind]}, as --preset {self.preset} is",
                f"--{idle[0].replace('_', '-')}, of one on {' or '.join(others)}",
                "leave it out, or choose another preset",
            )


@dataclass(kw_only=True)
class _ModelOptions:
    """What is trained."""

    model: str = "mobile-sam"
    """Starting weights: model name (see promptseg models), checkpoint file, or NAME=FILE."""

    warm_start: Path | None = None
    """Go on from these float16 weights and their number of updates, warm.safetensors of a training on
    another machine, with a new optimizer."""

    trains: Trainable | None = None
    """Which parts learn: all (but memory), encoder, decoder, encoder+decoder, prompts+decoder, lora
    (low-rank updates of the encoder's attention, which merge back, and all of prompt encoder and
    decoder), or whole (memory, too). Of classes: all, encoder, decoder or lora; of a SAM 3, decoder is
    all but the two encoders."""

    lora_rank: int = 0
    """Rank of those updates."""

    freeze: _Names = ()
    """Beginning of names of parameters that do not learn, such as mask_decoder.iou; may be repeated."""

    keep_embeddings: bool = field(
        default=True,
        metadata={"off": "Encode images anew whenever they are needed; keep nothing on disk."},
    )
    """Where the encoder does not learn: encode every image once, and keep that on disk."""

    embeddings: Path | None = None
    """Folder for them, which trainings may share (default: embeddings in --output)."""

    train_batch_norm: bool = False
    """Let batch normalisation take running statistics of the new data."""


@dataclass(kw_only=True)
class _LoopOptions:
    """How it is trained; without a value, the preset's."""

    epochs: int = 20
    """Passes over as many images as the training part has."""

    updates: int | None = None
    """At most so many updates of the weights."""

    minutes: float | None = None
    """Stop after so many minutes; what is there by then is validated and reported."""

    cpu_minutes: float | None = None
    """Stop after so many minutes of processor time of the training process, validations on the way
    included: what stays comparable on a busy machine. Processes that read images (--workers) do not
    count; those that torchrun starts count each for itself."""

    batch_size: int | None = None
    """Images, or clips, per update, all processes together (MedSAM 160, MedicoSAM 56)."""

    micro_batch: int = 1
    """Images per process that go through the network at a time: this is what needs memory."""

    learning_rate: float | None = None
    """Learning rate of AdamW at the beginning (MedSAM 1e-4, MedicoSAM 1e-5)."""

    decay: float | None = None
    """Factor of the learning rate after every epoch (MedSAM 1, MedicoSAM 0.9)."""

    warmup: int = 0
    """Updates over which the learning rate rises to its first value; 20 after a warm restart, unless
    given, or as the preset has it (sam3 20, medical-sam3 100)."""

    even_rates: bool = False
    """One learning rate for all parts from the first update to the last, where the preset has several:
    for weights that begin at random."""

    weight_decay: float | None = None
    """Weight decay of AdamW."""

    clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it as it is, or as the preset has it (sam3 0.1)."""

    ema: float = 0.0
    """Keep a moving average of the weights with this decay (such as 0.999) and use that; 0 does not."""

    precision: Precision = "auto"
    """float32, bf16, or auto: bf16 on a GPU that has it."""

    activation_checkpointing: bool = False
    """Compute activations of the encoder twice in place of keeping them: slower, with less memory."""

    nnunet_memory: float | None = None
    """GiB that nnU-Net plans its network for (its own default: 8); less gives a smaller one."""

    nnunet_trainer: str | None = None
    """A trainer of nnU-Net's own in place of its usual one, such as nnUNetTrainerNoMirroring: that
    one learns from mirror images, in which left and right or front and back are each other."""

    train_images: int | None = None
    """At most so many images of the training part, chosen as those of validation: datasets take turns,
    and in each its patients. (default: all)"""

    balance: Balance = "modality"
    """Which images an epoch sees: all alike (none), datasets alike, or modalities alike."""

    augment: bool = False
    """Mirror, turn and change the contrast of training images; the papers do not."""

    seed: int = 0
    """Seed of everything that is drawn by chance."""

    seeds: int = 1
    """Train so many times, with --seed and the numbers after it, each in a folder of its own
    (seed-0, ...), and write how far the results lie apart: seeds.md and seeds.csv."""

    deterministic: bool = field(
        default=True,
        metadata={
            "off": "Let operations add in any order: a little quicker on a GPU, and no two runs alike."
        },
    )
    """Operations that add in a fixed order: the same weights in every run, a little slower on a GPU."""

    workers: int | None = None
    """Processes that read images (default: one per core that is left, at most 8)."""


@dataclass(kw_only=True)
class _WatchOptions:
    """How it is watched."""

    validate_every: int = 0
    """Updates between validations; 0 validates after every epoch."""

    validation_images: int = 60
    """Images of the validation part that are validated on, all datasets alike."""

    report_images: int = 200
    """Images of the test part that the final report is about; of validation if there is none."""

    validation_objects: int = 3
    """Objects of an image that are validated on, the largest."""

    corrections: int = 8
    """Rounds of corrections in validation."""

    engine: str = "eager"
    """What executes the model in validation, and a frozen encoder; see promptseg benchmark --show."""

    log: _Trackers = ()
    """Also log to wandb or mlflow; may be repeated. CSV and TensorBoard files are always written."""


@dataclass(kw_only=True)
class TrainOptions(_WatchOptions, _LoopOptions, _ModelOptions, _ObjectiveOptions):
    """Fine-tune a model on a collection made by promptseg curate.

    The starting weights are validated first, then again and again while training: boxes, clicks and
    corrections; at the end a report says for each of them whether the model became better. The folder
    gets model.pth and model.safetensors under the official names of SAM, with a card. Give the same
    command again to go on after an interruption. Under torchrun, all processes train together.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Collection to train on."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for weights, logs and the report."""

    config: Path | None = None
    """YAML file of these options, which may also be the first word, as may the name of a recipe that
    comes along (docs/train.md); options of the command line come after it."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    threads: int | None = None
    """CPU threads of each process."""

    strict: bool = False
    """Refuse a collection of which there is anything to note."""

    overwrite: bool = False
    """Start anew in a folder that holds another training."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print the report as JSON."""

    def preset_values(self) -> Preset:
        """Return the preset, its values replaced by those that this training was given."""
        preset = PRESETS[self.preset]
        said = {
            name: value
            for name in ("trains", "learning_rate", "decay", "weight_decay", "batch_size")
            if (value := getattr(self, name)) is not None
        }
        if self.even_rates:
            said["rates"] = Rates(decays_norms=preset.rates.decays_norms)
        return replace(preset, objective=self.objective(), **said)

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            InputError: as the message says.
        """
        strategy = self.preset_values()
        numbers = {
            "epochs": self.epochs,
            "updates": self.updates,
            "minutes": self.minutes,
            "cpu-minutes": self.cpu_minutes,
            "seeds": self.seeds,
            "batch-size": strategy.batch_size,
            "micro-batch": self.micro_batch,
            "learning-rate": strategy.learning_rate,
            "decay": strategy.decay,
            "nnunet-memory": self.nnunet_memory,
            "train-images": self.train_images,
            "validation-images": self.validation_images,
            "report-images": self.report_images,
            "validation-objects": self.validation_objects,
        }
        for name, value in numbers.items():
            if value is not None and not value > 0:
                raise InputError(f"--{name} above 0", f"{value:g}")
        for name in ("warmup", "clip", "validate_every", "corrections", "weight_decay"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"--{name.replace('_', '-')} of at least 0", f"{value:g}")
        if not 0 <= self.ema < 1:
            raise InputError("a moving average's decay from 0 to less than 1", f"{self.ema:g}")
        if self.workers is not None and self.workers < 0:
            raise InputError("a number of workers of at least 0", f"{self.workers}")
        if self.mask_side is not None and not 16 <= self.mask_side <= 1024:
            raise InputError("a --mask-side from 16 to 1024", f"{self.mask_side}")
        check_bounds(self, "train")

    def to_json(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    def length(self) -> dict[str, Any]:
        """Return the options that say how long training goes on, and what the report is about."""
        names = ("epochs", "updates", "minutes", "cpu_minutes", "report_images")
        return {name: getattr(self, name) for name in names}

    def binding(self) -> dict[str, Any]:
        """Return the options that a resumed training must share with the one it resumes, as plain
        values.

        How long it goes on may differ.
        """
        free = _FREE | {"config", "strict", *self.length()}
        if self.preset_values().rates.hang_on_the_end:
            free -= {"epochs", "updates"}
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in self.to_json().items()
            if k not in free
        }
