"""`promptseg convert`."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.jobs.convert import ConvertJob, convert

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(ConvertJob, "convert", argv)
    result = convert(job)
    if job.json:
        print(json.dumps(result.provenance.to_json(), indent=2))
    elif not job.quiet:
        for segment in result.segments:
            print(f"{segment.label} {segment.name}: {int(segment.crop.sum())} voxels")
        print(f"mask        {job.output}")
    return 0
