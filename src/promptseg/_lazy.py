"""Packages whose public names are imported when they are first used (PEP 562): help stays instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(
    package: str, homes: Mapping[str, str], called: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`, which import its names at their first use.

    Args:
        package: its full name.
        homes: public name -> module below the package where it is defined.
        called: public name -> its name there, where the two differ.

    Examples:
        >>> getattr_, dir_ = lazily("promptseg.metrics", {"Rules": "rules"})
        >>> getattr_("Rules").__name__
        'Rules'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), (called or {}).get(name, name))
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*homes, *vars(sys.modules[package])})
