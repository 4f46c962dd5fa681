"""`promptseg segment`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse
from promptseg.names import for_terminal
from promptseg.noted import lines_of
from promptseg.provenance import InputFacts, ModelFacts
from promptseg.segment.options import SegmentJob

if TYPE_CHECKING:
    from promptseg.jobs.segment import Outputs
    from promptseg.jobs.video import VideoOutputs

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(SegmentJob, "segment", argv, _from_config)
    from promptseg.datasets.case_sources import is_many
    from promptseg.jobs.batch import is_batch, segment_folder
    from promptseg.jobs.doers import require_many
    from promptseg.jobs.segment import segment_file
    from promptseg.jobs.video import is_video_job, segment_video

    if is_video_job(job):
        _tell(segment_video(job), job)
        return 0
    if is_many(job.input):
        from promptseg.jobs.listed import segment_list

        return tell_listed(segment_list(job), job.quiet, "segmented", job.json)
    if is_batch(job.input, job.output):
        segmented = segment_folder(job)
        for name, error in segmented.failures:
            print(for_terminal(f"error: {name}: {error}"), file=sys.stderr)
        if job.json:
            print(json.dumps(segmented.provenance, indent=2))
        if not job.quiet:
            done, failed = len(segmented.provenance), len(segmented.failures)
            stream = sys.stderr if job.json else sys.stdout
            print(f"{segmented.images} images, {segmented.skipped} done already", file=stream)
            print(f"{done} segmented, {failed} failed", file=stream)
            for line in lines_of(segmented.notes, "image"):
                print(for_terminal(f"note: {line}"), file=stream)
        return 2 if segmented.failures else 0
    require_many(job, "a folder or list")
    _tell(segment_file(job), job)
    return 0


def _tell(outputs: Outputs | VideoOutputs, job: SegmentJob) -> None:
    """What one input became."""
    if job.json:
        print(json.dumps(outputs.provenance.to_json(), indent=2))
    elif not job.quiet:
        for line in outputs.summary():
            print(for_terminal(line))


def _from_config(content: dict[str, Any], path: Path, replay: bool) -> dict[str, Any]:
    """Fields from a configuration file, or from the provenance of an earlier run."""
    if "software" not in content or "options" not in content:
        return content
    from promptseg.jobs.replay import parse_provenance

    earlier = parse_provenance(content, path)
    model, image = earlier.model or ModelFacts(), earlier.input or InputFacts()
    command = dict(earlier.command or {})
    if not command:  # saved from Python
        command = {**(earlier.options or {}), "input": image.path}
    command.setdefault("model", model.name)  # nor is the path of weights in what was de-identified
    if replay:
        from promptseg.runtime.engines import ENGINES

        # versions before engines wrote a sentence there
        engine = model.engine if model.engine in ENGINES else "eager"
        command |= {"device": model.device, "threads": model.threads, "engine": engine}
    # the axis slices were taken along: earlier versions wrote z into the command whatever it was
    axis = (earlier.options or {}).get("axis", command.get("axis"))
    asked = (earlier.prompts or {}).get("objects")  # models of classes are asked for nothing
    return {**command, "axis": axis, "prompts": str(path) if asked else None}
