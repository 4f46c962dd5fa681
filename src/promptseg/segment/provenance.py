"""Provenance of the results of this package, from what was at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from promptseg.formats.location import shown
from promptseg.image import Image, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity
from promptseg.notes import Note
from promptseg.provenance import (
    DISCLAIMER,
    InputFacts,
    IntensityFacts,
    ModelFacts,
    ObjectFacts,
    PreprocessingFacts,
    Provenance,
    now,
    software,
)

__all__ = ["describe", "input_facts", "object_facts"]


def describe(
    result: Segmentation,
    image: Image,
    predictor: Predictor,
    intensity: Intensity,
    prompts: Mapping[str, Any],
    options: Mapping[str, Any],
    notes: Sequence[str] = (),
    timings: Mapping[str, float] | None = None,
    session: Sequence[str] | None = None,
    started_by: Predictor | None = None,
) -> Provenance:
    """Return the facts of one run, made once, when all its masks are there.

    Args:
        result: the masks.
        image: what was segmented.
        predictor: the model.
        intensity: how values became 0..255.
        prompts: as a prompt file holds them.
        options: those of `SegmentOptions`, resolved.
        notes: what the user was told.
        timings: seconds, and numbers of slices.
        session: the steps of a session.
        started_by: another model, whose masks started the objects.
    """
    return Provenance(
        software=software(),
        created=now(),
        notice=DISCLAIMER,
        input=input_facts(image),
        model=_model(predictor),
        started_by=None if started_by is None else _model(started_by),
        intensity=IntensityFacts(**intensity.to_json()),
        preprocessing=PreprocessingFacts(
            size=predictor.card.preprocessing.size, scaling=predictor.card.preprocessing.scaling
        ),
        prompts=prompts,
        options=options,
        notes=tuple(map(Note, notes)),
        timings={k: round(v, 3) for k, v in (timings or {}).items()},
        session=None if session is None else tuple(session),
        objects=object_facts(result),
        masks_sha256=result.sha256(),
    )


def input_facts(image: Image) -> InputFacts:
    """Return the facts about an image for the record of a run."""
    path, geometry = image.source.path, image.geometry
    in_space = geometry.unit == "mm" and image.kind == "volume"
    return InputFacts(
        path=None if path is None else shown(path),
        format=image.source.format,
        modality=image.modality,
        shape=geometry.shape,
        spacing=tuple(round(float(v), 6) for v in geometry.spacing),
        unit=geometry.unit,
        orientation=geometry.orientation if in_space else None,
        voxels_sha256=image.sha256(),
    )


def _model(predictor: Predictor) -> ModelFacts:
    return ModelFacts(
        name=predictor.card.name,
        weights=predictor.weights.name,
        weights_sha256=predictor.weights_sha256,
        licence=predictor.card.licence,
        citation=predictor.card.citation,
        device=str(predictor.device),
        engine=predictor.engine,
        precision=str(predictor.dtype).removeprefix("torch."),
        digits=_digits(str(predictor.dtype).removeprefix("torch.")),
        threads=torch.get_num_threads(),
        chosen=predictor.choice.to_json() if predictor.choice else None,
    )


def _digits(precision: str) -> str:
    """Which digits of the result another engine would change; see docs/engines.md."""
    if precision == "float32":
        return (
            "float32: another float32 engine changes logits by 1e-3 at most, single voxels at edges"
        )
    return (
        f"{precision}: voxels at edges, and with them the last digits of sizes and of predicted IoU, "
        "differ from float32's; --engine eager gives float32"
    )


def object_facts(segmentation: Segmentation) -> tuple[ObjectFacts, ...]:
    """Return the facts about the objects for the record of a run."""
    return tuple(
        ObjectFacts(
            label=s.label,
            name=s.name,
            predicted_iou=None if s.predicted_iou is None else round(s.predicted_iou, 4),
            low_confidence=s.doubtful,
            prompted_slices=s.prompted,
            words=None if s.words is None else s.words.to_json(),
            more=dict(s.measurements),
        )
        for s in segmentation.segments
    )
