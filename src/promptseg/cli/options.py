"""Options of a verb: one dataclass, filled from a configuration file and then the command line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from promptseg.errors import InputError

__all__ = ["parse"]

T = TypeVar("T")


def parse(
    kind: type[T],
    verb: str,
    argv: list[str],
    from_config: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> T:
    """Fill the dataclass `kind`; its docstring is the verb's help.

    Args:
        kind: dataclass whose fields are the options.
        verb: name of the verb.
        argv: the options as given; a `--config FILE` among them is read first.
        from_config: turns a file's content into fields, where the two differ.

    Raises:
        InputError: a configuration file that cannot be read or has unknown fields.
    """
    given: dict[str, Any] = {}
    if path := _config_path(argv):
        content = _read_config(path)
        given = from_config(content) if from_config else content
        _check_fields(given, kind, path)
    missing = {
        f.name: tyro.MISSING
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in given
    }
    default: Any = None
    if given:
        hints = get_type_hints(kind)
        values = {k: Path(v) if hints.get(k) is Path else v for k, v in given.items()}
        default = kind(**missing, **values)
    options: T = tyro.cli(
        kind,
        prog=f"promptseg {verb}",
        args=argv,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
        console_outputs=True,
    )
    return options


def _config_path(argv: list[str]) -> Path | None:
    for k, token in enumerate(argv):
        if token == "--config" and k + 1 < len(argv):
            return Path(argv[k + 1])
        if token.startswith("--config="):
            return Path(token.partition("=")[2])
    return None


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("a configuration file", f"{path} ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise InputError("a configuration in YAML or JSON", f"{path} ({first})") from None
    if not isinstance(content, dict):
        raise InputError("a configuration of `option: value` lines", str(path))
    return {str(k).replace("-", "_"): v for k, v in content.items()}


def _check_fields(given: dict[str, Any], kind: type[Any], path: Path) -> None:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InputError(
            f"options out of {', '.join(sorted(known))}", f"{', '.join(unknown)} in {path}"
        )


def warn(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr)
