"""How a model is put to the test: one module per way."""

from promptseg.evaluate.protocols.planar import planar
from promptseg.evaluate.protocols.scene import Scene, Scored, View
from promptseg.evaluate.protocols.volumes import follow_through

__all__ = [
    "Scene",
    "Scored",
    "View",
    "follow_through",
    "planar",
]
