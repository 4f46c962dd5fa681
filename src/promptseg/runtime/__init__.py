"""Execution of networks by engines. Names are imported when they are first used: they bring torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from promptseg.runtime.names import AUTO, ENGINES

if TYPE_CHECKING:
    from promptseg.runtime.choose import Verdict, choose_engine, require_eager, wanted_engine
    from promptseg.runtime.device import choose_device, set_threads
    from promptseg.runtime.rewrite import prepare, rewritten
    from promptseg.runtime.runner import NetworkRunner, Runner

__all__ = [
    "AUTO",
    "ENGINES",
    "NetworkRunner",
    "Runner",
    "Verdict",
    "choose_device",
    "choose_engine",
    "prepare",
    "require_eager",
    "rewritten",
    "set_threads",
    "wanted_engine",
]

_HOME = {
    **dict.fromkeys(("Verdict", "choose_engine", "require_eager", "wanted_engine"), "choose"),
    **dict.fromkeys(("choose_device", "set_threads"), "device"),
    **dict.fromkeys(("prepare", "rewritten"), "rewrite"),
    **dict.fromkeys(("NetworkRunner", "Runner"), "runner"),
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"promptseg.runtime.{_HOME[name]}"), name)
    raise AttributeError(f"module 'promptseg.runtime' has no attribute {name!r}")
