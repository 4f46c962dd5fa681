"""Annotation-time studies: how long a mask takes by hand, and how long with a model's help."""

from promptseg.timing.log import StudyError, StudyLog
from promptseg.timing.state import PHASES, Finished, Open, read_log
from promptseg.timing.table import Means, StudyTable, Times, published_times, study_table

__all__ = [
    "PHASES",
    "Finished",
    "Means",
    "Open",
    "StudyError",
    "StudyLog",
    "StudyTable",
    "Times",
    "published_times",
    "read_log",
    "study_table",
]
