"""Commands of ours, killed before each of their changes of the file system in turn, and given again.

    python killed.py FOLDER COMMAND ...

For every change one copy of the folder is made, in which the command runs; the model is
`BrightPredictor`. Prints, as JSON, by command: the exit codes of the second runs, what they said, and
the files then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

CHANGES = ("link", "replace", "rename", "unlink", "rmdir", "mkdir")
KILLED = 9


def end_before(last: int) -> None:
    """End this process before a change below the current folder."""
    here, changes = os.getcwd(), 0

    def watched(plain: Callable[..., Any]) -> Callable[..., Any]:
        def change(path: Any, *more: Any, **how: Any) -> Any:
            nonlocal changes
            if os.path.abspath(os.fsdecode(path)).startswith(here):
                changes += 1
                if changes == last:
                    os._exit(KILLED)
            return plain(path, *more, **how)

        return change

    for name in CHANGES:
        setattr(os, name, watched(getattr(os, name)))


def in_child(folder: Path, last: int, command: list[str]) -> int:
    """The exit code of the command in a process of its own."""
    from promptseg.cli.main import main

    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            said = os.open(folder.with_suffix(".stderr"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(said, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            end_before(last)
            code = main(command)
            if last == 0:
                modules_of(folder).write_text("\n".join(sys.modules))
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def modules_of(folder: Path) -> Path:
    return folder.with_suffix(".modules")


def import_what_is_needed(folder: Path, command: list[str]) -> None:
    """Import here what a whole run imports, as every child would have to for itself."""
    copy = folder.with_name(f"{folder.name}-whole")
    shutil.copytree(folder, copy)
    in_child(copy, 0, command)
    for name in modules_of(copy).read_text().splitlines():
        with contextlib.suppress(ImportError):  # names that stand for another module
            importlib.import_module(name)
    shutil.rmtree(copy)


def register() -> None:
    """The model of all verbs that load one."""
    from fakes import BrightPredictor
    from promptseg.jobs import batch, embed
    from promptseg.jobs import segment as segment_job
    from promptseg.segment.segmenter import Segmenter

    def load(*_: Any, **__: Any) -> Segmenter:
        return Segmenter(BrightPredictor())

    segment_job.load = embed.load = batch.load_for = load


def tried(folder: Path, command: list[str]) -> list[dict[str, Any]]:
    """What came of a command after each kill; the last entry is of the whole run."""
    found = []
    import_what_is_needed(folder, command)
    for last in range(1, 1000):
        copy = folder.with_name(f"{folder.name}-{last}")
        shutil.copytree(folder, copy)
        first = in_child(copy, last, command)
        code = in_child(copy, 0, command) if first == KILLED else first
        said = copy.with_suffix(".stderr").read_text()
        files = sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file())
        found.append({"code": code, "said": said, "files": files})
        shutil.rmtree(copy)
        if first != KILLED:  # nobody was killed
            break
    return found


def main(folder: str, *commands: str) -> int:
    register()
    print(json.dumps({each: tried(Path(folder), each.split()) for each in commands}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
