"""The processes that train together: one, or those that torchrun started on one or many nodes.

Every process holds the whole network, takes its share of each batch and sums its gradients with the
others'. Losses are sums divided by the number of terms of the whole batch, so that it does not matter
how images are divided.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from promptseg.errors import PromptsegError

__all__ = ["LostProcessError", "Processes", "is_restart", "process_group"]

_BUCKET = 25_000_000  # numbers summed in one message
_PATIENCE = timedelta(hours=2)  # one process may validate while others wait


class LostProcessError(PromptsegError):
    """A process that trained with this one has died, or cannot be reached."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: number of this process.
        count: of all.
        device: of this process.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Tell whether this process writes files and talks to the user."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum each of some numbers over all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self._wire())
        with _together():
            distributed.all_reduce(total)
        return [float(v) for v in total]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over all processes; a parameter that nobody has one for keeps none."""
        if self.count == 1:
            return
        had = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        with _together():
            distributed.all_reduce(had)
        used = [p for p, count in zip(parameters, had.tolist(), strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([p.grad for p in used if p.grad is not None]):
            flat = torch.cat([g.flatten() for g in bucket])
            with _together():
                distributed.all_reduce(flat)
            parts = flat.split([g.numel() for g in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _together():
            distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            with _together():
                distributed.barrier()

    def _wire(self) -> torch.device:
        return self.device if self.device.type == "cuda" else torch.device("cpu")


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Provide the process group of this training for as long as it lasts.

    A training of one process has a group of itself alone. Under torchrun, which says in the
    environment how many processes there are and which one this is, they are joined by NCCL on GPUs
    and by Gloo on CPUs.

    Args:
        device: the user's choice; of several GPUs each process takes the one of its local rank.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    # torchrun may keep one store over restarts: what those before have written there is passed by
    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    own = PrefixStore(f"start {_restarts()}", store)
    distributed.init_process_group(
        backend, store=own, rank=rank, world_size=count, timeout=_PATIENCE
    )
    try:
        yield Processes(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """What all processes do together, or none can.

    Raises:
        LostProcessError: one of them is gone.
    """
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL alike
        reason = " ".join(str(error).split())[:160]
        raise LostProcessError(
            "all processes of the training",
            f"one that is gone ({reason})",
            "the same command goes on; torchrun --max-restarts gives it by itself",
        ) from error


def is_restart() -> bool:
    """Tell whether torchrun has started these processes anew, after one of them died."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
