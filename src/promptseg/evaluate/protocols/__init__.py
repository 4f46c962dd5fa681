"""Protocols by which a model is put to the test: one module per protocol."""

from promptseg.evaluate.protocols.given import given
from promptseg.evaluate.protocols.ground_truth import GroundTruthCase, Scored, View
from promptseg.evaluate.protocols.planar import planar
from promptseg.evaluate.protocols.sam2_paper import as_sam2_paper
from promptseg.evaluate.protocols.scene import Scene, prompts_for
from promptseg.evaluate.protocols.volumes import propagate_through
from promptseg.evaluate.protocols.whole import merged_classes, whole

__all__ = [
    "GroundTruthCase",
    "Scene",
    "Scored",
    "View",
    "as_sam2_paper",
    "given",
    "merged_classes",
    "planar",
    "prompts_for",
    "propagate_through",
    "whole",
]
