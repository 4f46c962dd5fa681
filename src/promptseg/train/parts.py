"""The choice of the parts of a model that learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from promptseg.errors import InputError
from promptseg.models.families.specialist.build import BoxChannel
from promptseg.models.heads.lora import ATTENTION, add_low_rank
from promptseg.train.image_sam2 import ImageSam2
from promptseg.train.networks import Trainee, WordSam3
from promptseg.train.objectives.settings import Trainable

__all__ = [
    "checkpoint_activations",
    "choose_parts",
    "encoder_learns",
    "freeze_batch_norm",
    "freeze_named",
    "without_gradient",
]

_PARTS: dict[Trainable, tuple[str, ...]] = {
    "all": ("image_encoder", "prompt_encoder", "mask_decoder"),
    "encoder": ("image_encoder",),
    "decoder": ("mask_decoder",),
    "encoder+decoder": ("image_encoder", "mask_decoder"),
    "prompts+decoder": ("prompt_encoder", "mask_decoder"),
    "lora": ("prompt_encoder", "mask_decoder"),
    "whole": (),  # with all that a SAM 2 has beside
    "memory": (),  # that alone
}
_STACKS = ("blocks", "layers")  # what stacks are called; SAM 3's the second way
_DETECTOR = (
    *("geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder", "dot_product_scoring"),
)
_WORDS = ("text_encoder", "text_projection")
_PARTS_OF_SAM3: dict[Trainable, tuple[str, ...]] = {
    "all": ("vision_encoder", *_WORDS, *_DETECTOR),
    "encoder": ("vision_encoder",),
    "decoder": _DETECTOR,
    "encoder+decoder": ("vision_encoder", *_DETECTOR),
    "prompts+decoder": (*_WORDS, *_DETECTOR),
    "lora": _DETECTOR,
    "whole": (),
}
_ATTENTION_OF_SAM3 = ("q_proj", "k_proj", "v_proj", "o_proj")


def choose_parts(
    sam: Trainee, trains: Trainable, rank: int = 0, freeze: Iterable[str] = ()
) -> dict[str, nn.Parameter]:
    """Let some parts of a network learn, and no other.

    Args:
        sam: the network.
        trains: which parts.
        rank: of the updates of the encoder's attention, for "lora".
        freeze: beginnings of names of parameters that stay as they are all the same.

    Returns:
        The parameters that learn, by name.

    Raises:
        InputError: nothing is left, a rank where none is wanted, or a beginning that nothing has.
    """
    if (trains == "lora") != (rank > 0) or rank < 0:
        raise InputError(
            "a rank above 0 with what is trained by low-rank updates, and only there",
            f"--trains {trains} and --lora-rank {rank}",
            "set both or neither",
        )
    if isinstance(sam, BoxChannel):
        if trains != "all":
            raise InputError("--trains all for a specialist", trains, "leave it out")
        sam.requires_grad_(True)
        return freeze_named(sam, freeze)
    beside = isinstance(sam, ImageSam2) and trains in ("whole", "memory")
    if trains == "memory" and not beside:
        raise InputError("a model with memory", "a SAM", "train other parts with --trains")
    sam.requires_grad_(trains == "whole" or beside)
    if trains == "memory" and isinstance(sam, ImageSam2):
        for part in _PARTS["all"]:
            sam.part(part).requires_grad_(False)
    for part in (_PARTS_OF_SAM3 if isinstance(sam, WordSam3) else _PARTS)[trains]:
        module = sam.part(part) if isinstance(sam, ImageSam2) else getattr(sam, part)
        module.requires_grad_(True)
    if trains == "lora":
        if isinstance(sam, ImageSam2):
            raise InputError(
                "a SAM for low-rank updates", "a SAM 2", "use --trains encoder+decoder"
            )
        layers = _ATTENTION_OF_SAM3 if isinstance(sam, WordSam3) else ATTENTION
        add_low_rank(sam.image_encoder, rank, layers)
    return freeze_named(sam, freeze)


def freeze_named(network: nn.Module, freeze: Iterable[str]) -> dict[str, nn.Parameter]:
    """Freeze parameters whose names begin so; returns those that learn, by name.

    Raises:
        InputError: nothing is left, or a beginning that nothing has.
    """
    for beginning in freeze:
        found = [p for name, p in network.named_parameters() if name.startswith(beginning)]
        if not found:
            raise InputError("the beginning of a parameter's name to freeze", repr(beginning))
        for parameter in found:
            parameter.requires_grad_(False)
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not learning:
        raise InputError(
            "a strategy that trains something", "all parts frozen", "change --trains or --freeze"
        )
    return learning


def encoder_learns(sam: Trainee) -> bool:
    """Tell whether any part of the image encoder learns; if not, its embeddings can be kept."""
    return any(p.requires_grad for p in sam.image_encoder.parameters())


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep the running statistics of batch normalisation: batches here are too small for new ones."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def checkpoint_activations(encoder: nn.Module) -> None:
    """Compute the activations inside each block again on the way back, in place of keeping them."""
    for block in _blocks(encoder):
        block.forward = partial(_again, block.forward)


def without_gradient(parameters: dict[str, nn.Parameter]) -> list[str]:
    """Return the names of parameters that should learn and got no gradient."""
    return [name for name, p in parameters.items() if p.grad is None]


def _again(forward: Callable[..., Tensor], *given: Any, **named: Any) -> Tensor:
    out: Tensor = checkpoint(forward, *given, use_reentrant=False, **named)
    return out


def _blocks(encoder: nn.Module) -> Iterator[nn.Module]:
    """The blocks that the encoders are stacks of."""
    for stack in _STACKS:
        found = [layer for name, layer in encoder.named_modules() if _is_of(name, stack)]
        if found:
            yield from found
            return


def _is_of(name: str, stack: str) -> bool:
    parent, _, number = name.rpartition(".")
    return number.isdigit() and parent.rpartition(".")[2] == stack
