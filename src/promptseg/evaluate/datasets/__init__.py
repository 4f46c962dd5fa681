"""Images with expert masks, in the layouts that the field keeps them in, one case at a time."""

from promptseg.evaluate.datasets.classes import Classes, TruthSegment, target_of
from promptseg.evaluate.datasets.dataset import CaseFiles, Dataset
from promptseg.evaluate.datasets.limits import limit_cases, limit_objects
from promptseg.evaluate.datasets.opening import open_datasets
from promptseg.evaluate.datasets.options import DatasetOptions

__all__ = [
    "CaseFiles",
    "Classes",
    "Dataset",
    "DatasetOptions",
    "TruthSegment",
    "limit_cases",
    "limit_objects",
    "open_datasets",
    "target_of",
]
