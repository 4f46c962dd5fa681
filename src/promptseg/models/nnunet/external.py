"""The Python that has nnU-Net: where it is, whether it will do, and what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import ModelError
from promptseg.models.heads.semantic.specialists import NNUNET_RECIPE
from promptseg.models.nnunet import program

__all__ = ["VARIABLE", "Answering", "StackChances", "nnunet_python", "order"]

VARIABLE = "PROMPTSEG_NNUNET"
"""Environment variable with the Python that has nnU-Net."""

_VERSION = "2.8."  # that whose functions `program` calls
_MARK = "promptseg:"
_HIDDEN = ("PYTHONPATH", "PYTHONHOME")
_LAST = 2000  # characters of what it has printed before it failed


def nnunet_python() -> str:
    """Return the Python to run nnU-Net with: that of PROMPTSEG_NNUNET, or this one where it has
    nnU-Net.

    Raises:
        ModelError: there is none, or it has another version; with what to do.
    """
    named = os.environ.get(VARIABLE, "")
    if not named and find_spec("nnunetv2") is None:
        raise ModelError(f"nnU-Net {_VERSION}x, a program of its own", "none", NNUNET_RECIPE)
    python = named or sys.executable
    if shutil.which(python) is None:
        raise ModelError(
            f"a Python named by {VARIABLE}", f"{python}: no such program", NNUNET_RECIPE
        )
    found = _versions(python)
    if not found.get("nnunetv2", "").startswith(_VERSION):
        version = found.get("nnunetv2") or "none"
        raise ModelError(f"nnU-Net {_VERSION}x in {python}", version, NNUNET_RECIPE)
    return python


@cache
def _versions(python: str) -> dict[str, str]:
    done = subprocess.run(
        [python, program.__file__, "about"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return dict(json.loads(line.removeprefix(_MARK)))
    raise ModelError(f"a Python named by {VARIABLE}", f"{python}: {done.stderr[-200:]}")


def order(
    what: str,
    asked: dict[str, Any],
    log: Path,
    show: Callable[[dict[str, Any]], None] = lambda facts: None,
) -> None:
    """Let nnU-Net plan or train, to the end.

    Args:
        what: "plan" or "train".
        asked: see `program`.
        log: file for what it prints.
        show: told what it says of its progress.

    Raises:
        ModelError: it has failed; the end of what it printed is said.
    """
    file = Path(asked["folder"]) / f"{what}.json"
    file.write_text(json.dumps(asked, indent=1), encoding="utf-8")
    command = [nnunet_python(), program.__file__, what, str(file)]
    with (
        log.open("a", encoding="utf-8") as stream,
        _terminable(),
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
        ) as process,
    ):
        assert process.stdout is not None
        last = ""
        try:
            for line in process.stdout:
                if line.startswith(_MARK):
                    show(json.loads(line.removeprefix(_MARK)))
                    continue
                stream.write(line)
                last = (last + line)[-_LAST:]
        except BaseException:  # Ctrl-C: it must not go on alone
            process.terminate()
            raise
    if process.returncode:
        said = last.strip().splitlines()[-1:] or ["nothing said"]
        raise ModelError(f"nnU-Net to {what}", f"{said[0][:300]} (all of it: {log})")


class StackChances:
    """Probabilities of a stack in a file, of which a slice at a time is read.

    Args:
        file: (1 + classes, slices, rows, columns) float32.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._values: NDArray[np.float32] | None = np.load(file, "r", allow_pickle=False)

    def __getitem__(self, k: int) -> NDArray[np.float32]:
        """Return the (1 + classes, rows, columns) probabilities of a slice."""
        assert self._values is not None, "not closed"
        return np.array(self._values[:, k], np.float32)

    def close(self) -> None:
        """Let the file go."""
        self._values = None
        with contextlib.suppress(OSError):  # where a system holds it, it goes with its folder
            self._file.unlink(missing_ok=True)


class Answering:
    """nnU-Net with some weights, as a process that answers; it ends with this object.

    Args:
        asked: plans, dataset, configuration, device and threads; see `program`.
        weights: of the network by name.
    """

    def __init__(self, asked: dict[str, Any], weights: dict[str, NDArray[Any]]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="promptseg-nnunet-")
        self._place, self._lock, self._stacks = Path(self._folder.name), Lock(), 0
        np.savez(self._place / "weights.npz", **weights)  # type: ignore[arg-type]
        content = {
            **asked,
            "folder": str(self._place),
            "weights": str(self._place / "weights.npz"),
        }
        file = self._place / "serve.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        self._said = (self._place / "said.txt").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [nnunet_python(), program.__file__, "serve", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            errors="replace",
            env=_environment(),
        )
        self._answer()

    def chances(
        self, channels: NDArray[np.float32], spacing: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        """Compute the probabilities of background and classes.

        Args:
            channels: (channels, slices, rows, columns).
            spacing: between slices, rows and columns.

        Returns:
            (1 + classes, slices, rows, columns), sum 1.

        Raises:
            ModelError: it has failed.
        """
        with self._lock:
            np.save(self._image, np.ascontiguousarray(channels, np.float32))
            found: NDArray[np.float32] = np.load(
                self._asked("answer.npy", spacing), allow_pickle=False
            )
            return found

    def stack_chances(
        self,
        slices: Iterable[NDArray[np.float32]],
        shape: tuple[int, int, int, int],
        spacing: tuple[float, float, float],
    ) -> StackChances:
        """Compute the probabilities of background and classes for a stack, of which a slice at a time
        is held here.

        Args:
            slices: (channels, rows, columns) each.
            shape: channels, number of slices, rows, columns.
            spacing: between slices, rows and columns.

        Raises:
            ModelError: it has failed.
        """
        with self._lock:
            stack = np.lib.format.open_memmap(self._image, "w+", np.float32, shape)
            for k, one in enumerate(slices):
                stack[:, k] = one
            stack.flush()
            del stack
            self._stacks += 1
            return StackChances(self._asked(f"answer{self._stacks}.npy", spacing))

    @property
    def _image(self) -> Path:
        return self._place / "image.npy"

    def _asked(self, name: str, spacing: tuple[float, float, float]) -> Path:
        """The file of the answer about the image that lies there."""
        answer = self._place / name
        asked = {"image": str(self._image), "answer": str(answer), "spacing": list(spacing)}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failed("it has ended") from None
        self._answer()
        return answer

    def close(self) -> None:
        """Let it end."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()
        self._folder.cleanup()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            with contextlib.suppress(Exception):  # at the end of Python anything may be gone
                self.close()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_MARK):
                said = json.loads(line.removeprefix(_MARK))
                if "error" in said:
                    raise self._failed(said["error"])
                return
        self._process.wait()
        raise self._failed("it has ended")

    def _failed(self, why: str) -> ModelError:
        self._said.seek(0)
        last = self._said.read()[-_LAST:].strip().splitlines()[-1:]
        return ModelError("nnU-Net to answer", f"{why}{': ' if last else ''}{''.join(last)[:300]}")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, as a cluster sends it, is a Ctrl-C meanwhile: this process would else end alone."""

    def heard(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # no other hears signals
        yield
        return
    before = signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _environment() -> dict[str, str]:
    """This process's, without what would lead the other Python to packages of this one."""
    return {k: v for k, v in os.environ.items() if k not in _HIDDEN}
