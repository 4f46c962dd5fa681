"""One case with its truth, and the rows that answers to it make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.datasets import CaseFiles, Dataset, target_of
from promptseg.evaluate.metrics import BACKGROUND, array_spacing, score
from promptseg.evaluate.options import EvaluateOptions
from promptseg.evaluate.prompting.first import FirstPrompt
from promptseg.evaluate.rows import Row
from promptseg.image import Image, Segment

__all__ = ["Labelled", "Scored", "View", "rank_by_size"]


class View(NamedTuple):
    """What there is to look at of one answer.

    Attributes:
        slice: which slice of the image.
        truth, found: (rows, columns) boolean.
        prompt: what was prompted there, if anything.
    """

    slice: int
    truth: NDArray[np.bool_]
    found: NDArray[np.bool_]
    prompt: FirstPrompt | None = None


class Scored(NamedTuple):
    """A row, and what it looks like if somebody wants to see."""

    row: Row
    view: Callable[[], View]


@dataclass
class Labelled:
    """One case with its truth.

    Attributes:
        name: what the rows call the model.
        dataset, case: where the case is from.
        image: as read.
        objects: the objects to find, in the order of the truth.
        options: how it is evaluated.
    """

    name: str
    dataset: Dataset
    case: CaseFiles
    image: Image
    objects: list[Segment]
    options: EvaluateOptions

    def slices(self) -> Iterator[tuple[int, list[tuple[Segment, NDArray[np.bool_]]]]]:
        """The slices to be prompted one by one, each with its objects.

        A picture is one slice with every object. Of the n slices of a volume or video where an object
        has more than `min_pixels` pixels, every n // max_slices-th is taken.
        """
        chosen: dict[int, list[tuple[Segment, NDArray[np.bool_]]]] = {}
        for segment in self.objects:
            if self.image.kind == "picture":
                chosen.setdefault(0, []).append((segment, segment.mask(self.image.geometry.shape)))
                continue
            areas = segment.crop.sum(axis=(1, 2))
            usable = np.flatnonzero(areas > self.options.min_pixels) + segment.region[0].start
            step = len(usable) // self.options.max_slices if self.options.max_slices else 1
            for index in usable[:: max(1, step)]:
                chosen.setdefault(int(index), []).append((segment, self.slice_of(segment, index)))
        for index in sorted(chosen):
            yield index, rank_by_size(chosen[index], self.options.max_objects)

    def slice_of(self, segment: Segment, index: int) -> NDArray[np.bool_]:
        """(rows, columns) mask of an object on one slice along z."""
        if self.image.kind == "picture":
            return segment.mask(self.image.geometry.shape)
        out = np.zeros(self.image.geometry.shape[1:], dtype=bool)
        first, *rest = segment.region
        if first.start <= index < first.stop:
            out[tuple(rest)] = segment.crop[index - first.start]
        return out

    def annotated_frames(self) -> Sequence[int]:
        """The slices or frames that experts have looked at."""
        annotated = self.case.annotated
        return range(len(self.image.voxels)) if annotated is None else annotated

    def background(self, objects: Iterable[Segment]) -> Segment:
        """What lies outside all objects, as one more object."""
        outside = np.ones(self.image.geometry.shape, dtype=bool)
        for segment in objects:
            outside[segment.region] &= ~segment.crop
        return Segment.from_mask(BACKGROUND, 0, outside)

    def row(
        self,
        segment: Segment,
        truth: NDArray[np.bool_],
        found: NDArray[np.bool_],
        **facts: Any,
    ) -> Row:
        """The row of one answer.

        Args:
            segment: the object.
            truth, found: boolean masks of one slice or of the whole volume.
            facts: the columns that only the protocol knows.
        """
        target = target_of(segment)
        spacing = array_spacing(self.image.geometry)
        rules = self.options.rules().for_target(target)
        scores = score(truth, found, spacing and spacing[-truth.ndim :], rules)
        given: dict[str, Any] = {
            "model": self.name,
            "dataset": self.dataset.name,
            "modality": self.image.modality,
            "kind": self.image.kind,
            "case": self.case.name,
            "patient": self.case.patient,
            "target": target,
            "object": segment.name,
            "slice": None,
            "frame": None,
            "step": 0,
            "setting": "",
            **{str(name): value for name, value in scores.metrics().items()},
            "truth_size": scores.truth_size,
            "found_size": scores.found_size,
            "note": scores.note,
        }
        return Row(**{**given, **facts})


def rank_by_size(
    objects: list[tuple[Segment, NDArray[np.bool_]]], most: int | None
) -> list[tuple[Segment, NDArray[np.bool_]]]:
    """At most `most` objects, the largest, in their own order; of equal ones the earlier."""
    if most is None or len(objects) <= most:
        return objects
    sizes = [-int(mask.sum()) for _, mask in objects]
    kept = sorted(np.argsort(sizes, kind="stable")[:most])
    return [objects[k] for k in kept]
