"""Start of a training of classes: an encoder, a decoder, and classes of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptseg import assets
from promptseg.errors import InputError, ModelError
from promptseg.formats.colours import COLOURS
from promptseg.models.card import ModelCard
from promptseg.models.checkpoint import open_checkpoint, require_numbers
from promptseg.models.families.sam import Sam
from promptseg.models.heads.lora import add_low_rank
from promptseg.models.heads.semantic import deeplab
from promptseg.models.heads.semantic.card import ClassFacts, SemanticCard, is_semantic
from promptseg.models.heads.semantic.decoder import STAGES
from promptseg.models.heads.semantic.file import (
    open_semantic,
    read_decoder,
    semantic_network,
    shape_of,
)
from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.models.heads.semantic.network import (
    SemanticNetwork,
    Specialist,
    build_semantic,
    doublings_for,
    encoder_state,
)
from promptseg.models.heads.semantic.specialists import SPECIALISTS, SWIN_FEATURES
from promptseg.models.nnunet.file import NNUNET
from promptseg.models.storage import load_content
from promptseg.models.unwrap import all_tensors
from promptseg.train.model_name import model_name
from promptseg.train.objectives import SemanticObjective
from promptseg.train.options import TrainOptions
from promptseg.train.parts import checkpoint_activations, freeze_named
from promptseg.train.rates import adamw
from promptseg.train.semantic.algorithm import ClassAlgorithm
from promptseg.train.semantic.classes import class_weights, classes_of
from promptseg.train.setting import Learner, Parts, StartingWeights
from promptseg.train.state import Average

__all__ = ["SemanticStart", "is_of_classes", "semantic_learner"]

_NEW_CLASSES = ("out_conv.", "classifier.")


def is_of_classes(options: TrainOptions) -> bool:
    """Tell whether a training is one of classes."""
    return isinstance(options.objective(), SemanticObjective)


@dataclass(frozen=True)
class SemanticStart(StartingWeights):
    """The network to be trained, which may have an encoder alone that has learnt something before.

    Its card is that of the model of prompts whose encoder it has; `tensors` are all of the network.

    Attributes:
        semantic: what the network is.
        earlier: whether it was a model of classes before.
    """

    semantic: SemanticCard = None  # type: ignore[assignment]
    earlier: bool = False

    @classmethod
    def of(cls, options: TrainOptions, parts: Parts, quiet: bool) -> SemanticStart:
        """Return the start that options ask for.

        Raises:
            ModelError: a model without an encoder of the SAM family, or an unusable file.
            InputError: classes that the data do not have, or options that differ from the model's.
        """
        objective = options.objective()
        assert isinstance(objective, SemanticObjective)
        samples = parts.collection.of("train")
        others = [*parts.collection.of("validation"), *parts.collection.of("test")]
        names = classes_of(samples, others, objective.classes)
        torch.manual_seed(options.seed)  # for the weights that are new
        if is_semantic(options.model):
            return cls._again(options, objective, names)
        if options.model in SPECIALISTS:
            return cls._specialist(SPECIALISTS[options.model], options, objective, names)
        card, file, tensors = open_checkpoint(options.model, quiet)
        if card.family != "sam":
            raise ModelError(
                "a model of the SAM family, whose encoder classes are learnt on",
                f"{card.name} of {card.family}",
                "use mobile-sam, promptseg-lite, lite-medsam, sam-vit-b or another of them",
            )
        side = objective.side or card.preprocessing.size
        known = SemanticCard(
            name=model_name(options, card.name),
            base=card.base or card.name,
            classes=_classes(names),
            depth=objective.depth,
            halo=objective.halo,
            side=side,
            features=objective.features,
            doublings=STAGES if objective.doublings is None else objective.doublings,
            adapters=objective.adapters,
            sigmoid=objective.faithful,
            licence=card.licence,
            citation=f"Archit et al., MedicoSAM, IEEE TMI (2025); {card.citation}",
            trained_on=card.trained_on,
        )
        decoder = read_decoder(options.decoder) if options.decoder else {}
        if decoder and any(".block." in k for k in decoder if k.startswith("decoder.samplers")):
            known = replace(known, transposed=True, features=_features(decoder))
        elif decoder:
            known = replace(known, features=_features(decoder))
        if objective.doublings is None and not known.transposed:
            grid = _grid(known, side)
            known = replace(known, doublings=doublings_for(side, grid))
        network = build_semantic(shape_of(known), objective.zero_adapters)
        _put(network, encoder_state(shape_of(known), tensors), file, ("encoder.",))
        if decoder:
            assert options.decoder is not None
            _put(network, decoder, options.decoder, ("deconv", "base.", "decoder"))
        state = {k: v.clone() for k, v in network.state_dict().items()}
        return cls(card, file, state, assets.sha256_of(file), known)

    @classmethod
    def _specialist(
        cls,
        card: ModelCard,
        options: TrainOptions,
        objective: SemanticObjective,
        names: tuple[str, ...],
    ) -> SemanticStart:
        """A network with random weights, which seed and code say."""
        idle = ["adapters", "zero_adapters", "doublings", "decoder", "embeddings"]
        swin = card.name == "swin-unetr"
        idle += [] if swin else ["depth", "halo", "features"]
        given = [name for name in idle if getattr(options, name) is not None]
        if given or (objective.depth > 1 and not swin):
            raise InputError(
                f"{card.name} as it is" if swin else f"{card.name} on single images, as it is",
                f"--{given[0].replace('_', '-')}" if given else f"--preset {options.preset}",
                "leave it out, or use --preset semantic-2d",
            )
        known = SemanticCard(
            name=model_name(options, card.name),
            base=card.name,
            classes=_classes(names),
            side=options.side or card.preprocessing.size,
            depth=objective.depth,
            halo=objective.halo,
            features=(options.features or SWIN_FEATURES) if swin else 0,
            doublings=0,
            sigmoid=objective.faithful,
            licence=card.licence,
            citation=card.citation,
        )
        state = {k: v.clone() for k, v in build_semantic(shape_of(known)).state_dict().items()}
        file = Path(deeplab.__file__)
        return cls(card, file, state, assets.sha256_of(file), known)

    @classmethod
    def _again(
        cls, options: TrainOptions, objective: SemanticObjective, names: tuple[str, ...]
    ) -> SemanticStart:
        """A model of classes, to learn more; its output is new where its classes are others."""
        card, file, tensors = open_semantic(options.model)
        if card.base == NNUNET:
            raise _no_further(options.model)
        if options.decoder is not None:
            raise InputError("--decoder for an encoder alone", str(options.model), "leave it out")
        mine = {"depth": objective.depth} | {
            name: value
            for name in ("side", "features", "doublings", "adapters")
            if (value := getattr(options, name)) is not None
        }
        if other := [k for k, v in mine.items() if v != getattr(card, k)]:
            raise InputError(
                f"a model with {other[0]} {mine[other[0]]}",
                f"{options.model} with {getattr(card, other[0])}",
                "leave the option out, choose the preset that it was trained with, or another model",
            )
        known = replace(
            card,
            name=model_name(options, card.name),
            halo=objective.halo if options.halo is not None else card.halo,
            sigmoid=objective.faithful,
            classes=_classes(names),
        )
        network = semantic_network(card, tensors, file)
        state = {k: v.clone() for k, v in network.state_dict().items()}
        if names != card.names:
            fresh = build_semantic(shape_of(known)).state_dict()
            state = {k: fresh[k] if k.startswith(_NEW_CLASSES) else v for k, v in state.items()}
        return cls(card.sam, file, state, assets.sha256_of(file), known, earlier=True)

    def network(self) -> SemanticNetwork:
        """Build a new network with these weights."""
        network = build_semantic(shape_of(self.semantic))
        network.load_state_dict(self.tensors)
        return network

    def read(self, file: Path) -> dict[str, Tensor]:
        """Read the tensors of a file that the training has written."""
        return self.tensors if file == self.file else all_tensors(load_content(file))

    def model(self, file: Path, device: torch.device) -> SemanticSam:
        """Load the model that is trained, with the weights of a file."""
        network = semantic_network(self.semantic, self.read(file), file).to(device)
        return SemanticSam(self.semantic, network, device, file, assets.sha256_of(file))

    @property
    def grid(self) -> int:
        """Return the number of cells along each side of the grid that the logits are on."""
        if self.semantic.base in SPECIALISTS:
            return self.semantic.side
        return _grid(self.semantic, self.semantic.side) << self.semantic.doublings

    @property
    def keepable(self) -> bool:
        """Tell whether slices are encoded just as by the model of prompts that the encoder is from."""
        known = self.semantic
        own = known.side == self.card.preprocessing.size and not known.adapters
        return own and not self.earlier and known.base not in SPECIALISTS


def semantic_learner(
    start: SemanticStart, options: TrainOptions, parts: Parts, device: torch.device
) -> Learner:
    """Build the learner of classes at the beginning of a training.

    Raises:
        InputError: a strategy that trains nothing, or one that the network has no part for.
    """
    strategy, network = options.preset_values(), start.network()
    objective = strategy.objective
    assert isinstance(objective, SemanticObjective)
    torch.manual_seed(options.seed)  # for updates of low rank
    parameters = _parameters(network, strategy.trains, options)
    network.to(device)
    if options.activation_checkpointing:
        checkpoint_activations(network.encoder)
    weights = None
    if objective.class_weights == "balanced":
        weights = class_weights(parts.train, start.semantic.names)
    optimizer = adamw(network, parameters, strategy)
    return Learner(
        network,
        None,
        parameters=parameters,
        algorithm=ClassAlgorithm(network, objective, weights),
        optimizer=optimizer,
        average=Average(options.ema) if options.ema else None,
        strategy=strategy,
    )


def _parameters(
    network: SemanticNetwork, trains: str, options: TrainOptions
) -> dict[str, nn.Parameter]:
    """What learns, by name: the decoder, and of the encoder all, nothing or updates of low rank."""
    if trains not in ("all", "encoder", "decoder", "lora"):
        raise InputError(
            "--trains all, encoder, decoder or lora for classes", trains, "choose one of them"
        )
    if (trains == "lora") != (options.lora_rank > 0):
        raise InputError(
            "a rank above 0 with what is trained by low-rank updates, and only there",
            f"--trains {trains} and --lora-rank {options.lora_rank}",
            "set both or neither",
        )
    if isinstance(network, Specialist) and trains != "all":
        raise InputError("--trains all for a specialist", trains, "leave it out")
    network.requires_grad_(trains != "encoder")
    network.encoder.requires_grad_(trains in ("all", "encoder"))
    if trains == "lora":
        add_low_rank(network.encoder, options.lora_rank)
    for name, parameter in network.named_parameters():
        if ".adapter_" in name and trains != "decoder":  # new: frozen they would be noise
            parameter.requires_grad_(True)
    return freeze_named(network, options.freeze)


def _no_further(model: str) -> ModelError:
    return ModelError(
        "a model that learns here",
        f"{model}, of nnU-Net",
        "train with --model nnunet anew; the same command goes on with its own folder",
    )


def _classes(names: tuple[str, ...]) -> tuple[ClassFacts, ...]:
    return tuple(ClassFacts.of(name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(names))


def _features(decoder: Mapping[str, Tensor]) -> int:
    """Features of the finest level of a decoder."""
    return int(decoder["deconv4.block.1.block.weight"].shape[0])


def _grid(card: SemanticCard, side: int) -> int:
    """Cells along each side of the embedding."""
    from promptseg.models.families import family_named

    with torch.device("meta"):
        sam: Any = family_named("sam").network(card.sam.build)
    assert isinstance(sam, Sam)
    grid: int = sam.prompt_encoder.grid
    return grid * side // card.sam.preprocessing.size


def _put(
    network: nn.Module, tensors: Mapping[str, Tensor], file: Path, parts: tuple[str, ...]
) -> None:
    """Load some parts of a network; what is new in them (adapters, outputs) stays."""
    require_numbers(dict(tensors), file)
    own = network.state_dict()
    wrong = [k for k, v in tensors.items() if k not in own or own[k].shape != v.shape]
    missing = [
        k
        for k in own
        if k.startswith(parts)
        and k not in tensors
        and ".adapter_" not in k
        and "num_batches_tracked" not in k
    ]
    if wrong or missing:
        raise ModelError(
            f"weights of {' and '.join(part.rstrip('.') for part in parts)} that fit the network",
            f"{file}: {len(wrong) + len(missing)} tensors differ (first: {(wrong or missing)[0]})",
            "use a file of this architecture",
        )
    network.load_state_dict(dict(tensors), strict=False)
