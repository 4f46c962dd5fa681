"""Image and Segmentation: what every other part passes around. They know no files."""

from promptseg.image.image import MODALITIES, Image, Kind, Source
from promptseg.image.segmentation import FoundByWords, Segment, Segmentation, bounding_region

__all__ = [
    "MODALITIES",
    "FoundByWords",
    "Image",
    "Kind",
    "Segment",
    "Segmentation",
    "Source",
    "bounding_region",
]
