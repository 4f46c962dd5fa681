"""File names as Windows, macOS and Linux treat them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from promptseg.leftovers import part_name

__all__ = ["bare_name", "clash", "ignores_case", "is_device", "replace"]

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
_DEVICES |= {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"}
_PATIENCE = 2.0  # seconds


def is_device(name: str) -> bool:
    """Tell whether Windows takes a name for a device, as `aux.nii.gz`, and loses what is written to
    it.
    """
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES


def bare_name(path: str) -> str:
    """Return the last part of a path that any system may have written, as `C:\\data\\scan.nii`."""
    return PureWindowsPath(path).name


def ignores_case(folder: Path) -> bool:
    """Tell whether a folder, there or to be, takes names that differ only in capitals for one file."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / part_name(".case")
    try:
        probe.touch()
        return probe.with_name(probe.name.upper()).exists()
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def clash(paths: Iterable[Path], folder: Path) -> tuple[Path, Path] | None:
    """Find two of some paths below a folder that its file system takes for one; None without any."""
    seen: dict[str, Path] = {}
    for path in paths:
        first = seen.setdefault(str(path).casefold(), path)
        if first != path and ignores_case(folder):
            return first, path
    return None


def replace(source: Path, target: Path) -> None:
    """Replace a file as `os.replace` does; on Windows, wait a while for others who have it open.

    Raises:
        OSError: as `os.replace`.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if str(sys.platform) != "win32" or time.monotonic() >= end:
                raise
            time.sleep(0.05)
