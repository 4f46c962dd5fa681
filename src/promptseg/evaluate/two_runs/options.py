"""Every option of a comparison of two runs, defined once: Python and command line share it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError, did_you_mean
from promptseg.evaluate.options import EvaluateOptions

__all__ = ["CompareOptions"]

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class CompareOptions:
    """Say what may differ between two runs, and what is counted."""

    model: _Names = ()
    """Compare only this model of the two runs; may be repeated. (default: models of the same name; of
    two runs with one model each, these two)"""

    across: _Names = ()
    """Option of the evaluations that may differ, because it is what is compared, such as engine,
    propagate, protocol or prompt; may be repeated. Any other difference is refused."""

    shared: bool = False
    """Compare the masks that both runs scored where one has others too, in place of refusing."""

    count_trained: bool = False
    """Count images that a model was trained on in the statistics too."""

    resamples: int = 1000
    """Resamples of patients for the bootstrap intervals."""

    seed: int = 0
    """Seed of the bootstrap intervals."""

    overwrite: bool = False
    """Replace a comparison that is already there."""

    def __post_init__(self) -> None:
        known = [f.name for f in fields(EvaluateOptions)]
        self.across = tuple(name.replace("-", "_") for name in self.across)
        for name in self.across:
            if name not in known:
                raise InputError(
                    "an option of promptseg evaluate that decides about its figures",
                    repr(name),
                    did_you_mean(name, known) or "see promptseg evaluate --help",
                )
        if self.resamples < 100:
            raise InputError("at least 100 resamples", f"{self.resamples}", "use 1000")
        if self.seed < 0:
            raise InputError("a seed of at least 0", f"{self.seed}")
        check_bounds(self)
