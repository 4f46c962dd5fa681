"""How a network is executed."""

from promptseg.runtime.device import choose_device, set_threads
from promptseg.runtime.rewrite import prepare

__all__ = ["choose_device", "prepare", "set_threads"]
