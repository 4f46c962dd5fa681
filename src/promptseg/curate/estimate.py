"""Estimates of how long training will take and how much memory it needs, before it is started.

The network runs forward and backward on random input on the device at hand: the encoder on one image,
the decoder on the objects of one image. The times are scaled to the images of an epoch. On clips, a
round is a frame on which all objects are propagated with a full memory. The memory that is needed is
counted: weights, gradients, both moments of AdamW, and what autograd keeps for the backward pass. It
leaves out the working memory of single operations and of the library itself. It is an estimate.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from promptseg.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.sam import Sam
    from promptseg.models.families.sam2.network import Sam2Steps

__all__ = ["Cost", "Estimate", "Plan", "estimate", "estimate_training", "measure_network"]

_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of a training that its cost depends on (MedicoSAM, Algorithm 1).

    Attributes:
        n_steps: rounds of corrections after the first prompt; every round is a pass of the decoder.
        n_objects: objects per image, at most.
        encoder: whether the image encoder learns. If not, its embeddings need no gradients.
        batch_size: images on the device at a time.
        epochs: passes over the training images.
        frames: of a clip; 1 of a training on images. One frame of a clip is corrected on average, and
            two at most; a clip is one graph.
    """

    n_steps: int = 8
    n_objects: int = 5
    encoder: bool = True
    batch_size: int = 1
    epochs: int = 1
    frames: int = 1

    @property
    def rounds(self) -> int:
        """Return how many rounds one image or clip takes, on average."""
        return self.n_steps + self.frames

    @property
    def kept_rounds(self) -> int:
        """Return how many rounds autograd keeps at a time, at most."""
        return 1 if self.frames == 1 else self.frames + 2 * self.n_steps

    def __post_init__(self) -> None:
        counts = ("n_objects", "batch_size", "epochs", "frames")
        for name, least in (("n_steps", 0), *((name, 1) for name in counts)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} of {least} or more", str(getattr(self, name)), f"correct {name}"
                )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time and memory of a network, as measured.

    Attributes:
        encoder_seconds: of one image, forward, and backward if the encoder learns.
        round_seconds: of one pass of prompt encoder and decoder for `objects` objects of one image,
            forward and backward.
        objects: of that pass.
        encoder_bytes: what autograd keeps of the encoder for one image; 0 if it does not learn.
        round_bytes: what it keeps of one round.
        weight_bytes: all weights.
        trained_bytes: of the weights that learn.
        device: where it ran.
        memory_bytes: that the device has; 0 if nobody knows.
        busy: whether other programs took much of the processor meanwhile.
    """

    encoder_seconds: float
    round_seconds: float
    objects: int
    encoder_bytes: int
    round_bytes: int
    weight_bytes: int
    trained_bytes: int
    device: str
    memory_bytes: int = 0
    busy: bool = False


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time and memory that training is expected to take.

    Attributes:
        images: of an epoch, or clips.
        objects: per image, on average.
        seconds_per_image: one image or clip through the encoder and all rounds.
        seconds_per_epoch: of all images, without reading them and without validation.
        seconds: of all epochs.
        peak_bytes: memory of a batch: weights, gradients, AdamW's moments, and one round at a time, or
            all of a clip.
        plan: what was asked for.
        cost: what was measured.
    """

    images: int
    objects: float
    seconds_per_image: float
    seconds_per_epoch: float
    seconds: float
    peak_bytes: int
    plan: Plan
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        one = "image" if self.plan.frames == 1 else "clip"
        text = (
            f"about {duration(self.seconds_per_epoch)} per epoch of {self.images:,} {one}s "
            f"({self.seconds_per_image:.3g} s per {one} on {self.cost.device}), "
            f"{self.peak_bytes / 2**30:.1f} GiB of memory for {self.plan.batch_size} at a time"
        )
        if self.plan.epochs > 1:
            text += f"; {duration(self.seconds)} for {self.plan.epochs} epochs"
        return f"{text}; an estimate, without reading images and validation"


def estimate_training(
    build: str,
    plan: Plan,
    images: int,
    objects: float | None = None,
    device: str | None = None,
    family: str = "sam",
) -> Estimate:
    """Measure a network on this machine, and scale to an epoch.

    Args:
        build: which network of its family, as on the card of a model.
        plan: the training.
        images: of an epoch, or clips.
        objects: per image, on average; `plan.n_objects` if not given.
        device: to measure on; the GPU if there is one.
        family: "sam" or "sam2".
    """
    import torch

    from promptseg.models.families import family_named

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = cast("Sam | Sam2Steps", family_named(family).network(build))
    return estimate(measure_network(network.to(where), plan), plan, images, objects)


def estimate(cost: Cost, plan: Plan, images: int, objects: float | None = None) -> Estimate:
    """Scale what was measured; a pass of the decoder takes as long as it has objects.

    Args:
        cost: of the network.
        plan: the training.
        images: of an epoch, or clips.
        objects: per image, on average; `plan.n_objects` if not given.
    """
    objects = float(plan.n_objects) if objects is None else min(objects, plan.n_objects)
    share = objects / cost.objects
    per_image = plan.frames * cost.encoder_seconds + plan.rounds * cost.round_seconds * share
    # weights, then of what learns: gradients and two moments; a round on an image is freed before the
    # next, those of a clip stay
    state = cost.weight_bytes + 3 * cost.trained_bytes
    worst = plan.kept_rounds * plan.n_objects / cost.objects
    batch = plan.batch_size * (plan.frames * cost.encoder_bytes + cost.round_bytes * worst)
    return Estimate(
        images=images,
        objects=objects,
        seconds_per_image=per_image,
        seconds_per_epoch=per_image * images,
        seconds=per_image * images * plan.epochs,
        peak_bytes=int(state + batch),
        plan=plan,
        cost=cost,
    )


def measure_network(network: Sam | Sam2Steps, plan: Plan, patience: float = 10.0) -> Cost:
    """Run a network on random input: the encoder on one image, the decoder on its objects.

    Args:
        network: on the device to measure; its weights stay as they are, gradients are dropped.
        plan: whether the encoder learns, how many objects an image has, whether they are propagated.
        patience: seconds of each after which nothing is repeated.
    """
    import torch

    from promptseg.curate.answering import answering

    device = next(network.parameters()).device
    asked = answering(network, plan.n_objects, propagated=plan.frames > 1)
    generator = torch.Generator().manual_seed(0)
    side = asked.image_size
    slices = torch.rand(1, 3, side, side, generator=generator).to(device)
    learning = {name: p.requires_grad for name, p in network.named_parameters()}
    training = network.training
    network.train().requires_grad_(True)
    network.image_encoder.requires_grad_(plan.encoder)
    levels: list[Tensor] = []

    def encode() -> None:
        with torch.set_grad_enabled(plan.encoder):
            levels[:] = asked.encode(slices)
            if plan.encoder:
                cast("Tensor", sum(level.mean() for level in levels if level.numel())).backward()

    def answer() -> None:
        fixed = [level.detach().requires_grad_(plan.encoder) for level in levels]
        masks, quality = asked.answer(fixed)
        (masks.sigmoid().mean() + quality.square().mean()).backward()

    try:
        encoder_seconds, encoder_bytes = _timed(encode, network, patience)
        round_seconds, round_bytes = _timed(answer, network, patience)
        weights = {name: p.numel() * p.element_size() for name, p in network.named_parameters()}
        learns = sum(n for k, n in weights.items() if plan.encoder or "image_encoder" not in k)
    finally:
        network.zero_grad(set_to_none=True)
        network.train(training)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(learning[name])
    return Cost(
        encoder_seconds=encoder_seconds,
        round_seconds=round_seconds,
        objects=plan.n_objects,
        encoder_bytes=encoder_bytes,
        round_bytes=round_bytes,
        weight_bytes=sum(weights.values()),
        trained_bytes=learns,
        device=_name_of(device),
        memory_bytes=_memory_of(device),
        busy=device.type == "cpu" and _is_busy(),
    )


def duration(seconds: float) -> str:
    """Return a number of seconds as a text, in the unit that people would take."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _timed(
    call: Callable[[], None], network: Sam | Sam2Steps, patience: float
) -> tuple[float, int]:
    """Seconds of the fastest of a few calls, and the bytes that one keeps for its backward pass.

    The first call counts the bytes and warms up; of slow ones it is the only one. The fastest is taken
    because others may be at work on the machine.
    """
    from promptseg.runtime.measure import interleaved

    device = next(network.parameters()).device
    kept = _Kept(network)
    with kept.counting():
        times = interleaved([call], 1, device)[0]
    while len(times) <= _REPEATS and sum(times) + times[-1] < patience:
        times += interleaved([call], 1, device)[0]
    return min(times), kept.total


class _Kept:
    """What autograd keeps between forward and backward, but for weights; a storage counts once."""

    def __init__(self, network: Sam | Sam2Steps) -> None:
        own = [*network.parameters(), *network.buffers()]
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._found: dict[int, int] = {}

    def counting(self) -> AbstractContextManager[Any]:
        """Count inside of it."""
        import torch

        return torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self._found.values())

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._found[storage.data_ptr()] = storage.nbytes()
        return tensor


def _is_busy() -> bool:
    """Whether more wants to run than there are cores, half as much again."""
    try:
        return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return False


def _name_of(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of the processor"


def _memory_of(device: torch.device) -> int:
    import torch

    from promptseg.runtime.machine import describe_machine

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int((describe_machine()["memory_gib"] or 0) * 2**30) if device.type == "cpu" else 0
