"""`promptseg convert`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse
from promptseg.jobs.convert import ConvertJob, convert
from promptseg.names import for_terminal

if TYPE_CHECKING:
    from promptseg.jobs.convert_folder import Annotated

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(ConvertJob, "convert", argv)
    from promptseg.jobs.convert_folder import convert_folder, is_folder_job
    from promptseg.jobs.convert_list import convert_list, is_many_masks
    from promptseg.jobs.doers import require_many

    many = is_many_masks(job)
    if not many:
        require_many(job, "a list, or a folder into a folder,")
    if is_folder_job(job):
        return _tell_folder(convert_folder(job), job)
    if many:
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


def _tell_folder(made: Annotated, job: ConvertJob) -> int:
    """What became of a folder of masks; returns the exit code."""
    if job.json:
        print(json.dumps(dataclasses.asdict(made), indent=2, default=str))
    elif not job.quiet:
        print(f"{made.pictures} pictures, {made.objects} objects of {made.categories} categories")
        print(f"annotations {for_terminal(str(made.output))}")
    return 0
