"""How a network is executed."""

from promptseg.runtime.eager import choose_device, prepare, set_threads

__all__ = ["choose_device", "prepare", "set_threads"]
