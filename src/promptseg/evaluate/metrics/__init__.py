"""Metrics of masks: overlap and surface distances, with every rule stated."""

from promptseg.evaluate.metrics.masks import array_spacing
from promptseg.evaluate.metrics.rules import Rules
from promptseg.evaluate.metrics.scores import METRICS, Metric, Scores, score
from promptseg.evaluate.metrics.segmentations import BACKGROUND, outside_of, score_segmentations

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
