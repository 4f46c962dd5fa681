"""`promptseg schema`."""

from __future__ import annotations

import json
from dataclasses import dataclass

import tyro

from promptseg.cli.options import parse
from promptseg.errors import InputError, did_you_mean

__all__ = ["SchemaCommand", "run"]


@dataclass(kw_only=True)
class SchemaCommand:
    """Print what a verb's --json looks like, as JSON Schema (2020-12).

    Without a verb, the verbs that have one are listed. See docs/json.md.
    """

    verb: tyro.conf.Positional[tuple[str, ...]] = ()
    """A verb, with its second word where it has one: segment, train merge."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(SchemaCommand, "schema", argv)
    from promptseg.cli.schemas import ANSWERS, schema_for

    verb = " ".join(command.verb)
    if not verb:
        print("\n".join(ANSWERS))
        return 0
    if verb not in ANSWERS:
        raise InputError(
            f"a verb with --json out of {', '.join(ANSWERS)}",
            repr(verb),
            did_you_mean(verb, ANSWERS),
        )
    print(json.dumps(schema_for(verb), indent=1))
    return 0
