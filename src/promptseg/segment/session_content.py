"""The JSON of a session file as typed records: what it must hold, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from promptseg.errors import InputError
from promptseg.geometry import AXES
from promptseg.provenance.record import (
    Record,
    fact,
    many,
    mapping,
    nested,
    number,
    records,
    switch,
    text,
    whole,
    whole_numbers,
)
from promptseg.segment.options import SegmentOptions

__all__ = ["ImageEntry", "ObjectEntry", "SessionContent", "StepEntry"]


def _region(value: Any) -> tuple[slice, ...]:
    pairs = many(whole_numbers)(value)
    if not all(len(pair) == 2 and 0 <= pair[0] <= pair[1] for pair in pairs):
        raise TypeError("pairs of indices")
    return tuple(slice(*pair) for pair in pairs)


def _by_slice(value: Any) -> dict[int, float]:
    found = {}
    for index, quality in mapping(value).items():
        if not index.isdecimal() or len(index) > 9:
            raise TypeError("values by slice")
        found[int(index)] = float(number(quality))
    return found


@dataclass(frozen=True, kw_only=True)
class ObjectEntry(Record):
    """One object after a step: the number of its mask in the archive, and what is known of it."""

    mask: int = fact(whole)
    label: int = fact(whole)
    region: tuple[slice, ...] = fact(_region)
    quality: dict[int, float] = fact(_by_slice)
    doubtful: bool = fact(switch)
    prompted: tuple[int, ...] = fact(whole_numbers)
    clicked: tuple[int, ...] = fact(whole_numbers)

    required: ClassVar = frozenset(
        {"mask", "label", "region", "quality", "doubtful", "prompted", "clicked"}
    )


def _objects(value: Any) -> dict[str, ObjectEntry | None]:
    return {
        name: None if entry is None else ObjectEntry.from_json(entry)
        for name, entry in mapping(value).items()
    }


def _prompts(value: Any) -> dict[str, tuple[dict[str, Any], ...]]:
    return {name: many(mapping)(entries) for name, entries in mapping(value).items()}


@dataclass(frozen=True, kw_only=True)
class StepEntry(Record):
    """One step: all objects and their prompts after it, each prompt as a prompt file of its own."""

    action: str = fact(text)
    current: str | None = fact(text)
    objects: dict[str, ObjectEntry | None] = fact(_objects)
    prompts: dict[str, tuple[dict[str, Any], ...]] = fact(_prompts)
    spread: bool | None = fact(switch)

    required: ClassVar = frozenset({"action", "objects", "prompts"})


@dataclass(frozen=True, kw_only=True)
class ImageEntry(Record):
    """The image the session is of."""

    name: str = fact(text)
    voxels_sha256: str = fact(text)

    required: ClassVar = frozenset({"name", "voxels_sha256"})


_NUMBERS = {"batch": int, "margin": float, "margin_pixels": float}  # None where not chosen


def _options(value: Any) -> SegmentOptions:
    """Options, each of the type that it has."""
    given = mapping(value)
    defaults = {f.name: f.default for f in fields(SegmentOptions)}
    for name, one in given.items():
        if name not in defaults:
            raise TypeError(f"options that this version has, not {name:.40}")
        kind = _NUMBERS.get(name, str) if defaults[name] is None else type(defaults[name])
        if one is None and defaults[name] is None:
            continue
        allowed = (int, float) if kind is float else kind
        if not isinstance(one, allowed) or (isinstance(one, bool) and kind is not bool):
            raise TypeError(f"{name} to be a {kind.__name__}")
    if given.get("axis") not in (None, *AXES):
        raise TypeError("axis to be z, y or x")
    return SegmentOptions(**given)


@dataclass(frozen=True, kw_only=True)
class SessionContent(Record):
    """All of it; see `promptseg.segment.session_file`."""

    image: ImageEntry = fact(nested(ImageEntry))
    model: str | None = fact(text)
    options: SegmentOptions = fact(_options)
    position: int = fact(whole)
    steps: tuple[StepEntry, ...] = fact(records(StepEntry))

    required: ClassVar = frozenset({"image", "options", "position", "steps"})

    @classmethod
    def checked(cls, content: dict[str, Any]) -> SessionContent:
        """The content, whose parts fit together.

        Raises:
            InputError: what does not.
        """
        found = cls.from_json(content)
        if not 0 <= found.position < len(found.steps):
            raise InputError("a step to stand at", f"number {found.position}")
        for step in found.steps:
            if step.prompts.keys() != step.objects.keys():
                raise InputError("prompts for every object", "others")
            if step.current is not None and step.current not in step.objects:
                raise InputError("a current object that is there", f"{step.current!r:.40}")
        for k, step in enumerate(found.steps):
            earlier = found.steps[k - 1].prompts if k else step.prompts
            grown = (len(p) > len(earlier.get(name, ())) for name, p in step.prompts.items())
            if step.spread is False and not any(grown):
                raise InputError("prompts to spread", "none")
        return found
