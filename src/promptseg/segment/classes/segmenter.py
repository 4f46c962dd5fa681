"""The classes of an image as objects, each with its own number, name, colour and code."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from promptseg import assets
from promptseg.geometry import Axis, axis_position
from promptseg.image import Image, Segment
from promptseg.intensity import Intensity, choose_intensity
from promptseg.models.heads.semantic.file import open_semantic, semantic_network
from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.models.nnunet.file import NNUNET
from promptseg.models.nnunet.model import NnunetClasses
from promptseg.models.protocol import SliceMasks
from promptseg.notes import Note
from promptseg.provenance import (
    DISCLAIMER,
    IntensityFacts,
    ModelFacts,
    PreprocessingFacts,
    Provenance,
    now,
    software,
)
from promptseg.result import Result
from promptseg.runtime import choose_device, set_threads
from promptseg.segment.assemble import segment_of
from promptseg.segment.classes.windows import ClassModel, Windows, probabilities, uncertainty
from promptseg.segment.opened import require_contrast
from promptseg.segment.options import SegmentOptions, parse_slices
from promptseg.segment.provenance import input_facts, object_facts

__all__ = ["ClassSegmenter", "Classified", "load_classes"]

log = logging.getLogger("promptseg")


@dataclass(frozen=True)
class Classified:
    """The classes of an image.

    Attributes:
        result: one object per class, absent ones empty, so that numbers always mean the same.
        intensity: how values became 0..255.
        uncertainty: 0..255 on the image's grid; None where it was not asked for.
    """

    result: Result
    intensity: Intensity
    uncertainty: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class ClassSegmenter:
    """Finds the classes of a semantic model in images.

    Attributes:
        model: the model.
    """

    model: ClassModel

    def segment(
        self,
        image: Image,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        windows: Windows | None = None,
        uncertain: bool = False,
    ) -> Classified:
        """Segment a 2D image, a volume or a video into the model's classes.

        Args:
            image: what to look at.
            options: modality, window, axis and slices count, and what masks are cleaned up by.
            progress: told the number of slices done.
            windows: how slices are cut; whole ones if not given.
            uncertain: whether to say, too, how unsure the model is at every voxel.

        Raises:
            InputError: an option that does not fit the image, or an image of one value.

        Examples:
            >>> segmenter = load_classes("runs/mine")  # doctest: +SKIP
            >>> found = segmenter.segment(promptseg.read("scan.nii.gz"))  # doctest: +SKIP
            >>> found.result.save("classes.nii.gz")  # doctest: +SKIP
        """
        options, windows = options or SegmentOptions(), windows or Windows()
        clock = time.perf_counter()
        card, axis = self.model.card, options.axis or "z"
        intensity = choose_intensity(image, options.modality, options.window, card.sam.keep_8bit)
        require_contrast(image)
        notes = [*map(Note, image.source.notes), *intensity.notes()]
        if windows.mirror and card.sided:
            notes.append(Note(f"mirror images turn {card.sided[0]!r} into its other side"))
        for note in notes:
            log.warning("%s: %s", image.name, note)
        count = image.geometry.slice_count(axis)
        first, last = parse_slices(options.slices, count)
        steps = np.linalg.norm(image.geometry.in_plane(axis if count > 1 else "z"), axis=0)
        pixel = (float(steps[0]), float(steps[1]))

        def pixels(index: int) -> NDArray[np.uint8]:
            return np.ascontiguousarray(intensity.apply(image.slice(index, axis)))

        labels: NDArray[np.uint16] | None = None
        doubt: NDArray[np.uint8] | None = None
        indices = range(first, last + 1)
        for done, (index, chances) in enumerate(
            probabilities(self.model, pixels, indices, pixel, windows)
        ):
            if progress:
                progress(done, f"slice {index}")
            if labels is None:
                labels = np.zeros((count, *chances.shape[1:]), np.uint16)
                doubt = np.zeros(labels.shape, np.uint8) if uncertain else None
            labels[index] = chances.argmax(0).cpu().numpy()
            if doubt is not None:
                doubt[index] = uncertainty(chances)
        assert labels is not None
        segments = [
            self._segment(number, labels, image, replace(options, axis=axis), (first, last))
            for number in range(1, len(card.classes) + 1)
        ]
        result = Result(segments, image.geometry, image.source, image=image)
        timings = {"slices": len(indices), "total_s": time.perf_counter() - clock}
        result.provenance = self._facts(
            result, image, intensity, replace(options, axis=axis), notes, timings
        )
        return Classified(
            result, intensity, None if doubt is None else _on_grid(doubt, image, axis)
        )

    def _segment(
        self,
        number: int,
        labels: NDArray[np.uint16],
        image: Image,
        options: SegmentOptions,
        limits: tuple[int, int],
    ) -> Segment:
        """One class as an object; empty where it was not found."""
        facts = self.model.card.classes[number - 1]
        there = np.flatnonzero((labels == number).any((1, 2)))
        masks = {int(k): labels[k] == number for k in there}
        if not masks:
            masks = {limits[0]: np.zeros(labels.shape[1:], dtype=bool)}
        segment = segment_of(facts.name, number, SliceMasks(masks), image, options)
        segment.colour = facts.colour
        return segment

    def _facts(
        self,
        result: Result,
        image: Image,
        intensity: Intensity,
        options: SegmentOptions,
        notes: list[Note],
        timings: dict[str, float],
    ) -> Provenance:
        """What made the result."""
        card = self.model.card
        return Provenance(
            software=software(),
            created=now(),
            notice=DISCLAIMER,
            input=input_facts(image),
            model=ModelFacts(
                name=card.name,
                weights=self.model.weights.name,
                weights_sha256=self.model.weights_sha256,
                licence=card.licence,
                citation=card.citation,
                device=str(self.model.device),
                engine="eager",
                precision="float32",
                threads=torch.get_num_threads(),
            ),
            intensity=IntensityFacts(**intensity.to_json()),
            preprocessing=PreprocessingFacts(size=card.side, scaling=self.model.scaling),
            prompts={"objects": []},
            options=options.to_json(),
            notes=tuple(notes),
            timings={k: round(v, 3) for k, v in timings.items()},
            objects=object_facts(result),
            masks_sha256=result.sha256(),
        )


def load_classes(
    model: str | Path, *, device: str = "auto", threads: int | None = None
) -> ClassSegmenter:
    """Load a semantic model, ready to segment.

    Args:
        model: folder of a training of classes, or a file of weights in it.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: CPU threads; PROMPTSEG_THREADS if not given.

    Raises:
        ModelError: no such model, or files that do not belong together.
    """
    set_threads(threads)
    chosen = choose_device(device)
    card, file, tensors = open_semantic(model)
    if card.base == NNUNET:
        return ClassSegmenter(NnunetClasses.open(card, file, tensors, chosen))
    network = semantic_network(card, tensors, file).to(chosen)
    return ClassSegmenter(SemanticSam(card, network, chosen, file, assets.sha256_of(file)))


def _on_grid(stack: NDArray[np.uint8], image: Image, axis: Axis) -> NDArray[np.uint8]:
    """Slices along an axis as they lie on the image's grid."""
    return stack[0] if image.kind == "picture" else np.moveaxis(stack, 0, axis_position(axis))
