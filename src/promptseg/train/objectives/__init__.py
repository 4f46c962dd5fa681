"""Algorithm 1 of MedicoSAM and the strategies that are settings of it."""

from typing import TYPE_CHECKING

from promptseg._lazy import lazily

if TYPE_CHECKING:
    from promptseg.train.objectives.algorithm import Algorithm1, Step
    from promptseg.train.objectives.batch import Batch
    from promptseg.train.objectives.clips import ClipAlgorithm, ClipBatch
    from promptseg.train.objectives.kinds import Algorithm, AnyBatch
    from promptseg.train.objectives.phrases import WordAlgorithm, WordBatch
    from promptseg.train.objectives.settings import (
        PRESETS,
        BoxChannelObjective,
        ClipObjective,
        Objective,
        Preset,
        SemanticObjective,
        Strategy,
        WordObjective,
    )
    from promptseg.train.objectives.uniforms import Uniforms

__all__ = [
    "PRESETS",
    "Algorithm",
    "Algorithm1",
    "AnyBatch",
    "Batch",
    "BoxChannelObjective",
    "ClipAlgorithm",
    "ClipBatch",
    "ClipObjective",
    "Objective",
    "Preset",
    "SemanticObjective",
    "Step",
    "Strategy",
    "Uniforms",
    "WordAlgorithm",
    "WordBatch",
    "WordObjective",
]

_HOMES = {
    "Algorithm": "kinds",
    "AnyBatch": "kinds",
    "WordAlgorithm": "phrases",
    "WordBatch": "phrases",
    "WordObjective": "settings",
    "Algorithm1": "algorithm",
    "Step": "algorithm",
    "Batch": "batch",
    "BoxChannelObjective": "settings",
    "ClipAlgorithm": "clips",
    "ClipBatch": "clips",
    "ClipObjective": "settings",
    "PRESETS": "settings",
    "Objective": "settings",
    "Preset": "settings",
    "SemanticObjective": "settings",
    "Strategy": "settings",
    "Uniforms": "uniforms",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
