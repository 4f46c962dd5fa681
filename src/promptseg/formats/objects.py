"""Objects of a label image or a file of layers: their places, numbers and names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import InputError
from promptseg.formats.numbers import usable_labels
from promptseg.image import FoundByWords
from promptseg.provenance import ObjectFacts

__all__ = ["Located", "Told", "in_label_image", "in_layers", "told_by"]


@dataclass(frozen=True)
class Located:
    """One object and where its voxels are.

    Attributes:
        name: what it is called.
        label: its number, unique in the file.
        layer: its layer, from 0; None where the file has no voxel of it.
        value: the number of its voxels there.
        prompted: slices that the user's own prompts answered.
        colour: what the file recommends.
        origin: what else the file says of it, see `promptseg.image.Segment`.
        words: what it was found by, if by words.
    """

    name: str
    label: int
    layer: int | None
    value: int
    prompted: tuple[int, ...] = ()
    colour: tuple[int, int, int] | None = None
    origin: Any = None
    words: FoundByWords | None = None


@dataclass(frozen=True)
class Told:
    """One object as a provenance or a list of names tells of it; see `Located`.

    Attributes:
        segment: its number in a DICOM SEG.
    """

    name: str
    label: int
    layer: int | None = None
    value: int | None = None
    segment: int | None = None
    prompted: tuple[int, ...] = ()
    words: FoundByWords | None = None


def told_by(entries: Iterable[ObjectFacts]) -> list[Told]:
    """Return the objects that a provenance tells of with a name, and a label that no other has.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: words as `FoundByWords.from_json` refuses them.
    """
    found: dict[int, Told] = {}
    for entry in entries:
        name, label = entry.name, entry.label
        if name is not None and label is not None and label not in found:
            prompted = entry.prompted_slices or ()
            words = None if entry.words is None else FoundByWords.from_json(entry.words)
            place = entry.layer, entry.value, entry.segment
            found[label] = Told(name, label, *place, prompted=prompted, words=words)
    return list(found.values())


def in_label_image(
    path: Path, values: Collection[int], told: Sequence[Told], notes: list[str]
) -> list[Located]:
    """Return the objects of a label image, in order of their numbers.

    Args:
        path: for the notes.
        values: the numbers that occur, without 0.
        told: what is known of them; an object without a voxel is kept as empty.
        notes: voxels that nothing names, where others are named, are added.
    """
    by_value = {t.label: t for t in told}
    found = [
        Located(t.name, v, None, v, t.prompted, words=t.words)
        for v, t in by_value.items()
        if v not in values
    ]
    for value in values:
        if known := by_value.get(value):
            found.append(Located(known.name, value, 0, value, known.prompted, words=known.words))
            continue
        if told:
            notes.append(f"{path.name} has voxels of value {value}, which nothing names")
        alone = len(values) == 1 and not told
        found.append(Located("object" if alone else f"label {value}", value, 0, value))
    return sorted(found, key=lambda each: each.label)


def in_layers(
    path: Path, there: Sequence[Collection[int]], told: Sequence[Told], notes: list[str]
) -> list[Located]:
    """Return the objects of a file with one layer each, in order of the layers.

    Args:
        path: for messages.
        there: the values that occur in each layer, without 0.
        told: what is known of them.
        notes: what could not be taken over is added.

    Raises:
        InputError: a layer of several objects that nothing tells apart.
    """
    for k, values in enumerate(there):
        if len(values) > 1:
            raise InputError("layers of one object each", f"{path}: {len(values)} in layer {k}")
    known = _by_layer(told, len(there))
    if told and not known:
        notes.append(
            f"{path.name} has {len(there)} layers and is said to hold {len(told)} objects: "
            "their names are not used"
        )
    values = [next(iter(values), 0) for values in there]
    used = [v for v in values if v]
    numbered = len(set(used)) == len(used) and set(used) != {1}
    wanted = []
    for k, value in enumerate(values):
        label = known[k].label if k in known else value if numbered and value else k + 1
        wanted.append((known[k].name if k in known else f"layer {k}", label))
    found = []
    for k, label in enumerate(usable_labels(wanted, notes)):
        one = known.get(k)
        name, prompted = (one.name, one.prompted) if one else (f"label {label}", ())
        layer, words = k if values[k] else None, one.words if one else None
        found.append(Located(name, label, layer, values[k] or 1, prompted, words=words))
    return found


def _by_layer(told: Sequence[Told], count: int) -> dict[int, Told]:
    """What is told of each layer: by the layer it names, else in order; nothing if it does not fit."""
    if told and all(t.layer is not None for t in told):
        found = {t.layer: t for t in told if t.layer is not None and t.layer < count}
        return found if len(found) == len(told) else {}
    return dict(enumerate(told)) if len(told) == count else {}
