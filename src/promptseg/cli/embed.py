"""`promptseg embed`."""

from __future__ import annotations

import sys

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse
from promptseg.names import for_terminal
from promptseg.segment.options import EmbedJob

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(EmbedJob, "embed", argv)
    from promptseg.datasets.case_sources import is_many
    from promptseg.jobs.embed import embed_images, embed_list

    if is_many(job.input):
        return tell_listed(embed_list(job), job.quiet, "encoded")
    embedded = embed_images(job)
    for name, error in embedded.failures:
        print(for_terminal(f"error: {name}: {error}"), file=sys.stderr)
    if not job.quiet:
        there = embedded.slices - embedded.encoded
        print(f"images: {embedded.images} done, {len(embedded.failures)} failed")
        print(f"slices: {embedded.encoded} encoded, {there} there already")
    return 2 if embedded.failures else 0
