"""`promptseg serve`."""

from __future__ import annotations

from promptseg.cli.options import parse
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    from promptseg.serve.options import ServeJob

    job = parse(ServeJob, "serve", argv)
    from promptseg.serve.run import serve

    return serve(job, lambda text: print(for_terminal(text), flush=True))
