"""All objectives, and what they are computed from, under one name each."""

from __future__ import annotations

from promptseg.train.objectives.algorithm import Algorithm1
from promptseg.train.objectives.batch import Batch
from promptseg.train.objectives.clips import ClipAlgorithm, ClipBatch
from promptseg.train.objectives.phrases import WordAlgorithm, WordBatch
from promptseg.train.semantic.algorithm import ClassAlgorithm
from promptseg.train.semantic.samples import ClassBatch

__all__ = ["Algorithm", "AnyBatch"]

Algorithm = Algorithm1 | ClipAlgorithm | WordAlgorithm | ClassAlgorithm
AnyBatch = Batch | ClipBatch | WordBatch | ClassBatch
