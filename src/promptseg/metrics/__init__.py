"""Metrics of masks: overlap and surface distances, with every rule stated."""

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
