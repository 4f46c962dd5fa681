"""The help of a verb as a person reads it: input and output first, options in groups, two examples.

Everything is taken from the dataclass of the options: its fields, their types, defaults and docstrings.
A group is the class that defines the options; its docstring's first sentence is the heading.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import textwrap
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from promptseg.bounds import bound_of, numbers_of
from promptseg.cli.examples import EXAMPLES

__all__ = ["Group", "Option", "groups_of", "help_of", "options_of", "wants_help"]

_WORDS: dict[Any, str] = {Path: "PATH", int: "N", float: "X", str: "TEXT", bool: "True|False"}
_FIRST = ("input", "output")
_WIDTH, _INDENT = 100, 26
_LONG = 40  # characters of a list of choices that stand in its option
_LAST = ("What it may cost", "How files of masks", "Choices that only")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option as it is shown.

    Attributes:
        name: field of the dataclass.
        spelt: how it is written on the command line, its value included.
        said: what it does.
        required: whether it has no default.
        positional: whether it is given without its name.
        flags: how it may be called on the command line; none of a positional.
        choices: its values, where they are a few words.
        takes: whether a value follows.
    """

    name: str
    spelt: str
    said: str
    required: bool
    positional: bool
    flags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    takes: bool = True


class Group(NamedTuple):
    """Options that stand together, and their heading; none of those that come first."""

    heading: str
    options: list[Option]


def wants_help(argv: list[str]) -> bool:
    """Tell whether the user asks for the help of a verb."""
    return any(token in ("-h", "--help") for token in argv)


def help_of(kind: type[Any], verb: str) -> str:
    """Return the help of a verb.

    Args:
        kind: dataclass of its options.
        verb: its name.
    """
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    first, *others = groups_of(kind, verb)
    usage = " ".join(o.spelt.partition(", ")[0] for o in first.options if o.required)
    lines = [f"usage: promptseg {verb} {usage} [options]".replace("  ", " "), ""]
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
    lines += [row for option in first.options for row in _rows(option, width)]
    for group in others:
        blank = [""] if lines[-1] else []
        heading = [f"{group.heading}:"] if group.heading else []
        lines += [*blank, *heading]
        lines += [row for option in group.options for row in _rows(option, width)]
    if verb in EXAMPLES:
        lines += ["", "examples:"]
        for what, command in EXAMPLES[verb].items():
            lines += [f"  # {what}", f"  promptseg {verb} {command}".rstrip()]
    return "\n".join(lines)


def groups_of(kind: type[Any], verb: str) -> list[Group]:
    """Return the options of a verb in the order and under the headings of its help.

    Args:
        kind: the dataclass.
        verb: its name.

    Returns:
        Input, output and what else has to be given come first, without a heading, then a group for each
        class that defines options.
    """
    options = {option.name: option for option in options_of(kind, verb)}
    needed = sorted(
        (o for o in options.values() if o.required or o.positional or o.name in _FIRST),
        key=lambda o: (_FIRST.index(o.name) if o.name in _FIRST else len(_FIRST), not o.required),
    )
    groups = [Group("", needed)]
    shown = {option.name for option in needed}
    for owner in _owners(kind):
        names = [n for n in vars(owner).get("__annotations__", {}) if n in options]
        rest = [options[n] for n in names if n not in shown]
        shown |= set(names)
        if rest:
            groups.append(Group("" if owner is kind else _heading(owner), rest))
    return groups


def options_of(kind: type[Any], verb: str) -> list[Option]:
    """Return the options of a verb, as they stand in its dataclass.

    Args:
        kind: the dataclass.
        verb: its name.
    """
    bounds = {n: f" From {bound_of(n, verb)}." for n in numbers_of(kind)}
    hints, documented = get_type_hints(kind, include_extras=True), _documented(kind)
    return [
        _option(f, hints[f.name], documented.get(f.name, "") + bounds.get(f.name, ""))
        for f in dataclasses.fields(kind)
    ]


def _owners(kind: type[Any]) -> list[type[Any]]:
    """The classes that define options: what is done, then how, and what it costs at the end."""

    def place(owner: type[Any]) -> tuple[int, bool, bool]:
        heading = _heading(owner)
        last = max((n for n, t in enumerate(_LAST, 1) if heading.startswith(t)), default=0)
        return last, owner is not kind, not owner.__name__.startswith("_")

    return sorted((c for c in kind.__mro__ if dataclasses.is_dataclass(c)), key=place)


def _heading(owner: type[Any]) -> str:
    first = inspect.cleandoc(owner.__doc__ or "").split("\n\n")[0]
    said = re.split(r"[;.:]", " ".join(first.split()), maxsplit=1)[0].removeprefix("Say ")
    return said[:1].upper() + said[1:]


def _rows(option: Option, width: int) -> list[str]:
    """An option and what it does, in two columns."""
    said = textwrap.wrap(option.said, width - _INDENT) or [""]
    start = f"  {option.spelt}"
    if len(start) + 2 > _INDENT:
        return [start, *(" " * _INDENT + line for line in said)]
    return [start.ljust(_INDENT) + said[0], *(" " * _INDENT + line for line in said[1:])]


def _option(field: dataclasses.Field[Any], hint: Any, said: str) -> Option:
    metadata: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        metadata += tuple(more)
    said = next((m.help for m in metadata if getattr(m, "help", None)), said)
    said = " ".join(said.split())
    positional = any(m is tyro.conf.Positional or repr(m) == "Positional" for m in metadata)
    aliases = [a for m in metadata for a in getattr(m, "aliases", None) or ()]
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    default = None if required or field.default is dataclasses.MISSING else field.default
    given = next((m.name for m in metadata if getattr(m, "name", None)), field.name)
    name = given.replace("_", "-")
    if hint is bool and not positional:
        if default is True:
            name, said = f"no-{name}", field.metadata["off"]
        flags = (f"--{name}",)
        return Option(field.name, *flags, said, required, False, flags=flags, takes=False)
    word = _word(hint)
    if len(word) > _LONG and not positional:
        said, word = f"{said} One of {word.replace('|', ', ')}.", "WORD"
    if default not in (None, (), "") and "default" not in said:
        said += f" (default: {default})"
    short, long = [a for a in aliases if a[1] != "-"], [a for a in aliases if a[1] == "-"]
    flags = () if positional else (*short, f"--{name}", *long)
    spelt = ", ".join(f"{flag} {word}" for flag in flags)
    if positional:
        spelt = name.upper() if word in ("PATH", "TEXT") else word
    return Option(
        field.name,
        spelt,
        said=said,
        required=required,
        positional=positional,
        flags=flags,
        choices=_choices(hint),
    )


def _word(hint: Any) -> str:
    """The value of an option, in a word."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return "|".join(dict.fromkeys(_word(one) for one in inner if one is not NoneType))
    if origin is Literal:
        return "|".join(str(one) for one in inner)
    if origin is tuple:
        return _word(inner[0])
    return _WORDS.get(hint, "TEXT")


def _choices(hint: Any) -> tuple[str, ...]:
    """The values of a type that names them."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return tuple(map(str, inner))
    if get_origin(hint) in (Union, UnionType, tuple):
        return tuple(dict.fromkeys(v for one in inner for v in _choices(one)))
    return ()


def _documented(kind: type[Any]) -> dict[str, str]:
    """What stands below each field in the source of its class."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        except (OSError, TypeError):
            continue
        (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
        for node, after in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.pop(node.target.id, None)
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found[node.target.id] = str(after.value.value)
    return found
