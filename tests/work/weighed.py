"""A task that says how much memory it takes, in a module that worker processes can import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from promptseg.errors import InputError
from promptseg.work import Task


@dataclass(frozen=True)
class Weighed(Task[Any, str]):
    """Gives its name."""

    name: str
    need: int

    @property
    def title(self) -> str:
        return self.name

    def memory(self) -> int:
        if self.need < 0:
            raise InputError("a file that can be read", self.name)
        return self.need

    def request(self) -> dict[str, Any]:
        return {}

    def is_done(self) -> bool:
        return False

    def do(self, context: Any) -> str:
        return self.name


@dataclass(frozen=True)
class Growing(Weighed):
    """Needs more than anybody thought: of numpy, of torch on the CPU (`need` bytes), or on a GPU."""

    how: str = ""

    def memory(self) -> int:
        return 0

    def do(self, context: Any) -> str:
        import torch  # here, as it takes long in the processes of other tests

        if self.how == "numpy":
            np.empty(self.need, np.uint8)
        if self.how == "torch":
            torch.empty(self.need, dtype=torch.uint8)
        if self.how == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if self.how == "fault":
            raise RuntimeError("shapes do not match")
        return self.name
