"""A server in a Python that the user names; nothing is ever installed there."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from PromptSegLib.problems import Problem

__all__ = ["Launched", "clean_environment", "launch"]

_FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Launched:
    """A server that is starting, or running; it ends with `stop`, or with Slicer.

    Attributes:
        address: what it printed when its models were ready; None until then.
    """

    def __init__(self, command: Sequence[str], environment: Dict[str, str]) -> None:
        self.address: Optional[str] = None
        self._lines: List[str] = []
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            universal_newlines=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def said(self) -> str:
        """The last that it printed, without the token."""
        return next((line for line in reversed(self._lines) if "token=" not in line), "")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise a `Problem` with its last line if it ended before it was ready."""
        if not self.running and self.address is None:
            raise Problem(f"the server ended before it was ready: {self.said or 'it said nothing'}")

    def stop(self) -> None:
        """End it."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            text = line.strip()
            self._lines = [*self._lines[-50:], text] if text else self._lines
            if text.startswith("http") and "token=" in text:
                self.address = text


def clean_environment(environment: Optional[Dict[str, str]] = None) -> Dict[str, str]:
    """The environment without what makes another Python take Slicer's libraries."""
    known = dict(os.environ if environment is None else environment)
    return {name: value for name, value in known.items() if name not in _FOREIGN}


def launch(
    python: str,
    root: str,
    models: Sequence[str] = (),
    port: int = 0,
    environment: Optional[Dict[str, str]] = None,
) -> Launched:
    """Start `promptseg serve` in a Python that has it.

    Args:
        python: path of the Python, such as that of an environment of its own.
        root: folder that is served.
        models: by name or NAME=FILE; promptseg's own choice if none.
        port: 0 takes any that is free.
        environment: of Slicer's start, if known.

    Raises:
        Problem: no Python, no promptseg in it, or no folder.
    """
    if not Path(root).is_dir():
        raise Problem(f"expected a folder to serve, got {root!r}; choose one")
    clean = clean_environment(environment)
    try:
        found = subprocess.run(
            [python, "-c", "import promptseg, uvicorn, starlette"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean,
            universal_newlines=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(
            f"expected a Python, got {python!r} ({error}); choose python or python.exe"
        ) from None
    if found.returncode:
        reason = (found.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise Problem(
            f"expected promptseg in {python}, got {reason}; install it there yourself, in a "
            f"clone of promptseg: {python} -m pip install -c constraints.txt -e '.[serve]'"
        )
    command = [python, "-u", "-m", "promptseg", "serve", "--root", root, "--port", str(port)]
    for model in models:
        command += ["--model", model]
    return Launched(command, clean)
