"""Instances by slice, small enough to keep those of a long video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from promptseg.models.protocol import Instance
from promptseg.segment.video.masks import Packed

__all__ = ["PackedInstances"]


class _Kept(NamedTuple):
    mask: Packed
    score: float
    box: tuple[float, float, float, float]


class PackedInstances(Mapping[int, list[Instance]]):
    """Instances by slice; the masks of a slice are unpacked when it is looked at."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._kept: dict[int, list[_Kept]] = {}

    def put(self, index: int, instances: Iterable[Instance]) -> None:
        """Keep the instances of a slice; all masks are (rows, columns) of one size."""
        self._kept[index] = []
        for one in instances:
            self._size = one.size
            packed = Packed.of_part(one.crop, one.region)
            self._kept[index].append(_Kept(packed, one.score, one.box))

    def __getitem__(self, index: int) -> list[Instance]:
        return [
            Instance.of_part(
                one.mask.crop(),
                one.mask.region,
                self._size,
                one.score,
                one.box,
            )
            for one in self._kept[index]
        ]

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
