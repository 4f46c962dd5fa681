"""`promptseg segment`."""

from __future__ import annotations

import json
import sys
from typing import Any

from promptseg.cli.options import parse
from promptseg.segment.options import SegmentJob

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(SegmentJob, "segment", argv, _from_config)
    from promptseg.segment.batch import is_batch, segment_folder
    from promptseg.segment.job import segment_file

    if is_batch(command.input, command.output):
        return segment_folder(command)
    outputs = segment_file(command)
    if command.json:
        print(json.dumps(outputs.provenance, indent=2))
    elif not command.quiet:
        for line in outputs.summary():
            print(line)
    return 0


def _from_config(content: dict[str, Any]) -> dict[str, Any]:
    """Fields from a configuration file, or from the provenance of an earlier run."""
    command = content.get("command")
    return command if isinstance(command, dict) else content


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
