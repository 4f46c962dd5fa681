"""The summary that is printed after a list of cases was done."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from promptseg.names import for_terminal

if TYPE_CHECKING:
    from promptseg.jobs.lists import Listed

__all__ = ["tell_listed"]


def tell_listed(listed: Listed, quiet: bool, done: str, as_json: bool = False) -> int:
    """Print failures and counts; returns the exit code.

    Args:
        listed: what came of the list.
        quiet: no counts.
        done: what was done to cases, in a word.
        as_json: counts and table for a program.
    """
    tally = listed.tally
    for name, error in listed.failures:
        print(for_terminal(f"error: {name}: {error}"), file=sys.stderr)
    if (more := tally.failed - len(listed.failures)) > 0:
        print(f"and {more} others, in {listed.table}", file=sys.stderr)
    if as_json:
        print(json.dumps({**dataclasses.asdict(tally), "table": str(listed.table)}))
    elif not quiet:
        print(f"{tally.skipped} done already, {tally.done} {done}, {tally.failed} failed")
        print(for_terminal(f"{'results':<12}{listed.table}"))
    return 2 if tally.failed else 0
