"""Tables of the options of every verb, from the dataclasses that help and command line are made of."""

from __future__ import annotations

import inspect
from typing import Any

from promptseg.cli.examples import EXAMPLES
from promptseg.cli.help import Option, groups_of
from promptseg.cli.kinds import KINDS, kind_of
from promptseg.cli.main import VERBS

__all__ = ["options_page"]

_HEAD = """# Options of every verb

This page is made from the definitions that the command line itself uses. `promptseg VERB --help`
prints the same. Options of a verb may also stand in a YAML file, for verbs that have `--config`.
"""


def options_page() -> str:
    """Return the page in Markdown: a section for each verb, a table for each group of options."""
    parts = [_HEAD]
    for verb in KINDS:
        parts += [f"## {verb}", *_section(kind_of(verb), verb)]
    return "\n\n".join(parts) + "\n"


def _section(kind: type[Any], verb: str) -> list[str]:
    about = [f"*{_plain(VERBS[verb])}*"] if verb in VERBS else []
    parts = [*about, *map(_plain, inspect.cleandoc(kind.__doc__ or "").split("\n\n"))]
    for group in groups_of(kind, verb):
        if group.options:
            heading = [f"**{group.heading}**"] if group.heading else []
            parts += [*heading, "\n".join(_table(group.options))]
    if verb in EXAMPLES:
        lines = [f"# {what}\npromptseg {verb} {line}" for what, line in EXAMPLES[verb].items()]
        parts.append("```bash\n" + "\n".join(lines) + "\n```")
    return parts


def _table(options: list[Option]) -> list[str]:
    rows = [f"| `{_cell(option.spelt)}` | {_plain(option.said)} |" for option in options]
    return ["| option | |", "|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Text of a help as Markdown: nothing in it is a tag or a column."""
    for letter in "*_[]":
        text = text.replace(letter, f"\\{letter}")
    return _cell(text.replace("<", "&lt;"))
