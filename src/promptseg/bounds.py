"""The numbers that every option of every verb may take: one table, for checks and help alike.

Beyond these bounds a number makes no sense on any machine, or on this one: each thread and each process
takes some of what the whole machine has. Verbs may ask for more: that two numbers fit, say.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, NamedTuple, get_args, get_type_hints

from promptseg.errors import InputError

__all__ = ["BOUNDS", "Bound", "bound_of", "check_bounds", "check_number", "numbers_of"]

_CPUS = os.cpu_count() or 1


class Bound(NamedTuple):
    """The smallest and the largest value of a number, both allowed but for what `above` says.

    Attributes:
        least: the smallest.
        most: the largest.
        above: whether the smallest itself is not allowed.
    """

    least: float
    most: float
    above: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a number is within the bounds; nan never is."""
        low = value > self.least if self.above else value >= self.least
        return math.isfinite(value) and low and value <= self.most

    def __str__(self) -> str:
        least = f"above {_said(self.least)}" if self.above else f"{_said(self.least)}"
        return f"{least} to {_said(self.most)}"


_COUNT = Bound(0, 10**9)
_SOME = Bound(1, 10**9)
_INDEX = Bound(0, 10**6)
_SHARE = Bound(0, 1)
_MIB = Bound(1, 1 << 24)
_SEED = Bound(0, 2**32 - 1)
_PROCESSES = max(16, 2 * _CPUS)

BOUNDS: dict[str, Bound] = {
    "absent": _COUNT,
    "synonyms": _COUNT,
    "agreement": Bound(0, 1, above=True),
    "back_to": Bound(0, 9999),
    "batch": Bound(1, 256),
    "batch_size": Bound(1, 10**5),
    "box_distortion": Bound(0, 1024),
    "budget": _SOME,
    "channel": _INDEX,
    "clip": _COUNT,
    "corrections": Bound(0, 64),
    "cpu_minutes": Bound(0, 10**7, above=True),
    "decay": Bound(0, 10, above=True),
    "depth": Bound(1, 256),
    "doublings": Bound(0, 4),
    "ema": _SHARE,
    "embeddings_limit": Bound(0, 10**6, above=True),
    "epochs": Bound(1, 10**6),
    "every_slice": Bound(1, 10**6),
    "features": Bound(1, 256),
    "flat": _SHARE,
    "frame": _INDEX,
    "frames": Bound(2, 1000),
    "halo": Bound(0, 64),
    "idle_s": Bound(1, 10**6),
    "image_mib": _MIB,
    "images": _SOME,
    "jitter": Bound(0, 10**6),
    "keep_days": Bound(1, 36_500),
    "learning_rate": Bound(0, 10, above=True),
    "level": Bound(0, 64),
    "liveness_s": Bound(1, 10**6),
    "lora_rank": Bound(0, 1024),
    "margin": _SHARE,
    "margin_pixels": Bound(0, 999),
    "mask_side": Bound(16, 1024),
    "max_cases": _SOME,
    "max_growth": Bound(1, 10**9, above=True),
    "max_objects": _SOME,
    "max_overlap": _SHARE,
    "max_slices": _COUNT,
    "memory_mib": _MIB,
    "micro_batch": Bound(1, 4096),
    "microns": Bound(0, 10**4, above=True),
    "min_area": _SHARE,
    "min_iou": _SHARE,
    "min_pixels": _COUNT,
    "min_pixels_256": Bound(0, 256 * 256),
    "min_quality": _SHARE,
    "min_score": _SHARE,
    "min_voxels": _COUNT,
    "minutes": Bound(0, 10**7, above=True),
    "minutes_per_image": Bound(0, 10**4, above=True),
    "nnunet_memory": Bound(0, 10**4, above=True),
    "n_absent": Bound(0, 1000),
    "n_objects": Bound(1, 1000),
    "n_steps": Bound(1, 1000),
    "nan_as": Bound(-(10**9), 10**9),
    "node_cpus": Bound(1, 10**4),
    "node_memory": Bound(0, 10**6, above=True),
    "p_box": _SHARE,
    "p_mask": _SHARE,
    "panels": Bound(1, 1000),
    "patience": Bound(1, 1000),
    "pieces": Bound(0, 100),
    "points_per_step": Bound(0, 1000),
    "port": Bound(0, 65535),
    "report_images": _SOME,
    "resamples": Bound(100, 10**6),
    "rounds": Bound(1, 10**4),
    "sample": Bound(1, 10**6),
    "samples": _SOME,
    "seconds": Bound(0, 10**7),
    "seed": _SEED,
    "seeds": Bound(1, 100),
    "share": _SHARE,
    "session_mib": _MIB,
    "sessions": Bound(1, 1000),
    "sheet": Bound(1, 200),
    "side": Bound(64, 2048),
    "slice": _INDEX,
    "slices_looked_at": Bound(1, 1000),
    "smooth_slices": Bound(0, 1000),
    "threads": Bound(1, max(64, 4 * _CPUS)),
    "tile": Bound(32, 10**5),
    "tile_overlap": Bound(0, 0.9),
    "tolerance": Bound(0, 1000),
    "train_images": _SOME,
    "updates": _SOME,
    "upload_mib": _MIB,
    "validate_every": _COUNT,
    "validation": Bound(1, 10**6),
    "validation_images": _SOME,
    "validation_objects": Bound(1, 1000),
    "warmup": _COUNT,
    "weight_decay": Bound(0, 1000),
    "workers": Bound(1, _PROCESSES),
    "worst": Bound(0, 10**4),
}
"""By the name of the option, which means the same wherever it occurs."""

_OWN = {
    ("train", "workers"): Bound(0, _PROCESSES),  # none: the process itself reads
    ("cluster", "workers"): Bound(1, 10**5),  # what this machine has does not bound them
}
"""By verb and name, where a verb, or the work of a cluster, has its own."""


def bound_of(name: str, verb: str = "") -> Bound:
    """Return the bounds of an option's value.

    Raises:
        KeyError: it has none.
    """
    return _OWN.get((verb, name)) or BOUNDS[name]


_numbers: dict[type[Any], dict[str, type]] = {}


def numbers_of(kind: type[Any]) -> dict[str, type]:
    """Return the numeric options of a dataclass: name, and `int` or `float`."""
    if kind not in _numbers:  # options are made at every prompt
        hints = get_type_hints(kind)
        found = {field.name: _number_in(hints[field.name]) for field in dataclasses.fields(kind)}
        _numbers[kind] = {name: number for name, number in found.items() if number}
    return _numbers[kind]


def check_bounds(options: Any, verb: str = "") -> None:
    """Refuse options with a number out of its bounds.

    Args:
        options: a dataclass.
        verb: whose they are.

    Raises:
        InputError: the first number that is, with its bounds.
    """
    elsewhere = getattr(options, "cluster", None) is not None
    for name in numbers_of(type(options)):
        value = getattr(options, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                there = elsewhere and ("cluster", name) in _OWN
                check_number(name, one, "cluster" if there else verb)


def check_number(name: str, value: float, verb: str = "", said: str = "") -> None:
    """Refuse a number out of the bounds of an option.

    Args:
        name: of the option.
        value: the number.
        verb: whose option it is.
        said: what a message calls it; the option if not given.

    Raises:
        InputError: it is out of them.
    """
    bound = bound_of(name, verb)
    if not bound.holds(value):
        what = said or f"--{name.replace('_', '-')}"
        raise InputError(f"{what} from {bound}", f"{value}", "correct it")


def _number_in(hint: Any) -> type | None:
    """`int` or `float` where a type is one, or may be, or is a tuple of them."""
    if hint in (int, float):
        return hint  # type: ignore[no-any-return]
    return next((n for part in get_args(hint) if (n := _number_in(part))), None)


def _said(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 10**4 else f"{value:g}"
