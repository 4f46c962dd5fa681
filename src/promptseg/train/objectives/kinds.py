"""All objectives, and what they are computed from, under one name each."""

from __future__ import annotations

from promptseg.train.objectives.algorithm import Algorithm1
from promptseg.train.objectives.batch import Batch
from promptseg.train.objectives.clips import ClipAlgorithm, ClipBatch
from promptseg.train.objectives.phrases import WordAlgorithm, WordBatch

__all__ = ["Algorithm", "AnyBatch"]

Algorithm = Algorithm1 | ClipAlgorithm | WordAlgorithm
AnyBatch = Batch | ClipBatch | WordBatch
