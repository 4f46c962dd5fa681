"""Propagation options under a name: what a search compares (MedicoSAM, sections II-C and II-E)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, NamedTuple

from promptseg.errors import InputError
from promptseg.models.cards import ModelCard
from promptseg.segment.options import PropagationOptions, SegmentOptions
from promptseg.segment.projection import MEMORY, MODES, kinds_of

__all__ = ["Setting", "default_settings", "setting_of"]

_MARGINS = ((0.0, 0.0), (0.0, 1.0), (0.05, 1.0))


class Setting(NamedTuple):
    """Propagation options under a name.

    Attributes:
        name: as in the rows, such as "propagate=box margin=0.05"; empty for the run's own options.
        changes: options over those of the run.
        prompt: the one prompt it is for, as the rows call it; empty for all.
    """

    name: str = ""
    changes: Mapping[str, Any] = MappingProxyType({})
    prompt: str = ""


def default_settings(card: ModelCard) -> list[Setting]:
    """Return the settings that a search tries: projection modes by margins of the box, and memory."""
    settings = []
    for mode in MODES:
        if not kinds_of(mode) <= card.prompts:
            continue
        margins = _MARGINS if "box" in mode.split("+") else _MARGINS[:1]
        for margin, pixels in margins:
            text = f"propagate={mode}"
            if "box" in mode.split("+"):
                text += f" margin={margin:g} margin_pixels={pixels:g}"
            settings.append(setting_of(text))
    if card.propagate == MEMORY:
        settings.append(setting_of(f"propagate={MEMORY}"))
    return settings


def setting_of(text: str) -> Setting:
    """Parse a setting such as "propagate=box margin=0.05".

    Raises:
        InputError: not `option=value` of propagation, apart by spaces.
    """
    known = {f.name for f in fields(PropagationOptions)}
    changes: dict[str, Any] = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise InputError(
                f"settings option=value of {', '.join(sorted(known))}", repr(part), "correct it"
            )
        try:
            changes[name] = value if name == "propagate" else float(value)
        except ValueError:
            raise InputError(f"a number for {name}", repr(value), "correct the setting") from None
    known_modes = (*MODES, MEMORY, "none")
    if changes.get("propagate", "box") not in known_modes:
        raise InputError(f"propagate out of {', '.join(known_modes)}", repr(changes["propagate"]))
    SegmentOptions(**changes)
    name = " ".join(f"{k}={v:g}" if k != "propagate" else f"{k}={v}" for k, v in changes.items())
    return Setting(name, changes)
