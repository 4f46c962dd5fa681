"""`promptseg train words`: new words for a model that takes words."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.names import for_terminal
from promptseg.train.words.options import TeachOptions

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Teach a model new words; returns the exit code."""
    options = parse(TeachOptions, "train words", argv)
    from promptseg.jobs.teach import teach

    taught = teach(options)
    if options.json:
        print(json.dumps(taught.to_json(), indent=1))
    elif not options.quiet:
        for line in taught.lines():
            print(for_terminal(line))
    return 0
