"""classes: whole images without prompts, a row per class that is there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from promptseg.datasets import target_of
from promptseg.errors import InputError
from promptseg.evaluate.protocols.given import given
from promptseg.evaluate.protocols.ground_truth import GroundTruthCase, Scored
from promptseg.image import Segment, Segmentation
from promptseg.segment.classes.segmenter import ClassSegmenter
from promptseg.segment.options import SegmentOptions

__all__ = ["merged_classes", "whole"]


def merged_classes(truth: Segmentation, names: tuple[str, ...], where: str) -> list[Segment]:
    """Return the masks of the classes that a model knows, in its order: all objects of a class in one.

    Args:
        truth: as experts drew it.
        names: of the model's classes.
        where: the case, for the message.

    Raises:
        InputError: none of them.
    """
    shape = truth.geometry.shape
    masks: dict[str, np.ndarray] = {}
    for segment in truth.segments:
        name = target_of(segment)
        mask = masks.setdefault(name, np.zeros(shape, dtype=bool))
        mask[segment.region] |= segment.crop
    known = [name for name in names if name in masks and masks[name].any()]
    if masks and not known:
        raise InputError(
            f"a case with a class out of {', '.join(names)}",
            f"{where} with {', '.join(sorted(masks))}",
            "leave it out, or evaluate a model of these classes",
        )
    return [Segment.from_mask(name, k, masks[name]) for k, name in enumerate(known, 1)]


def whole(case: GroundTruthCase, model: ClassSegmenter) -> Iterator[Scored]:
    """Segment an image, and score the classes that are there.

    Args:
        case: whose objects are classes, as of `merged_classes`.
        model: of classes.
    """
    clock = time.perf_counter()
    options = SegmentOptions(window=case.options.window)
    found = {s.name: s for s in model.segment(case.image, options).result.segments}
    seconds = time.perf_counter() - clock
    answers = given(case, [found[s.name] for s in case.objects], ())
    for answer in answers:
        row = answer.row._replace(protocol="classes", seconds=seconds)
        yield answer._replace(row=row)
