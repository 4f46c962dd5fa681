"""What was understood of an image, in plain values: the table and JSON of `promptseg info`."""

from __future__ import annotations

from promptseg.facts.gather import Facts, gather

__all__ = ["Facts", "gather"]
