"""The C code beside this file as a shared library, compiled once per machine and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from promptseg.runtime.compiled import CompiledStore
from promptseg.runtime.engine import CompileError, NotInstalled
from promptseg.runtime.machine import describe_machine, has_amx

__all__ = ["library", "missing"]

_SOURCE = Path(__file__).with_name("first_stage.c")
_FLAGS = ["-O3", "-shared", "-fPIC", "-mfma"]
_FLAGS += [f"-mavx512{part}" for part in ("f", "bw", "vl", "bf16")] + ["-mamx-tile", "-mamx-bf16"]
_SECONDS = 120


def missing() -> str | None:
    """Tell why the code cannot run here; None if it can."""
    if not has_amx():
        return "this processor has no AMX"
    if (system := describe_machine()["system"]) != "Linux x86_64":
        return f"it is for Linux on x86_64, not {system}"
    if _compiler() is None:
        return NotInstalled("no C compiler is installed (CC, cc, gcc or clang)")
    return None


@cache
def library() -> ctypes.CDLL:
    """Load the native library, compiled where it is not there yet, and ask the system to let it use
    AMX.

    Raises:
        CompileError: it cannot be compiled, loaded or run.
    """
    compiler = _compiler() or ["cc"]
    source = _SOURCE.read_bytes()
    facts = {
        "code": hashlib.sha256(source).hexdigest(),
        "compiler": compiler,
        "flags": _FLAGS,
        "machine": [describe_machine()["processor"], *platform.libc_ver()],
    }

    def make(folder: Path) -> Path:
        path = folder / "first_stage.so"
        command = [*compiler, *_FLAGS, "-o", str(path), str(_SOURCE)]
        options: dict[str, Any] = {"text": True, "errors": "replace", "timeout": _SECONDS}
        subprocess.run(command, capture_output=True, check=True, **options)
        ctypes.CDLL(str(path))  # what cannot be loaded is not kept
        return path

    try:
        loaded = ctypes.CDLL(str(CompiledStore().get(facts, make)))
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or "").strip() or str(error)
        raise CompileError(
            f"C code that {compiler[0]} compiles", said.splitlines()[-1][-200:]
        ) from error
    if loaded.allow_tiles() != 0:
        raise CompileError("a system that lets AMX be used", "a refusal of its tiles")
    return loaded


def _compiler() -> list[str] | None:
    """The command of a C compiler: CC, or the first that is installed."""
    try:
        wanted = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # an open quotation
        return None
    for command in [wanted] if wanted else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None
