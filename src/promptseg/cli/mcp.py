"""`promptseg mcp`."""

from __future__ import annotations

from promptseg.cli.options import parse

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    from promptseg.serve.mcp import McpJob, serve_mcp

    return serve_mcp(parse(McpJob, "mcp", argv))
