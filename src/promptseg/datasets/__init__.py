"""Images with expert masks, in the layouts that the field keeps them in, one case at a time."""

from promptseg.datasets.classes import Classes, TruthSegment, target_of
from promptseg.datasets.dataset import CaseFiles, Dataset
from promptseg.datasets.limits import choose_cases, limit_cases, limit_objects
from promptseg.datasets.opening import open_datasets
from promptseg.datasets.options import DatasetOptions

__all__ = [
    "CaseFiles",
    "Classes",
    "Dataset",
    "DatasetOptions",
    "TruthSegment",
    "choose_cases",
    "limit_cases",
    "limit_objects",
    "open_datasets",
    "target_of",
]
