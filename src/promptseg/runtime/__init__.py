"""How a network is executed."""

from promptseg.runtime.choose import AUTO, Verdict, choose_engine, wanted_engine
from promptseg.runtime.device import choose_device, set_threads
from promptseg.runtime.rewrite import prepare
from promptseg.runtime.runner import Runner

__all__ = [
    "AUTO",
    "Runner",
    "Verdict",
    "choose_device",
    "choose_engine",
    "prepare",
    "set_threads",
    "wanted_engine",
]
