"""Options of merging, defined once for Python, the command line and configuration files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError

__all__ = ["MergeOptions"]

_Paths = tyro.conf.UseAppendAction[tuple[Path, ...]]
_Shares = tyro.conf.UseAppendAction[tuple[float, ...]]


@dataclass(kw_only=True)
class MergeOptions:
    """Average fine-tuned weights with each other and with their start, as far as validation gains.

    The start, every model alone, their mean and weights on the way back to the start are compared on
    the validation part of a collection; the best is kept, with a report on the test part and a card as
    after a training. Give the same command again to go on after an interruption.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Collection made by promptseg curate, on which shares are chosen."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for weights, card, report and the table of what was tried."""

    weights: _Paths = ()
    """Weights fine-tuned from the start; may be repeated."""

    model: str = "mobile-sam"
    """The start: model name (see promptseg models), checkpoint file, or NAME=FILE."""

    share: _Shares = ()
    """Part of the way from the start that is tried, between 0 and 1; may be repeated (default: a
    quarter, a half, three quarters)."""

    validation_images: int = 60
    """Images of the validation part, all datasets alike."""

    validation_objects: int = 3
    """Objects of an image, the largest."""

    corrections: int = 8
    """Rounds of corrections."""

    report_images: int = 200
    """Images of the test part that the report is about; of validation if there is none."""

    engine: str = "eager"
    """What executes the model; see promptseg benchmark --show."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    embeddings: Path | None = None
    """Folder for embeddings, where the weights share an encoder (default: embeddings in --output)."""

    seed: int = 0
    """Seed of the clicks."""

    config: Path | None = None
    """YAML file of these options."""

    overwrite: bool = False
    """Start anew in a folder that holds another merging."""

    quiet: bool = False
    """No progress, no summary."""

    json: bool = False
    """Print the report as JSON."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InputError: no weights, twice the same, or shares that are not between 0 and 1.
        """
        if not self.weights:
            raise InputError("--weights with fine-tuned weights, at least one", "none", "add one")
        if len(set(self.weights)) < len(self.weights):
            raise InputError("every weights file once", "one of them twice", "leave one out")
        for share in self.share:
            if not 0 < share < 1:
                raise InputError("shares between 0 and 1", f"{share:g}", "correct --share")
