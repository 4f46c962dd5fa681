"""`promptseg train merge`: fine-tuned weights averaged, as far as it pays."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.names import for_terminal
from promptseg.train.merge_options import MergeOptions

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the merging; returns the exit code."""
    options = parse(MergeOptions, "train merge", argv)
    from promptseg.jobs.merge import merge

    merged = merge(options)
    if options.json:
        print(json.dumps(merged.to_json(), indent=1))
    elif not options.quiet:
        for line in merged.lines():
            print(for_terminal(line))
    return 0
