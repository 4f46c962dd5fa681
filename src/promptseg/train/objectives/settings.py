"""The hyperparameters of Algorithm 1, and the published strategies as values of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from promptseg.errors import InputError
from promptseg.simulate.boxes import Jitter

__all__ = [
    "PRESETS",
    "BoxChannelObjective",
    "ClassWeights",
    "ClipObjective",
    "MaskLoss",
    "Objective",
    "Preset",
    "Rates",
    "SemanticObjective",
    "Strategy",
    "Trainable",
    "WordObjective",
]

Strategy = Literal[
    "medsam",
    "simple-ft",
    "medicosam",
    "ft-sam",
    "sam-med2d",
    "sam2-transfer",
    "medsam2",
    "semantic-2d",
    "semantic-3d",
    "memory",
    "sam3",
    "medical-sam3",
    "box-channel",
]
Trainable = Literal[
    "all", "encoder", "decoder", "encoder+decoder", "prompts+decoder", "lora", "whole", "memory"
]
MaskLoss = Literal["dice", "dice+bce"]
ClassWeights = Literal["none", "balanced"]

_SLOPPY, _WIDE = Jitter(5, "either"), Jitter(20, "either")
_OUTSIDE = Jitter(5 * 1024 / 224, "outward")  # up to 5 pixels of 224


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The task that one training iteration sets the model (MedicoSAM, Algorithm 1).

    Attributes:
        n_objects: objects per image, at most.
        n_steps: rounds of corrections after the first prompt.
        p_box: how often the first prompt is a box and not a click.
        p_mask: how often a round of corrections gets the mask that it corrects.
        joint_decoder: also train a decoder of the union of all targets (e_sem).
        distortion: how far the edges of boxes are moved.
        mask_loss: Dice (MedicoSAM), or its unweighted sum with cross-entropy (MedSAM, eq. 3).
        iou_loss: also the squared error of the predicted IoU.
        points_per_step: how many clicks a round may have, drawn with equal chance; the clicks then lie
            anywhere in the error (SAM-Med2D). Without it, a round is one positive and one negative
            click (lines 23-24).
        learn_corrections: whether the prompt encoder learns from the rounds of corrections.
    """

    n_objects: int = 5
    n_steps: int = 8
    p_box: float = 0.5
    p_mask: float = 0.5
    joint_decoder: bool = False
    distortion: Jitter = _SLOPPY
    mask_loss: MaskLoss = "dice"
    iou_loss: bool = True
    points_per_step: tuple[int, ...] = ()
    learn_corrections: bool = True

    def __post_init__(self) -> None:
        if self.n_objects < 1 or self.n_steps < 0:
            raise InputError(
                "at least one object and no fewer than 0 steps",
                f"n_objects {self.n_objects}, n_steps {self.n_steps}",
            )
        for name in ("p_box", "p_mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} between 0 and 1", f"{getattr(self, name)}")
        if any(k < 1 for k in self.points_per_step):
            raise InputError("at least one click per step", f"{self.points_per_step}")

    def terms(self, objects: int, images: int) -> int:
        """Tell how many losses the list L of Algorithm 1 has, for so many objects on so many images."""
        per_answer = 1 + self.iou_loss
        return objects * (self.n_steps + 1) * per_answer + images * self.joint_decoder

    def asks(self) -> frozenset[str]:
        """Return the kinds of prompts that a model trained so has been asked with."""
        kinds = {"box"} if self.p_box > 0 else set()
        if self.p_box < 1 or self.n_steps:
            kinds.add("point")
        if self.n_steps and self.p_mask > 0:
            kinds.add("mask")
        return frozenset(kinds)


@dataclass(frozen=True, kw_only=True)
class ClipObjective(Objective):
    """The task that one training iteration sets a model with memory, on clips in place of images.

    `n_objects` are those of a clip, `n_steps` the clicks on a frame that is corrected; boxes are exact.

    Attributes:
        frames: of a clip, at most.
        guess: on propagated frames what memory guesses learns alone, without the mask decoder.
        turns: one clip of two runs backwards, whether or not images are changed by chance.
    """

    n_steps: int = 7
    p_box: float = 1.0
    frames: int = 8
    guess: bool = False
    turns: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 2:
            raise InputError("clips of 2 frames or more", f"frames {self.frames}")

    def terms(self, objects: int, images: int) -> int:
        """Return the number of objects: losses add up over answers and are averaged over objects."""
        return max(1, objects)


@dataclass(frozen=True, kw_only=True)
class SemanticObjective(Objective):
    """The task that one iteration sets a model of classes, without prompts (MedicoSAM, II-D).

    Attributes:
        depth: slices of a patch; 1 trains on single images.
        halo: slices at either end of a patch that are given up where patches are joined.
        side: of the network's square input; None for that of the model whose encoder it has.
        adapters: whether the encoder of slices sees along depth.
        zero_adapters: whether adapters change nothing at the start; not so in the paper's code.
        features: of the decoder's finest level.
        doublings: how often the decoder doubles the resolution; None until that of the input.
        classes: those that are learnt, of which the data may have more; none for all.
        class_weights: of the cross-entropy: all alike, or larger for what takes fewer pixels.
        faithful: put a sigmoid before losses that are made for logits, and count classes that are not
            there in the Dice loss, as the paper's code does.
    """

    n_objects: int = 1
    n_steps: int = 0
    p_box: float = 0.0
    p_mask: float = 0.0
    iou_loss: bool = False
    depth: int = 1
    halo: int = 0
    side: int | None = None
    adapters: bool = False
    zero_adapters: bool = False
    features: int = 64
    doublings: int | None = None
    classes: tuple[str, ...] = ()
    class_weights: ClassWeights = "none"
    faithful: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1 or self.halo < 0 or self.depth <= 2 * self.halo:
            raise InputError(
                "patches of more slices than their halo at both ends",
                f"depth {self.depth}, halo {self.halo}",
                "raise --depth or lower --halo",
            )
        if self.depth == 1 and (self.adapters or self.zero_adapters):
            raise InputError(
                "adapters for patches of several slices", "patches of one", "use semantic-3d"
            )
        if not 1 <= self.features <= 256:
            raise InputError("--features from 1 to 256", str(self.features))
        if self.doublings is not None and not 0 <= self.doublings <= 4:
            raise InputError("--doublings from 0 to 4", str(self.doublings))
        if self.side is not None and not (64 <= self.side <= 2048 and self.side % 32 == 0):
            raise InputError("--side a multiple of 32 from 64 to 2048", str(self.side))

    def terms(self, objects: int, images: int) -> int:
        """Return the number of images, or patches: each has one loss."""
        return max(1, images)

    def asks(self) -> frozenset[str]:
        """Return "classes": the model takes no prompt, and is asked for the classes themselves."""
        return frozenset({"classes"})


@dataclass(frozen=True, kw_only=True)
class BoxChannelObjective(Objective):
    """The task that one training iteration sets a specialist whose input has a channel for a box.

    Attributes:
        side: of the network's square input; None for that of the specialist.
        features: of Swin UNETR; None for as many as published.
    """

    n_objects: int = 1
    n_steps: int = 0
    p_box: float = 1.0
    p_mask: float = 0.0
    distortion: Jitter = _OUTSIDE
    mask_loss: MaskLoss = "dice+bce"
    iou_loss: bool = False
    side: int | None = None
    features: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side is not None and not (64 <= self.side <= 2048 and self.side % 32 == 0):
            raise InputError("--side a multiple of 32 from 64 to 2048", str(self.side))
        if self.features is not None and not 1 <= self.features <= 256:
            raise InputError("--features from 1 to 256", str(self.features))


@dataclass(frozen=True, kw_only=True)
class WordObjective(Objective):
    """The task that one iteration sets a model that takes words: what is there, and what is not.

    `n_objects` are names on an image that phrases are asked for; all instances of a name count.

    Attributes:
        n_absent: phrases per image for what is not on it, at most.
        p_box: how often a name on the image is asked for by a box around one of its instances, and not
            by words.
        distortion: how far the edges of those boxes are moved.
    """

    n_steps: int = 0
    p_box: float = 0.0
    p_mask: float = 0.0
    n_absent: int = 5
    distortion: Jitter = _WIDE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_absent < 0:
            raise InputError("n_absent of at least 0", f"{self.n_absent}")

    def terms(self, objects: int, images: int) -> int:
        """Return the number of images: the losses of each are means already, and are averaged."""
        return max(1, images)

    def asks(self) -> frozenset[str]:
        """See `Objective.asks`."""
        return frozenset({"text"} | ({"box"} if self.p_box > 0 else set()))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rules by which parts of the model, and times of the training, have learning rates of their own.

    Attributes:
        encoder: share of the learning rate that the image encoder has.
        layer: factor of that from each block of its trunk to the one before.
        end: share of all that is left at the end of a cosine over the whole training.
        decays_norms: whether weights decay in layer norms and biases, too.
        plateau: factor of all after `patience` validations in a row that were no better.
        patience: how many.
        parts: beginnings of names of other parameters, each with its share of the learning rate.
        warmup: updates over which rates rise, where none are given.
        timescale: updates after which, from the end of the warm-up on, rates fall as one over the
            square root of their number; 0: they do not.
        cooldown: updates at the end over which rates fall to nothing.
    """

    encoder: float = 1.0
    layer: float = 1.0
    end: float = 1.0
    decays_norms: bool = True
    plateau: float = 1.0
    patience: int = 10
    parts: tuple[tuple[str, float], ...] = ()
    warmup: int = 0
    timescale: int = 0
    cooldown: int = 0

    @property
    def hang_on_the_end(self) -> bool:
        """Tell whether a training of another length has other rates from the beginning."""
        return self.end != 1 or self.cooldown > 0


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published strategy.

    Attributes:
        objective: its settings of Algorithm 1.
        trains: the parts of the model it updates.
        learning_rate: of AdamW, at the beginning.
        decay: factor of the learning rate after every epoch.
        weight_decay: of AdamW.
        batch_size: images per update, all processes together; of a `ClipObjective`, clips.
        rates: exceptions from the learning rate.
        clip: largest norm of the gradient, where none is given; 0 leaves it as it is.
        source: where it is published, and what it leaves open.
    """

    objective: Objective
    trains: Trainable
    learning_rate: float
    decay: float
    weight_decay: float = 0.01
    batch_size: int = 56  # 8 GPUs with 7 images each
    rates: Rates = field(default_factory=Rates)
    clip: float = 0.0
    source: str


_MED2D = Objective(p_mask=1.0, points_per_step=(1, 3, 5, 9), learn_corrections=False)

PRESETS: dict[str, Preset] = {
    "medsam": Preset(
        objective=Objective(
            n_steps=0,
            p_box=1.0,
            p_mask=0.0,
            distortion=Jitter(20, "outward"),
            mask_loss="dice+bce",
            iou_loss=False,
        ),
        trains="encoder+decoder",
        learning_rate=1e-4,
        decay=1.0,
        batch_size=160,
        source="MedSAM, Methods: box alone, prompt encoder frozen, no loss of the predicted IoU",
    ),
    "simple-ft": Preset(
        objective=Objective(n_steps=0, p_box=0.5, p_mask=0.0),
        trains="all",
        learning_rate=1e-5,
        decay=0.9,
        source="MedicoSAM, II-B, after Gu et al.: one box or one click",
    ),
    "medicosam": Preset(
        objective=Objective(),
        trains="all",
        learning_rate=1e-5,
        decay=0.9,
        source="MedicoSAM, II-B and III",
    ),
    "ft-sam": Preset(
        objective=_MED2D,
        trains="decoder",
        learning_rate=1e-5,
        decay=0.9,
        source="SAM-Med2D as MedicoSAM, II-B, tells it: its objective, the mask decoder alone",
    ),
    "sam2-transfer": Preset(
        objective=Objective(
            n_objects=1,
            n_steps=0,
            p_box=1.0,
            p_mask=0.0,
            distortion=Jitter(5, "outward"),
            mask_loss="dice+bce",
            iou_loss=False,
        ),
        trains="encoder+decoder",
        learning_rate=6e-5,
        decay=1.0,
        batch_size=16,
        source="SAM 2 in medical images (Ma et al., 2024): box alone, prompt encoder frozen; as its "
        "paper has it: its code moves boxes by up to 5 pixels at 256, which are 20 at 1024, and does "
        "not shuffle",
    ),
    "medsam2": Preset(
        objective=ClipObjective(),
        trains="whole",
        learning_rate=5e-5,
        decay=1.0,
        weight_decay=0.1,
        batch_size=32,  # 4 GPUs with 8 clips each
        rates=Rates(encoder=0.6, layer=0.9, end=0.1, decays_norms=False),
        clip=0.1,
        source="MedSAM2 (Ma et al., 2025) and its code, 75 epochs; there half of the clips begin with "
        "a mask in place of boxes, and attention has a dropout of 0.1",
    ),
    "memory": Preset(
        objective=ClipObjective(n_objects=2, n_steps=0, frames=4, guess=True, turns=True),
        trains="memory",
        learning_rate=5e-4,
        decay=1.0,
        batch_size=8,
        rates=Rates(end=0.1, decays_norms=False),
        clip=1.0,
        source="none: the memory of promptseg-memory, before it goes on with medsam2; prompts stay as "
        "they are",
    ),
    "sam3": Preset(
        objective=WordObjective(),
        trains="all",
        learning_rate=8e-5,
        decay=1.0,
        weight_decay=0.1,
        batch_size=2,  # 2 GPUs with 1 image each
        rates=Rates(
            encoder=0.3125,  # 2.5e-5
            layer=0.9,
            decays_norms=False,
            parts=(("text_encoder.", 0.0625), ("text_projection.", 0.0625)),  # 5e-6
            warmup=20,
            timescale=20,
            cooldown=20,
        ),
        clip=0.1,
        source="SAM 3's code, its full fine-tuning with masks, 20 epochs; without its one-to-many "
        "queries, its drop-path of 0.1 and its random sizes",
    ),
    "medical-sam3": Preset(
        objective=WordObjective(p_box=0.5),
        trains="all",
        learning_rate=3e-4,
        decay=1.0,
        weight_decay=0.05,
        batch_size=4,  # 4 GPUs with 1 clip each
        rates=Rates(
            encoder=1 / 6,  # 5e-5
            layer=0.85,
            decays_norms=False,
            parts=(
                ("text_encoder.", 1 / 6),  # 5e-5
                ("text_projection.", 1 / 6),
                ("geometry_encoder.", 1 / 3),  # 1e-4
                ("detr_encoder.", 1 / 30),  # 1e-5
            ),
            warmup=100,
            timescale=100,
            cooldown=50,
        ),
        clip=0.1,
        source="Medical SAM3's code (2026-06), its rates and its boxes in place of words half of the "
        "time, on pictures in place of clips, 10 epochs; the paper's own values are not published",
    ),
    "sam-med2d": Preset(
        objective=_MED2D,
        trains="all",
        learning_rate=1e-5,
        decay=0.9,
        source="SAM-Med2D as MedicoSAM, II-B, tells it, without its adapters (III-C)",
    ),
    "semantic-2d": Preset(
        objective=SemanticObjective(),
        trains="all",
        learning_rate=1e-4,
        decay=1.0,
        batch_size=6,
        rates=Rates(plateau=0.9),
        source="MedicoSAM, II-D and III-B: Dice and cross-entropy, half each; on logits, where its "
        "code puts a sigmoid before (faithful)",
    ),
    "semantic-3d": Preset(
        objective=SemanticObjective(depth=16, halo=4, side=512, adapters=True),
        trains="all",
        learning_rate=1e-4,
        decay=1.0,
        batch_size=2,
        rates=Rates(plateau=0.9),
        source="MedicoSAM, II-D and III-B: patches of 16 x 512 x 512, adapters along depth",
    ),
    "box-channel": Preset(
        objective=BoxChannelObjective(),
        trains="all",
        learning_rate=1e-3,
        decay=0.94**0.5,
        weight_decay=4e-5,
        batch_size=600,
        source="MedSAM, Methods and its code: DeepLabV3+ with the box as a channel, 500 epochs; there "
        "from ImageNet's weights, with Adam, and the rate falls by 0.94 every other epoch",
    ),
}
