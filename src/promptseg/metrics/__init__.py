"""Metrics of masks: overlap and surface distances, with every rule stated."""

from typing import TYPE_CHECKING

from promptseg._lazy import lazily

if TYPE_CHECKING:
    from promptseg.metrics.masks import array_spacing
    from promptseg.metrics.rules import Rules
    from promptseg.metrics.scores import METRICS, Metric, Scores, score
    from promptseg.metrics.segmentations import BACKGROUND, outside_of, score_segmentations

__all__ = [
    "BACKGROUND",
    "METRICS",
    "Metric",
    "Rules",
    "Scores",
    "array_spacing",
    "outside_of",
    "score",
    "score_segmentations",
]

_HOMES = {
    "array_spacing": "masks",
    "Rules": "rules",
    "METRICS": "scores",
    "Metric": "scores",
    "Scores": "scores",
    "score": "scores",
    "BACKGROUND": "segmentations",
    "outside_of": "segmentations",
    "score_segmentations": "segmentations",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
