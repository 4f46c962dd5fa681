"""Device and threads that networks run on."""

from __future__ import annotations

import os

import torch

from promptseg.bounds import check_number
from promptseg.errors import InputError

__all__ = ["choose_device", "set_threads"]


def choose_device(name: str = "auto") -> torch.device:
    """Choose a device: "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: a device this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("not a device for inference")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError("a device of this machine", f"{name!r} ({reason})", "try cpu") from None
    return device


def set_threads(threads: int | None = None) -> int:
    """Use `threads` CPU threads, else PROMPTSEG_THREADS, else torch's own choice; returns them.

    Raises:
        InputError: not a number above 0.
    """
    wanted = threads if threads is not None else os.environ.get("PROMPTSEG_THREADS")
    if wanted is not None:
        try:
            count = int(wanted)
        except ValueError:
            count = 0
        if count < 1:
            raise InputError("a number of threads above 0", repr(wanted), "leave it out")
        check_number("threads", count)
        torch.set_num_threads(count)
    return torch.get_num_threads()
