"""The kinds of prompts that models are trained for: the one list of them."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["KINDS", "Kind"]

Kind = Literal["box", "point", "mask", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
"""From the most telling to the least, for lists."""
