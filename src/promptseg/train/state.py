"""State to go on from exactly where a training stopped: `last.pt`, written whole or not at all."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path

__all__ = ["Average", "Progress", "load_state", "save_state"]

_SCHEMA = "promptseg training 1"

# What helps a training that ran out of memory or off to infinity: it may go on with less of it.
_MAY_CHANGE = {"learning_rate", "clip", "precision", "micro_batch", "activation_checkpointing"}

log = logging.getLogger("promptseg")


@dataclass
class Progress:
    """Progress of a training.

    Chance is a function of seed and update, so no generator has to be kept.

    Attributes:
        updates: of the weights so far.
        best_score: of validations so far; None before the first one.
        best_update: when that was.
        seconds: spent training so far.
        restarted: the update at which the optimizer was new.
        factor: of the learning rate, by validations that were no better; see `Rates.plateau`.
        waited: such validations in a row.
    """

    updates: int = 0
    best_score: float | None = None
    best_update: int = 0
    seconds: float = 0.0
    restarted: int = 0
    factor: float = 1.0
    waited: int = 0


@dataclass
class Average:
    """An exponential moving average of parameters.

    Attributes:
        decay: share that is kept at every update.
        values: by name.
    """

    decay: float
    values: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def update(self, parameters: dict[str, nn.Parameter]) -> None:
        """Take the present values in; the first ones as they are."""
        for name, parameter in parameters.items():
            if name in self.values:
                self.values[name].lerp_(parameter, 1 - self.decay)
            else:
                self.values[name] = parameter.detach().clone()


def save_state(
    path: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    progress: Progress,
    binding: dict[str, Any],
) -> None:
    """Write everything.

    Raises:
        OutputError: no space, or no right to; the file that was there before stays.
    """
    content = {
        "schema": _SCHEMA,
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizer": optimizer.state_dict(),
        "average": average.values if average else None,
        "progress": vars(progress),
        "binding": binding,
    }
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's own writer hides the system's error
            raise OSError(28 if "write" in str(error) else 5, str(error)) from error


def load_state(
    path: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    binding: dict[str, Any],
) -> Progress:
    """Put everything back.

    Raises:
        InputError: a damaged file, or one of another training.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["schema"] != _SCHEMA:
            raise ValueError(content["schema"])
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            "a training to go on with", f"{path} ({reason})", "start anew with --overwrite"
        ) from None
    then = content["binding"]
    other = {
        k: f"{k} {then.get(k)} and now {binding.get(k)}"
        for k in sorted({*then, *binding})
        if then.get(k) != binding.get(k)
    }
    if lasting := [text for k, text in other.items() if k not in _MAY_CHANGE]:
        raise InputError(
            "the options of the training that is there already",
            f"{path.parent}: {', '.join(lasting[:3])}",
            "repeat them, choose another --output, or start anew with --overwrite",
        )
    for text in other.values():
        log.warning("the training goes on with other options: %s", text)
    for name, module in modules.items():
        module.load_state_dict(content["modules"][name])
    optimizer.load_state_dict(content["optimizer"])
    if average is not None:
        device = next(iter(modules.values())).parameters().__next__().device
        average.values = {k: v.to(device) for k, v in (content["average"] or {}).items()}
    return Progress(**content["progress"])
