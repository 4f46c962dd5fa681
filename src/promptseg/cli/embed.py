"""`promptseg embed`."""

from __future__ import annotations

from promptseg.cli.options import parse
from promptseg.segment.options import EmbedJob

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(EmbedJob, "embed", argv)
    from promptseg.jobs.embed import embed_images

    return embed_images(job)
