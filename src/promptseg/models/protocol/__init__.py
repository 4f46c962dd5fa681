"""Models as everything above them sees them: four kinds, and the values they take and give.

- `SliceModel`: prompts on one slice (encode it once, decode any number of prompts).
- `Tracker`: objects through frames in an order, conditioned on any of them. A model that is
  `Remembering` has a memory of its own for one.
- `WordModel`: phrases, none or one or many instances of each. One that has `ClosedWords` knows the
  words of a list, and refuses others.
- `SemanticModel`: classes without prompts, patch by patch.

A model of any family is one or several of them. Nothing here loads torch.
"""

from promptseg.models.protocol.embedding import Embedding
from promptseg.models.protocol.family import Family
from promptseg.models.protocol.prediction import Candidates, Prediction
from promptseg.models.protocol.prompt import SlicePrompt
from promptseg.models.protocol.semantic import Patch, SemanticModel
from promptseg.models.protocol.slices import SliceModel
from promptseg.models.protocol.tracking import (
    Answer,
    ConditioningPrompt,
    Correction,
    Frames,
    ObjectMemory,
    Remembering,
    Resumable,
    SliceMasks,
    Tracked,
    Tracker,
    Tracking,
)
from promptseg.models.protocol.words import (
    ClosedWords,
    Findings,
    Instance,
    KnownWord,
    Phrase,
    WordModel,
)

__all__ = [
    "Answer",
    "Candidates",
    "ClosedWords",
    "ConditioningPrompt",
    "Correction",
    "Embedding",
    "Family",
    "Findings",
    "Frames",
    "Instance",
    "KnownWord",
    "ObjectMemory",
    "Patch",
    "Phrase",
    "Prediction",
    "Remembering",
    "Resumable",
    "SemanticModel",
    "SliceMasks",
    "SliceModel",
    "SlicePrompt",
    "Tracked",
    "Tracker",
    "Tracking",
    "WordModel",
]
