"""One case as one model sees it, and what is found out about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.datasets import CaseFiles, Dataset, target_of
from promptseg.evaluate.metrics import score
from promptseg.evaluate.options import EvaluateOptions, Protocol
from promptseg.evaluate.prompting.first import FirstPrompt, PromptKind, kind_of
from promptseg.evaluate.prompting.seeds import generator
from promptseg.evaluate.rows import Row
from promptseg.image import Image, Segment
from promptseg.intensity import choose_intensity
from promptseg.segment.predictor import Embedding, Predictor
from promptseg.segment.stack import SliceStack

__all__ = ["Scene", "Scored", "View", "prompts_for", "rank_by_size"]

_CACHE_BYTES = 2 << 30
_STARTED = {"3d", "interactive-3d", "video"}  # where a mask may come from another model


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


class _TimedStack(SliceStack):
    """Slices that know how long their encoding has taken."""

    encoding_s = 0.0

    def _encode(self, indices: list[int]) -> list[Embedding]:
        start = time.perf_counter()
        embeddings = super()._encode(indices)
        self.encoding_s += time.perf_counter() - start
        return embeddings


@dataclass
class Scene:
    """One case as one model sees it.

    Attributes:
        predictor: the model.
        dataset, case: where the case is from.
        image: as read.
        objects: the objects to find, in the order of the truth.
        options: how it is evaluated.
        starter: the model whose masks start volumes, if another one does.
    """

    predictor: Predictor
    dataset: Dataset
    case: CaseFiles
    image: Image
    objects: list[Segment]
    options: EvaluateOptions
    starter: Predictor | None = None
    name: str = ""
    stack: SliceStack = field(init=False)

    def __post_init__(self) -> None:
        self.stack = self._stack_of(self.predictor)
        self.name = self.name or self.predictor.card.name

    def _stack_of(self, predictor: Predictor) -> _TimedStack:
        keep = predictor.card.keep_8bit
        intensity = choose_intensity(self.image, window=self.options.window, keep_8bit=keep)
        return _TimedStack(
            self.image, "z", intensity, predictor, predictor.batch, cache_bytes=_CACHE_BYTES
        )

    @cached_property
    def starting_stack(self) -> SliceStack:
        """The slices as the starting model sees them."""
        return self._stack_of(self.starter) if self.starter else self.stack

    def prompts(self, protocol: Protocol) -> list[PromptKind]:
        """The prompts that are put to the model; see `prompts_for`."""
        return prompts_for(self.predictor, protocol, self.options, self.starter)

    def chance(self, segment: Segment, index: int, kind: str) -> np.random.Generator:
        """The random generator of one prompt; the same for every model."""
        place = (self.dataset.name, self.case.name, segment.name, index, kind)
        return generator(self.options.seed, *place)

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
        spacing = None
        if self.image.geometry.unit == "mm":
            spacing = tuple(float(s) for s in self.image.geometry.spacing[: truth.ndim][::-1])
        scores = score(truth, found, spacing, self.options.rules())
        given: dict[str, Any] = {
            "model": self.name,
            "dataset": self.dataset.name,
            "modality": self.image.modality,
            "kind": self.image.kind,
            "case": self.case.name,
            "patient": self.case.patient,
            "target": target_of(segment),
            "object": segment.name,
            "slice": None,
            "frame": None,
            "step": 0,
            "setting": "",
            "dsc": scores.dsc,
            "nsd": scores.nsd,
            "iou": scores.iou,
            "hd95": scores.hd95,
            "asd": scores.asd,
            "volume_difference": scores.volume_difference,
            "truth_size": int(truth.sum()),
            "found_size": int(found.sum()),
            "note": "" if found.any() else "nothing found",
        }
        return Row(**{**given, **facts})

    def mean_embedding(self) -> NDArray[np.float32]:
        """The embedding nearest to the middle of the objects, averaged over its places.

        Returns:
            (channels,) float32.
        """
        extents = [s.region[0] for s in self.objects] if self.image.kind != "picture" else []
        middle = (
            min((r.start for r in extents), default=0) + max((r.stop for r in extents), default=0)
        ) // 2
        nearest = min(self.stack.cached, key=lambda k: (abs(k - middle), k))
        features = self.stack.embedding(nearest).features[0].float()
        return np.asarray(features.flatten(1).mean(1).cpu().numpy(), dtype=np.float32)

    def clock(self) -> Callable[[], float]:
        """A stopwatch that leaves out the encoding of slices; call it for the seconds so far."""
        stacks = {id(s): s for s in (self.stack, self.starting_stack)}.values()

        def now() -> float:
            encoding = sum(getattr(s, "encoding_s", 0.0) for s in stacks)
            return time.perf_counter() - encoding

        start = now()
        return lambda: now() - start


def prompts_for(
    predictor: Predictor,
    protocol: Protocol,
    options: EvaluateOptions,
    starter: Predictor | None = None,
) -> list[PromptKind]:
    """Which prompts of a protocol are put to a model.

    Args:
        predictor: the model.
        protocol: what is done with it.
        options: the prompts asked for.
        starter: the model that answers them in its place, and hands over its mask.

    Raises:
        UnsupportedPromptError: it was not trained for one, and that is neither forced nor left out.
    """
    clicks = {"point"} if protocol == "interactive-2d" and options.corrections else set()
    taken = []
    for kind in options.prompts_of(protocol):
        asked = predictor if starter is None or protocol not in _STARTED else starter
        needed = clicks | (set() if kind == "mask" else {kind_of(kind)})
        if options.skip_unsupported and not needed <= asked.card.prompts:
            continue
        asked.require(needed, options.force)
        taken.append(kind)
    return taken


def rank_by_size(
    objects: list[tuple[Segment, NDArray[np.bool_]]], most: int | None
) -> list[tuple[Segment, NDArray[np.bool_]]]:
    """At most `most` objects, the largest, in their own order; of equal ones the earlier."""
    if most is None or len(objects) <= most:
        return objects
    sizes = [-int(mask.sum()) for _, mask in objects]
    kept = sorted(np.argsort(sizes, kind="stable")[:most])
    return [objects[k] for k in kept]
