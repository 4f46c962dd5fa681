"""Options of reports, defined once: Python and command line share them."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptseg.bounds import check_bounds
from promptseg.errors import InputError

__all__ = ["ReportOptions"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Say what a report of an evaluation shows."""

    baseline: str | None = None
    """Model that others are compared with; the first one of the run if not given."""

    count_trained: bool = False
    """Count images that a model was trained on in the statistics too."""

    holm: bool = False
    """Adjust p values for the number of tests in a table (Holm)."""

    published: bool = False
    """Show figures of the papers beside, marked as published, other data."""

    worst: int = 5
    """How many of the worst masks to list per model, prompt and step."""

    images: bool = field(default=True, metadata={"off": "Show no pictures of them."})
    """Show pictures of them."""

    publish: bool = False
    """The page goes to others: show only pictures of data sets whose licence is known to let them."""

    resamples: int = 1000
    """Resamples of patients for the bootstrap intervals."""

    seed: int = 0
    """Seed of the bootstrap intervals."""

    overwrite: bool = False
    """Replace a report that is already there."""

    def __post_init__(self) -> None:
        if self.worst < 0:
            raise InputError("a number of worst masks of at least 0", f"{self.worst}")
        if self.resamples < 100:
            raise InputError("at least 100 resamples", f"{self.resamples}", "use 1000")
        if self.seed < 0:
            raise InputError("a seed of at least 0", f"{self.seed}")
        check_bounds(self)
