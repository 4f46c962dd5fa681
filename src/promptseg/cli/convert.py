"""`promptseg convert`."""

from __future__ import annotations

import json

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse
from promptseg.jobs.convert import ConvertJob, convert
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(ConvertJob, "convert", argv)
    from promptseg.jobs.convert_list import convert_list, is_many_masks

    if is_many_masks(job):
        return tell_listed(convert_list(job), job.quiet, "converted", job.json)
    result = convert(job)
    if job.json:
        print(json.dumps(result.provenance.to_json(), indent=2))
    elif not job.quiet:
        for segment in result.segments:
            name = for_terminal(segment.name)
            print(f"{segment.label} {name}: {int(segment.crop.sum())} voxels")
        print(f"mask        {for_terminal(str(job.output))}")
    return 0
