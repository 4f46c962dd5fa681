"""Rules of scoring: the choices behind a metric, written into every result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from promptseg.errors import InputError

__all__ = ["Rules"]

BothEmpty = Literal["one", "zero", "nan"]
OneEmpty = Literal["zero", "nan"]
Unit = Literal["auto", "pixel"]


@dataclass(frozen=True)
class Rules:
    """Choices by which masks are scored.

    Attributes:
        tolerance: distance up to which two surfaces agree for NSD, in mm where the spacing is known
            and in pixels otherwise. The papers write "2"; the unit is our reading of them.
        both_empty: DSC, IoU and NSD where the truth and the found mask are both empty. There is no
            surface then: distances are NaN whatever is chosen.
        one_empty: "zero": where exactly one mask is empty, DSC, IoU and NSD are 0 and distances are
            infinite. "nan": every metric is NaN, which leaves the object out of averages.
        background: whether everything outside all objects is scored too, as an object of that name.
        unit: "auto": mm where the spacing is known. "pixel": always pixels.
        surface: whether NSD, HD95 and ASD are computed; if not they are NaN.
        tolerances: tolerance of single targets by name, in place of `tolerance`.

    Raises:
        InputError: a value that is none of these, or a tolerance below 0 or not finite.

    Examples:
        >>> from promptseg.metrics import Rules
        >>> rules = Rules(tolerance=1.0, tolerances={"lens": 0.5})
        >>> (rules.for_target("lens").tolerance, rules.for_target("liver").tolerance)
        (0.5, 1.0)
    """

    tolerance: float = 2.0
    both_empty: BothEmpty = "one"
    one_empty: OneEmpty = "zero"
    background: bool = False
    unit: Unit = "auto"
    surface: bool = True
    tolerances: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _require_choice("both_empty", self.both_empty, get_args(BothEmpty))
        _require_choice("one_empty", self.one_empty, get_args(OneEmpty))
        _require_choice("unit", self.unit, get_args(Unit))
        _require_tolerance("tolerance", self.tolerance)
        for target, tolerance in self.tolerances.items():
            _require_tolerance(f"tolerance of {target!r}", tolerance)
        object.__setattr__(self, "tolerances", dict(self.tolerances))

    def for_target(self, target: str) -> Rules:
        """Return the rules with the tolerance of one target."""
        return replace(self, tolerance=self.tolerances.get(target, self.tolerance), tolerances={})

    def to_json(self) -> dict[str, Any]:
        """Return every choice by name, ready for JSON; equal exactly where results may be mixed."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Rules:
        """Read the rules that `to_json` wrote.

        Raises:
            InputError: a field that no rule has, or a value that it cannot take.
        """
        known = cls.__dataclass_fields__
        if unknown := sorted(set(fields) - set(known)):
            raise InputError(
                f"rules out of {', '.join(known)}",
                ", ".join(unknown),
                "use the version of promptseg that wrote them",
            )
        return cls(**fields)


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} to be {' or '.join(choices)}", repr(value), "choose one of them")


def _require_tolerance(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= 0):  # type: ignore[arg-type, operator]
        raise InputError(f"a {name} of at least 0", repr(value), "give a distance, for example 2")
