"""Description of this machine: compiled models and measured choices are only good for one."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["describe_machine", "has_amx", "has_bfloat16", "version_of"]


@cache
def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory, vector instructions, GPU, operating system, as plain values."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "instructions": _instructions(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def has_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 itself (AMX or AVX-512 BF16)."""
    return any(name in _instructions() for name in ("amx_bf16", "avx512_bf16"))


def has_amx() -> bool:
    """Tell whether the processor multiplies tiles of bfloat16, and converts to it."""
    return {"amx_bf16", "avx512_bf16"} <= set(_instructions())


def version_of(distribution: str) -> str | None:
    """Return the installed version of a distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo, where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _processor() -> str:
    facts = _cpuinfo()
    name = facts.get("model name") or platform.processor() or platform.machine()
    return (
        f"{name} (family {facts['cpu family']}, model {facts['model']})"
        if facts.get("cpu family") and facts.get("model")
        else name
    )


@cache
def _instructions() -> tuple[str, ...]:
    known = (
        "avx2",
        "avx512f",
        "avx512_bf16",
        "avx512_fp16",
        "amx_bf16",
        "amx_int8",
        "asimd",
        "bf16",
    )
    flags = (_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split()
    return tuple(name for name in known if name in flags)


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None
