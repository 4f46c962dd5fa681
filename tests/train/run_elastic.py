"""`run_tiny.py`, where a process kills itself once in the middle, and storage is a folder.

`KILLED=RANK@UPDATE` says which process, and before which update; `BUCKET` is the folder that
`memory://bucket` stands for.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from promptseg.cli.main import main
from promptseg.train.loop import Loop
from train.tiny import register

usual = Loop._update


def update(self, number, *given):  # type: ignore[no-untyped-def]
    rank, _, when = os.environ["KILLED"].partition("@")
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if (self.processes.rank, number, restarts) == (int(rank), int(when), 0):
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"update {number + 1} of start {restarts + 1}", file=sys.stderr)
    return usual(self, number, *given)


class Bucket(DirFileSystem):
    """`memory://bucket/...` -> files of a folder that all processes see."""

    protocol = "memory"

    def __init__(self, **_: object) -> None:
        super().__init__(path=os.environ["BUCKET"], fs=LocalFileSystem())

    def _join(self, path):  # type: ignore[no-untyped-def]
        return super()._join(path.removeprefix("/bucket").lstrip("/"))


if __name__ == "__main__":
    register()
    Loop._update = update  # type: ignore[method-assign]
    fsspec.register_implementation("memory", Bucket, clobber=True)
    sys.exit(main(["train", *sys.argv[1:]]))
