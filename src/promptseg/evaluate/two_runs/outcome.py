"""The outcome of a comparison of two runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Compared"]


@dataclass(frozen=True)
class Compared:
    """The page, verdicts and numbers that a comparison wrote.

    Attributes:
        page: comparison.html.
        verdicts: a sentence per pair of models, section and step, on all tasks together.
        content: comparison.json.
    """

    page: Path
    verdicts: list[str]
    content: dict[str, Any]
