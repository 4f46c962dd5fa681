"""Names of prompts by words in the rows of an evaluation."""

from __future__ import annotations

__all__ = ["ABSENT", "INSTANCE", "SYNONYM", "TEXT"]

TEXT = "text"
"""A target asked for by its name; all its objects count together."""
ABSENT = "absent text"
"""What is not there: DSC is 1 where nothing is found, else 0, and predicted IoU the highest score."""
SYNONYM = "synonym text"
"""Another phrase for a target."""
INSTANCE = "text instance"
"""One object against the instance matched with it."""
