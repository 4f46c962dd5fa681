"""A viewer without a scene: volumes and segments in plain values, for the logic of apps/slicer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from PromptSegLib.geometry import Grid
from PromptSegLib.problems import GoneError, Problem


@dataclass
class PlainVolume:
    voxels: NDArray[np.generic]
    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    name: str = "scan"
    exists: bool = True

    @property
    def grid(self) -> Grid:
        if not self.exists:
            raise GoneError("the volume was closed; the answer is dropped")
        k, j, i = self.voxels.shape[:3]
        return Grid((k, j, i), self.matrix)


@dataclass
class _Segment:
    name: str
    colour: tuple[int, ...]
    terminology: str | None
    mask: NDArray[np.bool_] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    state: str = ""


class PlainSegments:
    def __init__(self) -> None:
        self.exists = True
        self.all: dict[str, _Segment] = {}
        self.written: list[str] = []
        self._next = 0

    @property
    def ids(self) -> list[str]:
        if not self.exists:
            raise GoneError("the segmentation was closed; the answer is dropped")
        return list(self.all)

    def _of(self, segment: str) -> _Segment:
        if segment not in self.all:
            raise Problem("the segment was deleted; choose another one")
        return self.all[segment]

    def name(self, segment: str) -> str:
        return self._of(segment).name

    def colour(self, segment: str) -> tuple[int, ...]:
        return self._of(segment).colour

    def tag(self, segment: str, key: str) -> str:
        return self._of(segment).tags.get(key, "")

    def set_tag(self, segment: str, key: str, value: str) -> None:
        self._of(segment).tags[key] = value

    def add(self, name: str, colour: Sequence[int], terminology: str | None = None) -> str:
        self._next += 1
        self.all[f"s{self._next}"] = _Segment(name, tuple(colour), terminology)
        return f"s{self._next}"

    def mark(self, segment: str, state: str) -> None:
        self._of(segment).state = state

    def mask(self, segment: str, grid: Grid) -> NDArray[np.bool_]:
        found = self._of(segment).mask
        return np.zeros(grid.shape, bool) if found is None else found.copy()

    def put(self, segment: str, mask: NDArray[np.bool_], grid: Grid) -> None:
        self._of(segment).mask = mask.copy()
        self.written.append(segment)

    def named(self, name: str) -> _Segment:
        return next(s for s in self.all.values() if s.name == name)


class PlainTime:
    """Time points of a volume, whose voxels change with them."""

    def __init__(
        self, volume: PlainVolume, segments: PlainSegments, moments: Sequence[NDArray[np.generic]]
    ) -> None:
        self.volume, self.segments, self.moments = volume, segments, list(moments)
        self.current, self.kept = 0, {}

    @property
    def count(self) -> int:
        return len(self.moments)

    def keep(self) -> None:
        self.kept[self.current] = dict(self.segments.all)

    def show(self, index: int) -> None:
        self.current = index
        self.volume.voxels = self.moments[index]
        self.segments.all = dict(self.kept.get(index, {}))
