"""One series -> the volumes in it: stacks of different grids, time points, echoes, ...

A volume has one slice at each place. Where several slices lie at one place, the attribute is sought
that tells them apart; with none, the order in which they were recorded does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptseg.errors import ChoiceError, GeometryError, InputError
from promptseg.formats.dicom import grid
from promptseg.formats.dicom.frames import value_of
from promptseg.formats.dicom.planes import Plane, number_of, places_along, turned
from promptseg.formats.lattice import allowed
from promptseg.notes import Note

__all__ = ["Volume", "choose_volume", "volumes_of"]

_LOCALISER_MARGIN = 3  # slices that a stack has more than a localiser

_DISTINCTIONS = {
    "FrameType": "image type",
    "ComplexImageComponent": "complex component",
    "EchoTime": "echo time",
    "EffectiveEchoTime": "echo time",
    "EchoNumbers": "echo",
    "InversionTime": "inversion time",
    "InversionTimes": "inversion time",
    "FlipAngle": "flip angle",
    "DiffusionBValue": "b-value",
    "KVP": "tube voltage",
    "ConvolutionKernel": "kernel",
    "TemporalPositionIdentifier": "temporal position",
    "TemporalPositionIndex": "temporal position",
    "TimeSlotVector": "time slot",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "NominalCardiacTriggerDelayTime": "trigger delay",
    "TriggerTime": "trigger time",
    "AcquisitionNumber": "acquisition",
    "FrameAcquisitionNumber": "acquisition",
    "AcquisitionDateTime": "acquisition time",
    "AcquisitionTime": "acquisition time",
    "ContentTime": "content time",
}
_ORDERS = {
    "TriggerTime": "trigger time",
    "FrameAcquisitionDateTime": "acquisition time",
    "AcquisitionDateTime": "acquisition time",
    "AcquisitionTime": "acquisition time",
    "ContentTime": "content time",
    "AcquisitionNumber": "acquisition",
    "InstanceNumber": "instance number",
}


@dataclass(frozen=True)
class Volume:
    """Slices of one grid, one at each place.

    Attributes:
        planes: the slices along their normal.
        differs_by: what tells it from the other volumes of the series, in words; "" if it is alone.
        value: what it has of that, in words.
    """

    planes: tuple[Plane, ...]
    differs_by: str = ""
    value: str = ""


def choose_volume(
    planes: Sequence[Plane], frame: int | None, notes: list[str], stack: str | None = None
) -> Volume:
    """Choose the volume of a series that is to be read.

    Args:
        planes: every slice of the series.
        frame: which volume, counted from 0; None if there should be only one.
        notes: what was left out is added.
        stack: which stack of slices, by its StackID or number; None if there should be only one.

    Raises:
        GeometryError: several stacks of different grids, or slices doubled.
        InputError: several time points, echoes, ..., or no such frame.
    """
    stacks = _stacks(planes)
    if stack is not None:
        stacks = [_stack_called(stack, stacks, notes)]
    if len(stacks) > 1:
        if main := _main_stack(stacks):
            notes.append(_left_out(main, [s[0] for s in stacks if s is not main]))
            stacks = [main]
        elif frame is None:
            raise _different_grids(stacks)
    volumes = [volume for stack in stacks for volume in volumes_of(stack)]
    if frame is None and len(volumes) == 1:
        return volumes[0]
    if frame is not None and frame < len(volumes):
        if len(volumes) > 1:
            notes.append(Note.frame(frame, len(volumes), _words(volumes[frame])))
        return volumes[frame]
    raise _not_one(volumes, frame)


def volumes_of(planes: Sequence[Plane]) -> list[Volume]:
    """Split the slices of a series into volumes that have one slice at each position.

    Time points, echoes, b-values and the like lie at the same positions. They are told apart by the
    first attribute of their headers that differs everywhere, else by the order of the slices.

    Args:
        planes: slices of one grid: of one orientation, size and spacing.

    Returns:
        One volume where no position has two slices; else one for each value of the attribute.

    Raises:
        GeometryError: slices at the same place that nothing tells apart.
    """
    planes = sorted(planes, key=lambda p: float(p.position @ planes[0].normal))
    along = np.array([p.position @ planes[0].normal for p in planes])
    places = places_along(along, planes[0]).tolist()
    count = max(Counter(places).values())
    if count == 1:
        return [Volume(tuple(planes))]
    for by, marks in itertools.chain(_by_attributes(planes, count), _by_order(planes, places)):
        if _tells_apart(places, marks, count):
            return _grouped(planes, marks, by)
    k = next(k for k in range(len(places) - 1) if places[k] == places[k + 1])
    raise GeometryError(
        "one slice per position",
        f"{planes[k].name} and {planes[k + 1].name} at the same one",
        "keep one copy of each slice, and one time point or echo per folder",
    )


def _by_attributes(planes: Sequence[Plane], count: int) -> Iterator[tuple[str, list[Any]]]:
    """Marks of the slices by one, two or three attributes that have up to `count` values."""
    varying = {}
    for keyword, words in _DISTINCTIONS.items():
        marks = [_comparable(value_of(p.instance, keyword)) for p in planes]
        if 1 < len(set(marks)) <= count:
            varying[keyword] = (words, marks)
    for size in (1, 2, 3):
        for chosen in itertools.combinations(varying.values(), size):
            words = " and ".join(dict.fromkeys(words for words, _ in chosen))
            yield words, list(zip(*(marks for _, marks in chosen), strict=True))


def _by_order(planes: Sequence[Plane], places: list[int]) -> Iterator[tuple[str, list[Any]]]:
    """Marks of the slices by their rank among those at the same place."""
    for keyword, words in _ORDERS.items():
        values = [number_of(p.instance, keyword) for p in planes]
        if None in values or len(set(zip(places, values, strict=True))) < len(planes):
            continue
        ranks = [(0,)] * len(planes)
        for place in set(places):
            here = [k for k, other in enumerate(places) if other == place]
            for rank, k in enumerate(sorted(here, key=lambda k: values[k] or 0.0)):
                ranks[k] = (rank,)
        yield f"order of {words}", ranks


def _tells_apart(places: list[int], marks: list[Any], count: int) -> bool:
    """Whether groups of the same mark hold one slice per place, at least two of them all places."""
    if len(set(marks)) != count or len(set(zip(places, marks, strict=True))) < len(places):
        return False
    full = len(set(places))
    return sum(n == full for n in Counter(marks).values()) >= 2


def _grouped(planes: Sequence[Plane], marks: list[Any], by: str) -> list[Volume]:
    groups: dict[Any, list[Plane]] = {}
    for plane, mark in zip(planes, marks, strict=True):
        groups.setdefault(mark, []).append(plane)
    ranked = sorted(groups.items(), key=lambda item: item[0])
    return [
        Volume(tuple(group), by, " ".join(_shown(part) for part in mark)) for mark, group in ranked
    ]


def _comparable(value: Any) -> tuple[int, float, str]:
    """A mark that can be compared with any other: nothing, then numbers, then words."""
    if value is None or value == "":
        return (0, 0.0, "")
    try:
        return (1, float(value), "")
    except (TypeError, ValueError):
        words = value if isinstance(value, str) else "\\".join(str(v) for v in value)
        return (2, 0.0, words)


def _shown(mark: Any) -> str:
    if isinstance(mark, int):
        return f"no. {mark + 1}"
    kind, number, words = mark
    return ("none", f"{number:.12g}", words)[kind]


def _stacks(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Slices of the same size, spacing, orientation and stack."""
    stacks: list[list[Plane]] = []
    for plane in planes:
        for stack in stacks:
            if _difference(stack[0], plane) is None:
                stack.append(plane)
                break
        else:
            stacks.append([plane])
    return stacks


def _difference(a: Plane, b: Plane) -> str | None:
    """Keyword of the first thing that keeps two slices out of one stack."""
    if a.shape != b.shape:
        return "Rows" if a.shape[0] != b.shape[0] else "Columns"
    if a.spacing != b.spacing and (
        a.spacing is None or b.spacing is None or _stretched(a.spacing, b.spacing, a.shape)
    ):
        return "PixelSpacing"
    if turned(a, b) > allowed(min(a.spacing or (1.0, 1.0))):
        return "ImageOrientationPatient"
    same = value_of(a.instance, "StackID") == value_of(b.instance, "StackID")
    return None if same else "StackID"


def _stretched(
    spacing: tuple[float, float], other: tuple[float, float], shape: tuple[int, int]
) -> bool:
    """Whether two pixel sizes put the last pixel of a slice at different places."""
    apart = np.abs(np.subtract(spacing, other)) * np.subtract(shape, 1) / other
    return bool((apart > allowed(other)).any())


def _main_stack(stacks: list[list[Plane]]) -> list[Plane] | None:
    """The one even stack among single slices of other grids; None if there is no such."""
    main, *others = sorted(stacks, key=len, reverse=True)
    if len(main) < 1 + _LOCALISER_MARGIN or any(len(other) > 1 for other in others):
        return None
    try:
        for volume in volumes_of(main):
            grid.of_planes(volume.planes, [])
    except GeometryError:
        return None
    return main


def _left_out(main: list[Plane], others: list[Plane]) -> str:
    names = ", ".join(other.name for other in others[:3]) + (", ..." if others[3:] else "")
    tags = " and ".join(sorted({_difference(main[0], other) or "grid" for other in others}))
    return f"{len(others)} single slices of another {tags} were left out (localisers?): {names}"


def _names_of(stacks: Sequence[Sequence[Plane]]) -> list[str]:
    """What stacks are called: their StackID where each has one of its own, else numbers from 0."""
    told = [str(value_of(stack[0].instance, "StackID") or "").strip() for stack in stacks]
    unique = all(told) and len(set(told)) == len(told)
    return told if unique else [str(k) for k in range(len(stacks))]


def _stack_called(wanted: str, stacks: list[list[Plane]], notes: list[str]) -> list[Plane]:
    names = _names_of(stacks)
    if wanted.strip() not in names:
        raise InputError(
            f"a stack out of {_listed(stacks)}", repr(wanted), "choose one of them with --stack"
        )
    if len(stacks) > 1:
        notes.append(f"stack {wanted.strip()} of {_listed(stacks)}")
    return stacks[names.index(wanted.strip())]


def _listed(stacks: Sequence[Sequence[Plane]]) -> str:
    """As in "1 (20 slices of 256 x 256), 2 (15 slices of 256 x 256)"."""
    each = [
        f"{name} ({len(stack)} slices of {stack[0].shape[1]} x {stack[0].shape[0]})"
        for name, stack in zip(_names_of(stacks), stacks, strict=True)
    ]
    return ", ".join(each[:8]) + (", ..." if len(each) > 8 else "")


def _different_grids(stacks: list[list[Plane]]) -> GeometryError:
    first, other = stacks[0][0], stacks[1][0]
    tag = _difference(first, other) or "grid"
    said, found = (value_of(plane.instance, tag) for plane in (first, other))
    return GeometryError(
        f"slices with the same {tag}",
        f"{said} in {first.name} and {found} in {other.name}",
        f"choose a stack with --stack, out of {_listed(stacks)}; keep the localiser or the other stack "
        "in a folder of its own; or choose one with --frame, counted from 0",
    )


def _not_one(volumes: Sequence[Volume], frame: int | None) -> InputError:
    """The error about several volumes without a choice, or a choice that is not there."""
    if len(volumes) == 1:
        return InputError("frame 0", f"one volume, no frame {frame}", "leave --frame out")
    by = " and ".join(dict.fromkeys(v.differs_by for v in volumes if v.differs_by))
    listed = ", ".join(v.value or _words(v) for v in volumes[:12])
    listed += ", ..." if len(volumes) > 12 else ""
    size = Counter(len(v.planes) for v in volumes).most_common(1)[0][0]
    got = f"{len(volumes)} frames of {size} slices that differ by {by or 'grid'} ({listed})"
    for k, volume in enumerate(volumes):
        if len(volume.planes) != size:
            got += f"; frame {k} has {len(volume.planes)} slices"
    return ChoiceError(
        "one volume" if frame is None else f"a frame below {len(volumes)}",
        got,
        f"choose one with --frame 0..{len(volumes) - 1}",
        option="frame",
        offers=got,
    )


def _words(volume: Volume) -> str:
    if volume.differs_by:
        return f"{volume.differs_by} {volume.value}"
    return f"{len(volume.planes)} slices from {volume.planes[0].name}"
