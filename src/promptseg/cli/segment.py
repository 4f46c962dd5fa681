"""`promptseg segment`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.segment.options import SegmentJob

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(SegmentJob, "segment", argv, _from_config)
    from promptseg.jobs.batch import is_batch, segment_folder
    from promptseg.jobs.segment import segment_file

    if is_batch(job.input, job.output):
        segmented = segment_folder(job)
        for name, error in segmented.failures:
            print(f"error: {name}: {error}", file=sys.stderr)
        if job.json:
            print(json.dumps(segmented.provenance, indent=2))
        if not job.quiet:
            done, failed = len(segmented.provenance), len(segmented.failures)
            stream = sys.stderr if job.json else sys.stdout
            print(f"{segmented.images} images, {segmented.skipped} done already", file=stream)
            print(f"{done} segmented, {failed} failed", file=stream)
        return 2 if segmented.failures else 0
    outputs = segment_file(job)
    if job.json:
        print(json.dumps(outputs.provenance, indent=2))
    elif not job.quiet:
        for line in outputs.summary():
            print(line)
    return 0


def _from_config(content: dict[str, Any], path: Path, replay: bool) -> dict[str, Any]:
    """Fields from a configuration file, or from the provenance of an earlier run."""
    if "software" not in content or "options" not in content:
        return content
    try:
        command = content.get("command") or {  # a provenance saved from Python has none
            **content["options"],
            "input": content["input"]["path"],
            "model": content["model"]["name"],
        }
        if replay:
            from promptseg.runtime.engines import ENGINES

            model = content["model"]
            command = {**command, "device": model["device"], "threads": model.get("threads")}
            engine = model.get("engine")  # versions before engines wrote a sentence there
            command["engine"] = engine if engine in ENGINES else "eager"
        # the axis slices were taken along: earlier versions wrote z into the command whatever it was
        axis = content["options"].get("axis", command.get("axis"))
        return {**command, "axis": axis, "prompts": str(path)}
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError("the provenance of an earlier run", f"{path} ({reason})") from None
