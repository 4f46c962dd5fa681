"""Files on their way to their names: whose they are, and whether that process is gone.

What is being written has a name of ours, `.part-MACHINE-BOOT-SPACE-PID-START-RANDOM.ENDING`. A folder
may be on a network, and be shared by machines and containers, so that a process number says nothing by
itself: it counts within one start of one machine and one space of process numbers, and together with
the time the process began. Where any of these cannot be compared, a file is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Owner", "clean", "is_gone", "is_part", "me", "part_name", "remove"]

_UNKNOWN = "0" * 8
_OWNER = r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-(\d+)-(\d+)"
_PART = re.compile(rf"\.part-{_OWNER}-[0-9a-f]{{8}}(\..*)?", re.DOTALL)
_EARLIER = re.compile(r"\.part-\d+-[0-9a-f]{8}(\..*)?", re.DOTALL)  # named by versions before


class Owner(NamedTuple):
    """A process, so that others can tell whether it is there.

    Attributes:
        machine: hash of what stays the same when a machine is started again; zeros if not known.
        boot: hash of this start of the machine.
        space: hash of the space of process numbers, such as a container's.
        pid: process number.
        start: when it began, in the system's own unit; 0 if not known.
    """

    machine: str
    boot: str
    space: str
    pid: int
    start: int

    def __str__(self) -> str:
        return "-".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Parse an owner out of what `str` makes of it; None for anything else."""
        found = re.fullmatch(_OWNER, text)
        return _owner(found) if found else None


def me() -> Owner:
    """Return this process as an owner of unfinished files."""
    pid = os.getpid()
    return Owner(*_place(), pid, _own_start(pid))


def part_name(ending: str = "") -> str:
    """Return a new name for what this process is about to write: `.part-...` and the ending."""
    return f".part-{me()}-{secrets.token_hex(4)}{ending}"


def is_part(name: str) -> bool:
    """Tell whether a name is that of an unfinished file, of this version or an earlier one."""
    return bool(_PART.fullmatch(name) or _EARLIER.fullmatch(name))


def is_gone(owner: Owner) -> bool:
    """Tell whether a process has ended for certain: where it cannot be known, it has not."""
    machine, boot, space = _place()
    if owner.boot != boot:  # the machine was started again since, or it is another one
        return owner.machine == machine != _UNKNOWN
    if owner.space != space:
        return False
    start = _start_of(owner.pid)
    return start is None or (0 not in (start, owner.start) and start != owner.start)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder of ours; nothing where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove what processes that are gone left on its way in a folder.

    A large folder is looked at now and then only. What cannot be removed stays, in nobody's way.
    """
    key, began = os.fspath(folder), time.monotonic()
    if began < _again.get(key, 0.0):
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name)
            if found is None or not is_gone(_owner(found)):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
    now = time.monotonic()
    _again[key] = now + _RARELY * (now - began)


_RARELY = 20  # times as long as it takes, until a folder is looked at again
_again: dict[str, float] = {}


def _owner(found: re.Match[str]) -> Owner:
    machine, boot, space, pid, start = found.groups()[:5]
    return Owner(machine, boot, space, int(pid), int(start))


@cache
def _place() -> tuple[str, str, str]:
    """Machine, boot and space of this process."""
    host = socket.gethostname()
    boot = _read("/proc/sys/kernel/random/boot_id")
    if boot:
        cards = _network_cards()
        known = _read("/etc/machine-id")
        machine = _hash(host, known, *cards) if known and cards else _UNKNOWN
        try:
            return machine, _hash(boot), _hash(os.readlink("/proc/self/ns/pid"))
        except OSError:
            return machine, secrets.token_hex(4), _UNKNOWN  # not to be compared with anything
    card = uuid.getnode()
    if card >> 40 & 1:  # made up, as there is none
        return _UNKNOWN, secrets.token_hex(4), _UNKNOWN
    return _UNKNOWN, _hash(host, str(card)), _UNKNOWN


def _network_cards() -> list[str]:
    """Addresses of the machine's own network cards, which copies of a system do not share."""
    cards = []
    with contextlib.suppress(OSError):
        for card in sorted(Path("/sys/class/net").iterdir()):
            if (card / "device").exists():
                cards.append(_read(card / "address"))
    return [card for card in cards if card]


@cache
def _own_start(pid: int) -> int:
    return _start_of(pid) or 0


def _start_of(pid: int) -> int | None:
    """When a process of this machine began; 0 if it runs and that is not known, None if it is gone."""
    if sys.platform == "win32":
        return _start_on_windows(pid)
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *numbers = facts.rpartition(")")[2].split()
        return None if state in "ZX" else int(numbers[18])
    except (OSError, ValueError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass
    return 0


def _start_on_windows(pid: int) -> int | None:
    """As `_start_of`; there, `os.kill` would end the process."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, pid)  # the right to ask for a few facts
    if not handle:
        return None if kernel.GetLastError() == 87 else 0  # 87: no such process
    try:
        times = [ctypes.c_ulonglong() for _ in range(4)]
        if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
            return 0
        return None if times[1].value else times[0].value  # the time it ended, and began
    finally:
        kernel.CloseHandle(handle)


def _hash(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
