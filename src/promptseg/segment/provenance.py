"""What made a result: written beside it as JSON, enough to make it again."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from promptseg._version import __version__
from promptseg.formats.location import address_in
from promptseg.image import Image, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity

__all__ = ["describe", "object_facts"]

DISCLAIMER = "research software, not a medical device"
_LIBRARIES = ("torch", "numpy", "SimpleITK", "nibabel", "pydicom", "highdicom", "pillow", "scipy")


def describe(
    image: Image,
    predictor: Predictor,
    intensity: Intensity,
    prompts: dict[str, Any],
    options: dict[str, Any],
    notes: list[str],
    timings: dict[str, float],
) -> dict[str, Any]:
    """The facts of one run as plain values; `objects` are added when the masks are there."""
    in_space = image.geometry.unit == "mm" and image.kind == "volume"
    return {
        "software": {
            "promptseg": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _LIBRARIES},
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": DISCLAIMER,
        "input": {
            "path": _place(image.source.path),
            "format": image.source.format,
            "modality": image.modality,
            "shape": list(image.geometry.shape),
            "spacing": [round(float(v), 6) for v in image.geometry.spacing],
            "unit": image.geometry.unit,
            "orientation": image.geometry.orientation if in_space else None,
            "voxels_sha256": image.sha256(),
        },
        "model": {
            "name": predictor.card.name,
            "weights": predictor.weights.name,
            "weights_sha256": predictor.weights_sha256,
            "licence": predictor.card.licence,
            "citation": predictor.card.citation,
            "device": str(predictor.device),
            "engine": predictor.engine,
            "precision": str(predictor.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            **({"chosen": predictor.choice.to_json()} if predictor.choice else {}),
        },
        "intensity": intensity.to_json(),
        "preprocessing": {
            "size": predictor.card.preprocessing.size,
            "scaling": predictor.card.preprocessing.scaling,
        },
        "prompts": prompts,
        "options": options,
        "notes": notes,
        "timings": {k: round(v, 3) for k, v in timings.items()},
    }


def object_facts(segmentation: Segmentation) -> list[dict[str, Any]]:
    """Label, name, quality and measurements of every object."""
    return [
        {
            "label": s.label,
            "name": s.name,
            "predicted_iou": None if s.predicted_iou is None else round(s.predicted_iou, 4),
            "low_confidence": s.doubtful,
            "prompted_slices": list(s.prompted),
            **s.measurements,
        }
        for s in segmentation.segments
    ]


def _place(path: Path | None) -> str | None:
    return None if path is None else address_in(path) or str(path)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
