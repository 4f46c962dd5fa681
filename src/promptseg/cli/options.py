"""Options of a verb: one dataclass, filled from a configuration file and then the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from promptseg.bounds import check_bounds
from promptseg.cli.help import help_of, wants_help
from promptseg.errors import InputError, did_you_mean
from promptseg.parsing import parse_json

__all__ = ["parse"]

log = logging.getLogger("promptseg")

T = TypeVar("T")

_MORE_THAN_A_PATH = re.compile(r"^[a-z0-9+]+:/|[*?{\[=]")
_MOST_YAML = 1 << 18  # letters


def parse(
    kind: type[T],
    verb: str,
    argv: list[str],
    from_config: Callable[[dict[str, Any], Path, bool], dict[str, Any]] | None = None,
    replaces: bool = False,
) -> T:
    """Fill the dataclass `kind`; its docstring is the verb's help.

    Args:
        kind: dataclass whose fields are the options.
        verb: name of the verb.
        argv: the options as given; those of a `--config FILE` or `--replay FILE` among them count as
            if given first.
        from_config: turns a file's content into fields, where the two differ; told whether the file is
            to be replayed.
        replaces: an option that is given replaces all of the file's values of it, where it may be
            repeated, and switches can be undone.

    Raises:
        InputError: a configuration file that cannot be read or has unknown fields.
    """
    if wants_help(argv):
        print(help_of(kind, verb))
        raise SystemExit(0)
    typed = argv
    for option in ("--config", "--replay"):
        if path := _option_path(argv, option):
            content = _read_config(path)
            fields = from_config(content, path, option == "--replay") if from_config else content
            fields = _without_overwrite(fields, path)
            if replaces:
                fields = {k: v for k, v in fields.items() if not _given(k, argv)}
            argv = [*_as_options(fields, kind, path), *argv]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options: T = tyro.cli(
                kind,
                prog=f"promptseg {verb}",
                args=argv,
                config=() if replaces else (tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(
            f"the options of promptseg {verb}",
            _first_paragraph(said.getvalue()),
            _nearest(kind, argv) or f"see promptseg {verb} --help",
        ) from None
    check_bounds(options, verb)
    if not any(_option_path(typed, option) for option in ("--config", "--replay")):
        _require_input(options)
    return options


def _nearest(kind: type[Any], argv: list[str]) -> str:
    """The option that an unknown one is close to, as advice."""
    known = ["--" + f.name.replace("_", "-") for f in dataclasses.fields(kind)]
    for token in argv:
        given = token.split("=")[0]
        plain = given.replace("--no-", "--", 1)
        if given.startswith("--") and given not in known and plain not in known:
            return did_you_mean(given, known)
    return ""


def _require_input(options: object) -> None:
    """What is to be read is there: said before anything large is imported.

    Addresses and patterns are left to those who read them.
    """
    given = getattr(options, "input", None)
    for path in given if isinstance(given, tuple | list) else (given,):
        if not isinstance(path, Path):
            continue
        if _MORE_THAN_A_PATH.search(str(path)):
            continue
        if not os.path.lexists(path.expanduser()):
            raise InputError(
                "a file or folder to read", f"{path}: no such file or folder", "correct the path"
            )


def _first_paragraph(box: str) -> str:
    """What a framed message of the parser says first, on one line."""
    said: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │|")
        if said and not text.strip("─-+╰╯ "):
            break
        if text.strip("─-+╭╮ "):
            said.append(text)
    return " ".join(" ".join(said).split()).rstrip(".") or " ".join(box.split())


def _option_path(argv: list[str], option: str) -> Path | None:
    for k, token in enumerate(argv):
        if token == option and k + 1 < len(argv):
            return Path(argv[k + 1])
        if token.startswith(f"{option}="):
            return Path(token.partition("=")[2])
    return None


def _given(name: str, argv: list[str]) -> bool:
    """Whether a field is among the options."""
    option = name.replace("_", "-")
    return any(token.split("=")[0] in (f"--{option}", f"--no-{option}") for token in argv)


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    from promptseg.formats.text import read_text

    class Plain(yaml.SafeLoader):
        """Values alone: a few aliases of aliases would stand for gigabytes."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias, *name: write the value itself")
            return super().compose_node(parent, index)

    try:
        text = read_text(path)
        content = _as_json(text) if len(text) > _MOST_YAML else yaml.load(text, Plain)
    except OSError as error:
        raise InputError("a configuration file", f"{path} ({error.strerror})") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError("a configuration in YAML or JSON", f"{path} ({first})") from None
    if not isinstance(content, dict):
        raise InputError("a configuration of `option: value` lines", str(path))
    return {str(k).replace("-", "_"): v for k, v in content.items()}


def _as_json(text: str) -> Any:
    """Long files are read as JSON, as provenances of many objects are, which is much quicker."""
    try:
        return parse_json(text)
    except ValueError:
        raise ValueError(f"{len(text):,} letters, which is more than {_MOST_YAML:,}") from None


def _without_overwrite(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """A file may be somebody else's: what exists is replaced only where the user has typed so."""
    if fields.get("overwrite") is True:
        log.warning("overwrite in %s does not count: type --overwrite to replace what exists", path)
    return {k: v for k, v in fields.items() if k != "overwrite" or v is not True}


def _as_options(fields: dict[str, Any], kind: type[Any], path: Path) -> list[str]:
    """Fields -> the same as command-line options, so that both are checked alike."""
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    unknown = sorted(set(fields) - set(defaults))
    if unknown:
        raise InputError(
            f"options out of {', '.join(sorted(defaults))}", f"{', '.join(unknown)} in {path}"
        )
    options: list[str] = []
    for name, value in fields.items():
        option = "--" + name.replace("_", "-")
        if isinstance(defaults[name], bool):
            if not isinstance(value, bool):
                raise InputError(f"{name} to be true or false", f"{value!r} in {path}")
            if value is not defaults[name]:
                options.append(option if value else option.replace("--", "--no-", 1))
        elif name == "slices" and isinstance(value, int):
            raise InputError('slices in quotes, "FIRST:LAST"', f"{value} in {path}")
        elif value is not None:
            many = value if isinstance(value, (list, tuple)) else [value]
            options += [f"{option}={one}" for one in many]
    return options
