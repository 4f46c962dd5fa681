"""`promptseg train`."""

from __future__ import annotations

from promptseg.cli.options import parse
from promptseg.train.options import TrainOptions
from promptseg.train.recipes import recipe_file

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    if argv and not argv[0].startswith("-"):
        argv = ["--config", str(recipe_file(argv[0])), *argv[1:]]
    options = parse(TrainOptions, "train", argv, replaces=True)
    from promptseg.jobs.train import train

    return train(options)
