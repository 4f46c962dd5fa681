"""`promptseg loop`."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.loop.options import LoopOptions
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    options = parse(LoopOptions, "loop", argv)
    from promptseg.loop.run import loop

    stands = loop(options)
    if options.json:
        print(json.dumps(stands.to_json(), indent=1))
    elif not options.quiet:
        for line in stands.lines():
            print(for_terminal(line))
    return 130 if stands.where == "interrupted" else 0
