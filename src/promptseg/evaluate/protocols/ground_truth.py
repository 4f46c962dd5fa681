"""A case with its ground truth, and the rows that answers to it make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets import CaseFiles, Dataset, limit_objects, target_of
from promptseg.evaluate.options import EvaluateOptions
from promptseg.evaluate.rows import Row
from promptseg.image import Image, Segment, Segmentation
from promptseg.metrics import BACKGROUND, array_spacing, outside_of, score
from promptseg.simulate.first import FirstPrompt

__all__ = ["GroundTruthCase", "Scored", "View"]


class View(NamedTuple):
    """A slice of an answer to look at, beside the truth.

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
    """A row of results, and a function that returns what to look at, if somebody wants to see it."""

    row: Row
    view: Callable[[], View]


@dataclass
class GroundTruthCase:
    """A case together with its ground truth.

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
        """Yield the slices to be prompted one by one, each with its objects.

        A 2D image is one slice with every object, maybe none where names were looked for. Of the n
        slices of a volume or video where an object has more than `min_pixels` pixels, every
        n // max_slices-th is taken, or max_slices of them, evenly spread.
        """
        chosen: dict[int, list[Segment]] = {}
        if self.image.kind == "picture" and self.case.absent:
            chosen[0] = []
        for segment in self.objects:
            if self.image.kind == "picture":
                chosen.setdefault(0, []).append(segment)
                continue
            areas = segment.crop.sum(axis=(1, 2))
            usable = np.flatnonzero(areas > self.options.min_pixels) + segment.region[0].start
            for index in _some(usable, self.options.max_slices, self.options.spread_slices):
                chosen.setdefault(int(index), []).append(segment)
        geometry = self.image.geometry
        for index in sorted(chosen):
            there = Segmentation(chosen[index], geometry)
            kept = limit_objects(there, self.options.max_objects, index).segments
            yield index, [(segment, segment.on_slice(index, geometry)) for segment in kept]

    def annotated_frames(self) -> Sequence[int]:
        """Return the indices of the slices or frames that experts have annotated."""
        annotated = self.case.annotated
        return range(len(self.image.voxels)) if annotated is None else annotated

    def background(self, objects: Iterable[Segment]) -> Segment:
        """Return what lies outside all objects, as one more object."""
        outside = outside_of(objects, self.image.geometry.shape)
        return Segment.from_mask(BACKGROUND, 0, outside)

    def row(
        self,
        segment: Segment,
        truth: NDArray[np.bool_],
        found: NDArray[np.bool_],
        **facts: Any,
    ) -> Row:
        """Score one answer; returns its row of results.

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


def _some(usable: NDArray[np.int64], most: int, spread: bool) -> NDArray[np.int64]:
    """Slices to be prompted, of those where there is enough to see; 0: all."""
    if not most or (spread and len(usable) <= most):
        return usable
    if spread:
        return usable[((np.arange(most) + 0.5) * len(usable) / most).astype(np.int64)]
    return usable[:: max(1, len(usable) // most)]
