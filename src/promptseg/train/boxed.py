"""Start of the training of a specialist for boxes: random weights, or earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from promptseg import assets
from promptseg.errors import InputError, ModelError
from promptseg.models.checkpoint import SPECIALIST, is_external
from promptseg.models.families import family_named
from promptseg.models.heads.semantic import specialist_networks
from promptseg.models.heads.semantic.specialists import SPECIALISTS, SWIN_FEATURES, boxed_card
from promptseg.train.objectives import BoxChannelObjective
from promptseg.train.options import TrainOptions
from promptseg.train.setting import StartingWeights

__all__ = ["BoxedStart"]


@dataclass(frozen=True)
class BoxedStart(StartingWeights):
    """A specialist that has learnt nothing: seed and code, which `file` is, say its weights."""

    @classmethod
    def of(cls, options: TrainOptions, quiet: bool) -> StartingWeights:
        """Return the start that options ask for.

        Raises:
            InputError: options that the specialist does not have, or that differ from the model's.
            ModelError: a model that is no specialist, or an unusable file.
        """
        objective = options.objective()
        assert isinstance(objective, BoxChannelObjective)
        if options.model not in SPECIALISTS:
            start = StartingWeights.load(options.model, quiet)
            if is_external(start.card):
                raise ModelError(
                    "a model that learns here",
                    f"{options.model}, of nnU-Net",
                    "train with --model nnunet anew",
                )
            _require_same(start, objective)
            return start
        swin = options.model == "swin-unetr"
        if objective.features is not None and not swin:
            raise InputError(f"{options.model} as it is", "--features", "leave it out")
        side = objective.side or SPECIALISTS[options.model].preprocessing.size
        card = boxed_card(options.model, side, (objective.features or SWIN_FEATURES) * swin)
        torch.manual_seed(options.seed)
        network = family_named(card.family).network(card.build)
        tensors = {name: value.clone() for name, value in network.state_dict().items()}
        file = Path(specialist_networks.__file__)
        return cls(card, file, tensors, assets.sha256_of(file))

    def read(self, file: Path) -> dict[str, Tensor]:
        """Read the tensors of a file that the training has written, or those it began with."""
        return dict(self.tensors) if file == self.file else super().read(file)


def _require_same(start: StartingWeights, objective: BoxChannelObjective) -> None:
    """Refuse another size than the model has; that it is no specialist is said later."""
    if start.card.family != SPECIALIST:
        return
    _, side, features = start.card.build.split(":")
    for name, own in (("side", int(side)), ("features", int(features))):
        if getattr(objective, name) not in (None, own):
            raise InputError(
                f"a model with {name} {getattr(objective, name)}",
                f"{start.card.name} with {own}",
                "leave the option out",
            )
