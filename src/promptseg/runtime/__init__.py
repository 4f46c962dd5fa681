"""How a network is executed."""

from promptseg.runtime.choose import AUTO, Verdict, choose_engine, require_eager, wanted_engine
from promptseg.runtime.device import choose_device, set_threads
from promptseg.runtime.rewrite import prepare, rewritten
from promptseg.runtime.runner import Runner

__all__ = [
    "AUTO",
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
