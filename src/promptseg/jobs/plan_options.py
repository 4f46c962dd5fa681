"""Options of `promptseg plan`, defined once: Python, command line and configuration file share them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from promptseg.segment.options import SegmentJob

__all__ = ["PlanJob"]


@dataclass(kw_only=True)
class PlanJob(SegmentJob):
    """Measure some cases of a list, and say what all of it will take: time, memory, storage, nodes.

    Takes the options of segment. The cases are drawn at random and done in a temporary folder; nothing
    is left of them. Uncertainties are those of the draw (95 %, bootstrap): one rare case that takes a
    hundred times as long may be missing in it.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("masks")
    """Where the results would go: its free space is compared; nothing is written there."""

    sample: int = 20
    """Cases that are measured."""

    seed: int = 0
    """Seed of the draw of cases."""

    node_cpus: int = field(default_factory=lambda: os.cpu_count() or 1)
    """CPUs of a node that the list would be done on (default: those of this machine)."""

    node_memory: float | None = None
    """GiB of memory of such a node (default: that of this machine)."""
