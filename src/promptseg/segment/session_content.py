"""The JSON of a session file as typed records: what it must hold, before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from promptseg.errors import InputError
from promptseg.geometry import AXES
from promptseg.image import FoundByWords
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
    texts,
    whole,
    whole_numbers,
)
from promptseg.segment.options import SegmentOptions

__all__ = [
    "ImageEntry",
    "ObjectEntry",
    "PromptsEntry",
    "SessionContent",
    "StepEntry",
    "after_names",
]


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


def _words(value: Any) -> FoundByWords:
    try:
        return FoundByWords.from_json(mapping(value))
    except (KeyError, ValueError):
        raise TypeError("words and their scores") from None


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
    words: FoundByWords | None = fact(_words)

    required: ClassVar = frozenset(
        {"mask", "label", "region", "quality", "doubtful", "prompted", "clicked"}
    )


def _objects(value: Any) -> dict[str, ObjectEntry | None]:
    return {
        name: None if entry is None else ObjectEntry.from_json(entry)
        for name, entry in mapping(value).items()
    }


@dataclass(frozen=True, kw_only=True)
class PromptsEntry(Record):
    """The prompts of an object after a step: so many of those before, and then more of them."""

    kept: int = fact(whole)
    added: tuple[dict[str, Any], ...] = fact(many(mapping))

    required: ClassVar = frozenset({"kept", "added"})


def _prompts(value: Any) -> dict[str, PromptsEntry]:
    return {name: PromptsEntry.from_json(entry) for name, entry in mapping(value).items()}


@dataclass(frozen=True, kw_only=True)
class StepEntry(Record):
    """One step: what is different from the one before, each prompt as a prompt file of its own.

    Attributes:
        names: of all objects in order, where they are not those before, and then the new ones.
        objects: those with another mask than before.
        prompts: those of objects that have others than before.
    """

    action: str = fact(text)
    current: str | None = fact(text)
    names: tuple[str, ...] | None = fact(texts)
    objects: dict[str, ObjectEntry | None] = fact(_objects)
    prompts: dict[str, PromptsEntry] = fact(_prompts)
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
    """All of it; see `promptseg.segment.session_steps`."""

    image: ImageEntry = fact(nested(ImageEntry))
    model: str | None = fact(text)
    options: SegmentOptions = fact(_options)
    position: int = fact(whole)
    steps: tuple[StepEntry, ...] = fact(records(StepEntry))

    required: ClassVar = frozenset({"image", "options", "position", "steps"})

    @classmethod
    def checked(cls, content: dict[str, Any]) -> SessionContent:
        """Read the content, and check that its parts fit together.

        Raises:
            InputError: what does not.
        """
        found = cls.from_json(content)
        if not 0 <= found.position < len(found.steps):
            raise InputError("a step to stand at", f"number {found.position}")
        before: dict[str, int] = {}  # prompts by object
        for step in found.steps:
            after = _after(step, before)
            if step.current is not None and step.current not in after:
                raise InputError("a current object that is there", f"{step.current!r:.40}")
            grown = (count > before.get(name, 0) for name, count in after.items())
            if step.spread is False and not any(grown):
                raise InputError("prompts to spread", "none")
            before = after
        return found


def _after(step: StepEntry, before: dict[str, int]) -> dict[str, int]:
    """How many prompts every object has after a step, by those that it has before.

    Raises:
        InputError: parts that do not fit together.
    """
    names = after_names(step, before)
    if len(set(names)) < len(names):
        raise InputError("every object once", "one of them again")
    if not set(step.objects) | set(step.prompts) <= set(names):
        raise InputError("masks and prompts of objects that are there", "others")
    counts = {}
    for name in names:
        entry, had = step.prompts.get(name), before.get(name, 0)
        if name not in before and (entry is None or name not in step.objects):
            raise InputError("a mask and prompts for every new object", f"none for {name!r:.40}")
        if entry is not None and not 0 <= entry.kept <= had:
            raise InputError(f"at most {had} prompts kept", str(entry.kept))
        counts[name] = had if entry is None else entry.kept + len(entry.added)
    return counts


def after_names(step: StepEntry, before: Iterable[str]) -> list[str]:
    """Return the names of the objects after a step, in order, given those before it."""
    return list(dict.fromkeys([*before, *step.objects]) if step.names is None else step.names)
